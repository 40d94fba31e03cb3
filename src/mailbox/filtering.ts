/** An account's rules while fetching: what they leave out by its metadata or header is not fetched whole. */
import { MailwatchdError } from '../errors.ts';
import { depthOf } from '../filter.ts';
import type { MessageMetadata } from '../model.ts';
import { MAX_IN_FLIGHT, START_BYTES, STARTS } from './ranges.ts';
import { holding, reserve, type Session } from './session.ts';

/** What is asked for of a message to judge its header. Real ones have some kilobytes, those of large providers twelve. */
export const HEADER_START_BYTES = 16 * 1024;

/** Whether some rule asks for more than metadata: then starts are worth a FETCH though few messages come whole by them. */
export const asksHeader = ({ filter }: Pick<Session, 'filter'>): boolean =>
  filter !== null && depthOf(filter) !== 'metadata';

/** How much of each message is asked for before more is known of it, bytes. */
export const startBytes = (session: Session): number =>
  asksHeader(session) ? HEADER_START_BYTES : START_BYTES;

/** True where a rule leaves the message out by what is known of it; it is recorded then. */
export async function leaveOut(
  session: Session,
  message: MessageMetadata,
  start: Buffer | null,
): Promise<boolean> {
  const { intake, epoch, filter, tally } = session;
  if (filter === null) return false;
  const left = await holding(intake.leaveOut({ ...message, epoch, start }, filter));
  if (left) tally.stored(false);
  return left;
}

/** Judges a message that came in part, and adds it to `out` where a rule leaves it out. A failure comes out of the flight. */
export function judgeStart(
  session: Session,
  message: MessageMetadata,
  start: Buffer,
  out: Set<number>,
): Promise<void> {
  const judged = leaveOut(session, message, start).then((left) => {
    if (left) out.add(message.uid);
  });
  session.flight.launch(judged, start.length);
  return judged;
}

/**
 * Those of the messages that no rule leaves out by metadata or header. What would come whole by its start is judged once
 * it is fetched, and what is too large to be fetched when its header is.
 */
export async function withoutFiltered(
  session: Session,
  messages: MessageMetadata[],
): Promise<MessageMetadata[]> {
  if (session.filter === null) return messages;
  // All at once, so that what they leave out is committed together.
  const left = await Promise.all(messages.map((message) => leaveOut(session, message, null)));
  const wanted = messages.filter((_, index) => !left[index]);
  if (!asksHeader(session) || session.memory.ignoresPartial) return wanted;
  const { messageBytes } = session.limits;
  const large = wanted.filter(
    ({ uid, size }) =>
      size >= HEADER_START_BYTES && size <= messageBytes && !session.memory.unjudged.has(uid),
  );
  const out = new Set<number>();
  for (let from = 0; from < large.length; from += STARTS)
    await judgeHeaders(session, large.slice(from, from + STARTS), out);
  return wanted.filter(({ uid }) => !out.has(uid));
}

async function judgeHeaders(session: Session, messages: MessageMetadata[], out: Set<number>): Promise<void> {
  const { connection, flight, memory } = session;
  const bytes = messages.length * HEADER_START_BYTES;
  await flight.room({ count: messages.length, bytes }, MAX_IN_FLIGHT);
  const release = await reserve(session, bytes);
  const judged: Promise<void>[] = [];
  try {
    const uids = messages.map(({ uid }) => uid);
    await connection.fetchStarts(uids, HEADER_START_BYTES, (message, start) => {
      if (start.length > HEADER_START_BYTES) memory.ignoresPartial = true;
      judged.push(judgeStart(session, message, start, out));
    });
  } catch (error) {
    // Whoever is not judged is fetched: now, or by the next connection, which the same FETCH might end as well.
    if (!(error instanceof MailwatchdError && error.code === 'SERVER_REFUSED')) {
      for (const { uid } of messages) memory.unjudged.add(uid);
      memory.progress = true;
      throw error;
    }
  } finally {
    await Promise.allSettled(judged);
    release();
  }
}
