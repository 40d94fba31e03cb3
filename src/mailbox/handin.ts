/** The end of a message's way through mailbox/: it is handed in, or refused for its size. */
import type { MessageMetadata } from '../model.ts';
import type { Outcome } from '../ports.ts';
import { delayOf } from './delay.ts';
import { leaveOut } from './filtering.ts';
import { fetchStart, headerOf, startOf } from './large.ts';
import { Held, holding, messageError, type Session } from './session.ts';

/** Hands a message in; resolves when it is published or quarantined. */
export async function handIn(
  session: Session,
  message: MessageMetadata,
  source: Buffer | { file: string },
): Promise<void> {
  const { intake, epoch, filter, tally, limits, memory } = session;
  if (Buffer.isBuffer(source) && source.length > limits.messageBytes) {
    await refuse(session, { ...message, size: source.length }, startOf(source));
    return;
  }
  let outcome: Outcome;
  try {
    outcome = await holding(intake.accept({ ...message, epoch, source }, filter));
  } catch (error) {
    if (!(error instanceof Held && error.error.code === 'FILE_EXISTS')) throw error;
    // This one's place is taken, the others' are not: it waits for a reconciliation, they do not.
    memory.obstructed.set(message.uid, error.error);
    return;
  }
  tally.stored(outcome === 'published', outcome === 'published' ? delayOf(session, message) : null);
}

/** False where the server does not even give the header. */
export async function quarantineTooLarge(session: Session, message: MessageMetadata): Promise<boolean> {
  const start = await fetchStart(session, message.uid);
  if (start === null) return false;
  await refuse(session, message, start);
  return true;
}

/** Unless a rule leaves it out: whoever does not want it does not miss it. */
async function refuse(session: Session, message: MessageMetadata, start: Buffer): Promise<void> {
  if (await leaveOut(session, message, start)) return;
  const { messageBytes } = session.limits;
  const detail = `${message.size} bytes, limits.messageBytes is ${messageBytes}`;
  const error = messageError(session, message.uid, 'MESSAGE_TOO_LARGE', detail);
  await holding(session.intake.quarantineUnread(session.epoch, message, headerOf(start), error));
  session.tally.stored(false);
}
