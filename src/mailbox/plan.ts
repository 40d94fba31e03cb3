/** For `plan`: what a first start would fetch of a mailbox. Asks for sizes and dates only; writes nothing. */
import { type AccountSettings, type ConnectAccountOptions, connectAccount } from './account.ts';
import { searchWindows } from './windows.ts';

/** What a first start would fetch; dates are INTERNALDATE in milliseconds, null where there is nothing. */
export interface Plan {
  messages: number;
  bytes: number;
  oldest: number | null;
  newest: number | null;
}

/** Counts the messages that the account's `start` asks for now. Throws as `probeMailbox`. */
export async function planMailbox(
  account: AccountSettings,
  folder: string,
  options: ConnectAccountOptions,
): Promise<Plan> {
  const connection = await connectAccount(account, options);
  try {
    const { exists } = await connection.select(folder, { readOnly: true });
    const plan: Plan = { messages: 0, bytes: 0, oldest: null, newest: null };
    const { start } = account;
    if (start.kind === 'new' || exists === 0) return plan;
    const since = start.kind === 'date' ? start.at : 0;
    const bounds = { low: 1, high: await connection.highestUid(), exists, since };
    for await (const { uids } of searchWindows(connection, bounds)) {
      for (const { size, internalDate } of (await connection.metadata(uids, { messageId: false })).values()) {
        if (internalDate < since) continue;
        plan.messages++;
        plan.bytes += size;
        plan.oldest = Math.min(plan.oldest ?? internalDate, internalDate);
        plan.newest = Math.max(plan.newest ?? internalDate, internalDate);
      }
    }
    return plan;
  } finally {
    await connection.logout();
  }
}
