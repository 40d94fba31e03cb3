/** Connects to an account's server: turn, password and issuers are read anew each time. */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { MailwatchdError } from '../errors.ts';
import type { Log } from '../logging.ts';
import type { Start } from '../model.ts';
import type { AfterActions } from './after.ts';
import { type Connection, type ServerSettings, Stopped } from './connection.ts';
import { connect } from './imapflow.ts';

/** What mailbox/ needs of an account's configuration. */
export interface AccountSettings extends ServerSettings {
  name: string;
  /** Path of a PEM file with further issuers to trust. */
  ca: string | null;
  /** Rejects with SECRET_UNAVAILABLE. */
  password(): Promise<string>;
  start: Start;
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

/** Waits for its turn, reads the secrets, connects and logs in. */
export async function connectAccount(
  account: AccountSettings,
  options: ConnectAccountOptions,
): Promise<Connection> {
  const { limits, clock, log, signal } = options;
  await options.takeTurn(account.host, signal);
  if (signal.aborted) throw new Stopped();
  const [ca, password] = await Promise.all([readIssuers(account.ca), account.password()]);
  const { host, port, security, user } = account;
  const { messageBytes, operationSeconds } = limits;
  const operationMs = operationSeconds * 1000;
  return connect({ host, port, security, user, ca, password, messageBytes, operationMs, clock, log, signal });
}

async function readIssuers(path: string | null): Promise<string | null> {
  if (path === null) return null;
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const detail = `the file of \`ca\` cannot be read (${error instanceof Error ? error.message : error})`;
    throw new MailwatchdError('SECRET_UNAVAILABLE', { where: path, detail });
  }
}
