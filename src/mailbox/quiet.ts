/** Whether a mailbox is quieter than it ever was, learnt from its own history. */
import type { Clock } from '../clock.ts';
import type { Mailbox, Quiet } from '../model.ts';
import type { MailboxLedger, Rhythm } from '../ports.ts';
import { holding } from './session.ts';

/** Longer than ever by so much: records are broken now and then. */
const MARGIN = 1.5;
/** Nobody wants to hear of less, however busy a mailbox is. */
const LEAST_MS = 3_600_000;
/** A shorter history says nothing of what is usual: it must hold a weekend. */
const HISTORY = { arrivals: 20, ms: 7 * 86_400_000 };

/** Asks the ledger, which reads the history only while it has not found a time as quiet as this. */
export function createQuietWatch(
  ledger: Pick<MailboxLedger, 'lastArrival' | 'rhythm'>,
  mailbox: Mailbox,
  clock: Clock,
): () => Promise<Quiet | null> {
  let known: { since: number; rhythm: Rhythm } | null = null;
  return async () => {
    const now = clock.now();
    const since = await holding(ledger.lastArrival(mailbox));
    if (since === null || now - since < LEAST_MS) return null;
    const enough = (now - since) / MARGIN;
    if (known?.since !== since || (known.rhythm.longest < enough && !known.rhythm.complete))
      known = { since, rhythm: await holding(ledger.rhythm(mailbox, enough)) };
    const { arrivals, firstAt, longest } = known.rhythm;
    const isTold = arrivals >= HISTORY.arrivals && since - firstAt >= HISTORY.ms;
    return isTold && longest < enough ? { since, longest } : null;
  };
}
