/** For `check`: whether a mailbox can be watched as configured, without touching it. */
import type { MailwatchdError } from '../errors.ts';
import { toMailwatchdError } from '../errors.ts';
import { type AccountSettings, type ConnectAccountOptions, connectAccount } from './account.ts';
import { assertSupported } from './after.ts';

/** What a server showed of a folder. */
export interface Probe {
  /** The server's own name of the folder. */
  path: string;
  messages: number;
  /** Whether the server can push; else it is polled. */
  idle: boolean;
  /** What stands against the account's `after`: MOVE_UNSUPPORTED, DELETE_UNSUPPORTED, FOLDER_MISSING of `move`. */
  afterFault: MailwatchdError | null;
}

/** Connects, logs in and opens the folder. Throws what the watcher would fail with, connection codes and FOLDER_MISSING. */
export async function probeMailbox(
  account: AccountSettings,
  folder: string,
  options: ConnectAccountOptions,
): Promise<Probe> {
  const connection = await connectAccount(account, options);
  try {
    const { path, exists } = await connection.select(folder, { readOnly: true });
    return { path, messages: exists, idle: connection.canIdle(), afterFault: await afterFault() };
  } finally {
    await connection.logout();
  }

  async function afterFault(): Promise<MailwatchdError | null> {
    try {
      assertSupported({ connection, where: `${account.name}/${folder}` }, account.after);
      if (account.after.move !== null) await connection.resolveFolder(account.after.move);
      return null;
    } catch (error) {
      return toMailwatchdError(error, 'INTERNAL');
    }
  }
}
