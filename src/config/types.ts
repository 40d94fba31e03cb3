/** The configuration as the rest of the program gets it: plain values, checked, in one unit each. */
import type { Filter } from '../filter.ts';
import type { LogLevel } from '../logging.ts';
import type { Start } from '../model.ts';
import type { ProviderName } from '../providers/index.ts';
import type { SecretSource } from './secrets.ts';

export interface AfterActions {
  /** Set \Seen once published. */
  seen: boolean;
  /** Move there once published; never a watched folder of the account. */
  move: string | null;
  /** Delete once published; never together with `move`. */
  delete: boolean;
}

/** Where mail is handed in for sending (RFC 6409). */
export interface SmtpConfig {
  /** Host name or IP address, without brackets. */
  host: string;
  port: number;
  /** `none` only where `host` is loopback. */
  security: 'tls' | 'starttls' | 'none';
  user: string;
  /** Null: what the account itself logs in with. */
  password: SecretSource | null;
  /** Addresses of the envelope and the header. */
  from: string;
  to: string;
}

/** A message of our own that proves again and again that mail is noticed. */
export interface CanaryConfig {
  /** Milliseconds. */
  every: number;
  /** Where it is left, or filed by the server: none of the account's watched ones. */
  folder: string;
  /** Null: it is left by APPEND (RFC 3501 §6.3.11). */
  smtp: SmtpConfig | null;
}

/** How an account gets access tokens. */
export interface OAuth2Config {
  /** URLs: https, or http on a loopback host. Null where the provider has none. */
  tokenEndpoint: string;
  authorizationEndpoint: string | null;
  deviceAuthorizationEndpoint: string | null;
  /** By a refresh token (RFC 6749 §6), as an application (§4.4), or as a service account (RFC 7523). */
  grant: 'refreshToken' | 'clientCredentials' | 'serviceAccount';
  /** Null for a service account only. */
  clientId: string | null;
  /** Null for a public client (RFC 6749 §2.1) and a service account. */
  clientSecret: SecretSource | null;
  /** Null but for a service account. */
  serviceAccountKey: SecretSource | null;
  /** Space-separated (RFC 6749 §3.3). */
  scope: string;
  /** The first one, which those in `tokenFile` follow; null where `mailwatchd login` gets it. */
  refreshToken: SecretSource | null;
  /** Where tokens are kept, absolute; null: `tokens/<account>.json` in the state directory. */
  tokenFile: string | null;
}

/** What a login is made with. Secrets are read again each time with `readSecret`. */
export type Auth = { password: SecretSource } | { oauth2: OAuth2Config };

export interface AccountConfig {
  /** `[a-z0-9][a-z0-9._-]*`, at most 64 characters, unique. */
  name: string;
  /** As configured, or whose server `host` is; null where that is not known. */
  provider: ProviderName | null;
  /** Host name or IP address, without brackets. */
  host: string;
  port: number;
  /** `none` only where `host` is loopback. */
  security: 'tls' | 'starttls' | 'none';
  /** Absolute path of a PEM file with further issuers to trust. */
  ca: string | null;
  user: string;
  auth: Auth;
  /** As people write them, or a special use such as `\All`; `INBOX` in capitals (RFC 3501 §5.1: its case does not matter). No duplicates. */
  folders: string[];
  start: Start;
  /** Null where neither `only` nor `except` has a rule. */
  filter: Filter | null;
  after: AfterActions;
  /** Authserv-ids of the receiving server, in lower case; none: no Authentication-Results are trusted. */
  authservIds: readonly string[];
  /** Null: none. */
  canary: CanaryConfig | null;
  /** Milliseconds, for servers without IDLE. */
  pollEvery: number;
  /** Milliseconds, below 29 minutes (RFC 2177 §3). */
  idleRenewEvery: number;
  /** Connections that the provider takes, those of other programs included; null where that is not known. */
  maxConnections: number | null;
}

export interface StorageConfig {
  /** Absolute. */
  directory: string;
  /** Template with the tokens account, folder, yyyy, mm, dd and id in braces; relative. */
  path: string;
  attachments: 'files' | 'none';
  source: 'none' | 'keep';
  fileMode: number;
  directoryMode: number;
}

export interface LogConfig {
  /** Absolute; null: no files. */
  directory: string | null;
  level: LogLevel;
  format: 'text' | 'json';
  console: boolean;
  /** Bytes. */
  maxSize: number;
  /** Milliseconds. */
  keep: number;
}

export interface Limits {
  messageBytes: number;
  parseSeconds: number;
  parseMemoryMb: number;
  inFlightBytes: number;
  /** Without any byte from the server. */
  operationSeconds: number;
  connectionsPerAccount: number;
  /** To one host. */
  connectsPerSecond: number;
}

export interface Config {
  accounts: AccountConfig[];
  storage: StorageConfig;
  state: { directory: string };
  log: LogConfig;
  limits: Limits;
  /** Milliseconds. */
  reconcileEvery: number;
  /** Parser processes at most; `auto` is resolved. */
  parsers: number;
}

/** The canary's own, in IDLE, and the one that leaves it where it is not sent. */
function canaryConnections(canary: CanaryConfig | null): number {
  if (canary === null) return 0;
  return canary.smtp === null ? 2 : 1;
}

/** How many connections the account's folders have at most, at once. */
export function connectionsOf(account: AccountConfig, { connectionsPerAccount }: Limits): number {
  const most = Math.min(connectionsPerAccount, account.maxConnections ?? connectionsPerAccount);
  return Math.max(1, most - canaryConnections(account.canary));
}

/** Whether the account has fewer connections than folders. */
export function sharesConnections(account: AccountConfig, limits: Limits): boolean {
  return account.folders.length > connectionsOf(account, limits);
}

/** The folders of an account that show as mailboxes: those whose mail is published, and the canary's. */
export function mailboxFolders({ folders, canary }: AccountConfig): string[] {
  return canary === null ? folders : [...folders, canary.folder];
}

/** Every secret that an account's configuration names. */
export function secretsOf({ auth, canary }: AccountConfig): SecretSource[] {
  const ofLogin =
    'password' in auth
      ? [auth.password]
      : [auth.oauth2.clientSecret, auth.oauth2.serviceAccountKey, auth.oauth2.refreshToken];
  return [...ofLogin, canary?.smtp?.password ?? null].filter((source) => source !== null);
}

/** Of an account that is no longer configured: none. */
export const authservIdsOf = ({ accounts }: Config, name: string): readonly string[] =>
  accounts.find((account) => account.name === name)?.authservIds ?? [];
