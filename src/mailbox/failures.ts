/** What FETCHes that failed cost their messages: the next one asks for less, and who fails alone is left aside. */
import type { MessageMetadata } from '../model.ts';
import { holding, messageError, type Session } from './session.ts';

/** A message that fails so often alone is left aside, so that the rest goes on. */
export const ATTEMPTS_ALONE = 3;

/** A FETCH ended its connection: the next one asks for less, and a message that did so alone three times is left aside. */
export async function narrow(session: Session, range: MessageMetadata[]): Promise<void> {
  const { memory } = session;
  if (range.length > 1) {
    memory.progress = true;
    memory.rangeLimit = Math.max(1, Math.floor(range.length / 2));
    return;
  }
  const [message] = range;
  // None where all had come, and only the end of the command was missing.
  if (message === undefined || countFailure(session, message.uid) < ATTEMPTS_ALONE) return;
  await giveUp(session, message);
}

/** Counts one more failure of a message alone; returns how many it has. */
export function countFailure({ memory }: Session, uid: number): number {
  const failures = (memory.failures.get(uid) ?? 0) + 1;
  memory.failures.set(uid, failures);
  return failures;
}

/** Leaves a message aside until a later reconciliation, which tries it once. */
export async function giveUp(session: Session, message: MessageMetadata): Promise<void> {
  const { memory, clock, ledger, epoch, log } = session;
  const error = messageError(session, message.uid, 'MESSAGE_UNFETCHABLE');
  memory.failures.set(message.uid, ATTEMPTS_ALONE - 1);
  memory.unfetchable.set(message.uid, clock.monotonic());
  log.warn('unfetchable', { uid: message.uid, size: message.size });
  await holding(ledger.recordUnfetchable(epoch.id, message, error));
}
