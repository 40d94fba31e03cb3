/** The end of a message's way through mailbox/: it is handed in, or refused for its size. */
import type { MessageMetadata } from '../model.ts';
import { delayOf } from './delay.ts';
import { fetchHeader, headerOf } from './large.ts';
import { Held, holding, messageError, type Session } from './session.ts';

/** Hands a message in; resolves when it is published or quarantined. */
export async function handIn(
  session: Session,
  message: MessageMetadata,
  source: Buffer | { file: string },
): Promise<void> {
  const { intake, epoch, tally, limits, memory } = session;
  if (Buffer.isBuffer(source) && source.length > limits.messageBytes) {
    await refuse(session, { ...message, size: source.length }, headerOf(source));
    return;
  }
  try {
    await holding(intake.accept({ ...message, epoch, source }));
  } catch (error) {
    if (!(error instanceof Held && error.error.code === 'FILE_EXISTS')) throw error;
    // This one's place is taken, the others' are not: it waits for a reconciliation, they do not.
    memory.obstructed.set(message.uid, error.error);
    return;
  }
  tally.stored(true, delayOf(session, message));
}

/** False where the server does not even give the header. */
export async function quarantineTooLarge(session: Session, message: MessageMetadata): Promise<boolean> {
  const header = await fetchHeader(session, message.uid);
  if (header === null) return false;
  await refuse(session, message, header);
  return true;
}

async function refuse(session: Session, message: MessageMetadata, header: Buffer): Promise<void> {
  const { messageBytes } = session.limits;
  const detail = `${message.size} bytes, limits.messageBytes is ${messageBytes}`;
  const error = messageError(session, message.uid, 'MESSAGE_TOO_LARGE', detail);
  await holding(session.intake.quarantineUnread(session.epoch, message, header, error));
  session.tally.stored(false);
}
