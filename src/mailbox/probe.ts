/** For `check`: whether a mailbox can be watched as configured, without touching it. */
import { MailwatchdError, toMailwatchdError } from '../errors.ts';
import type { Quota, Validity } from '../model.ts';
import { assertSupported, moveTarget } from './after.ts';
import { assertSuitable } from './canary.ts';
import type { Visit } from './visit.ts';

/** What a server showed of a folder. */
export interface Probe {
  /** The server's own name of the folder. */
  path: string;
  messages: number;
  /** Whether the server can push; else it is polled. */
  idle: boolean;
  /** Of the server; null without TLS. */
  certificate: Validity | null;
  /** Null where the server does not tell. */
  quota: Quota | null;
  /** What stands against the account's `after`: MOVE_UNSUPPORTED, DELETE_UNSUPPORTED; FOLDER_MISSING or AFTER_FAILED of `move`. */
  afterFault: MailwatchdError | null;
}

/** Connects, logs in and opens the folder. Throws what the watcher would fail with, connection codes and FOLDER_MISSING. */
export async function probeMailbox(visit: Visit, folder: string): Promise<Probe> {
  const { account } = visit;
  const connection = await visit.connection();
  const selected = await connection.select(folder, { readOnly: true });
  const { path, exists } = selected;
  const idle = connection.canIdle();
  const certificate = await connection.certificate();
  const quota = await connection.quota(path);
  return { path, messages: exists, idle, certificate, quota, afterFault: await afterFault() };

  async function afterFault(): Promise<MailwatchdError | null> {
    try {
      const opened = { connection, selected, where: `${account.name}/${folder}` };
      assertSupported(opened, account.after);
      if (account.after.move !== null) await moveTarget(opened, account.after.move);
      return null;
    } catch (error) {
      return toMailwatchdError(error, 'INTERNAL');
    }
  }
}

/** Whether a canary could be left in a folder, which may be missing, and removed. Throws what the canary would fail with. */
export async function probeCanary(
  visit: Visit,
  folder: string,
  watched: readonly string[],
): Promise<{ exists: boolean }> {
  const connection = await visit.connection();
  try {
    await assertSuitable({ connection, where: `${visit.account.name}/${folder}` }, watched);
    await connection.select(folder, { readOnly: true });
    return { exists: true };
  } catch (error) {
    if (error instanceof MailwatchdError && error.code === 'FOLDER_MISSING') return { exists: false };
    throw error;
  }
}
