/** What grows with the number of messages: the ledger's operations, and a mailbox of which one message is new. */
import type { Bench } from '../bench.ts';
import { measureLedgers } from './ledgers.ts';
import { measureMailboxes } from './mailboxes.ts';

export const growth: Bench = {
  name: 'growth',
  description: 'ledgers of up to ten million messages, mailboxes of up to a million (about twelve minutes)',
  async run(options) {
    return [await measureLedgers(options), await measureMailboxes(options)];
  },
};
