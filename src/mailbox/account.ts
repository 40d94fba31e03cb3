/** Connects to an account's server: turn, secrets and issuers are asked for anew each time. */
import type { Clock } from '../clock.ts';
import { MailwatchdError } from '../errors.ts';
import type { Filter } from '../filter.ts';
import type { Log } from '../logging.ts';
import type { Start } from '../model.ts';
import type { AfterActions } from './after.ts';
import { type Connection, type Credential, type ServerSettings, Stopped } from './connection.ts';
import { connect } from './imapflow.ts';
import { readIssuers } from './issuers.ts';

/** What mailbox/ needs of an account's configuration. */
export interface AccountSettings extends ServerSettings {
  name: string;
  /** Path of a PEM file with further issuers to trust. */
  ca: string | null;
  /**
   * `refused`: an access token that the server did not take; the same again where there is no other. Rejects with
   * SECRET_UNAVAILABLE or a code of OAuth2.
   */
  credential(refused?: string): Promise<Credential>;
  start: Start;
  filter: Filter | null;
  after: AfterActions;
  /** Milliseconds, for servers without IDLE. */
  pollEvery: number;
  /** Milliseconds; IDLE is ended and begun again, which also proves the connection alive. */
  idleRenewEvery: number;
}

export interface ConnectAccountOptions {
  limits: { messageBytes: number; operationSeconds: number };
  clock: Clock;
  log: Log;
  /** Spaces out connections to one host. */
  takeTurn(host: string, signal: AbortSignal): Promise<void>;
  signal: AbortSignal;
}

/** Connects and logs in. Rejects with a code of `connect` or of `credential`, SECRET_UNAVAILABLE of `ca`, or `Stopped`. */
export function connectAccount(
  account: AccountSettings,
  options: ConnectAccountOptions,
): Promise<Connection> {
  const { limits, clock, log, signal } = options;
  const { host, port, security, user, provider } = account;
  const { messageBytes, operationSeconds } = limits;
  const operationMs = operationSeconds * 1000;
  return withCredential(account, options, async (credential) => {
    const ca = await readIssuers(account.ca);
    const server = { host, port, security, user, provider, ca, messageBytes, operationMs };
    return connect({ ...server, credential, clock, log, signal });
  });
}

/**
 * Waits for its turn, reads the secrets, and lets `logIn` use them; once more where that rejects with AUTH_FAILED of an access
 * token that there is another one for, since tokens may be revoked before their end.
 */
export async function withCredential<Result>(
  { host, credential }: Pick<AccountSettings, 'host' | 'credential'>,
  { takeTurn, signal }: Pick<ConnectAccountOptions, 'takeTurn' | 'signal'>,
  logIn: (credential: Credential) => Promise<Result>,
): Promise<Result> {
  async function turn(): Promise<void> {
    await takeTurn(host, signal);
    if (signal.aborted) throw new Stopped();
  }

  await turn();
  const first = await credential();
  try {
    return await logIn(first);
  } catch (error) {
    const refused = error instanceof MailwatchdError && error.code === 'AUTH_FAILED';
    if (!refused || !('accessToken' in first)) throw error;
    const another = await credential(first.accessToken);
    if ('accessToken' in another && another.accessToken === first.accessToken) throw error;
    await turn();
    return logIn(another);
  }
}
