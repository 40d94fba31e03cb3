/** Small messages, which come with their metadata by one FETCH that asks for the beginning of each. */
import { MailwatchdError } from '../errors.ts';
import type { MessageMetadata } from '../model.ts';
import { Stopped } from './connection.ts';
import { describe, unknown } from './describing.ts';
import { narrow } from './failures.ts';
import { asksHeader, judgeStart, startBytes } from './filtering.ts';
import { handIn } from './handin.ts';
import { MAX_IN_FLIGHT } from './ranges.ts';
import { reserve, type Session } from './session.ts';

/** Of messages that are asked for without their sizes, this part must come whole for that to be cheaper. */
const MOSTLY = 0.75;

/** Whether so many of all are most of them. */
export const isMostly = (part: number, all: number): boolean => part >= all * MOSTLY;

/**
 * Hands in those of the messages that are small; returns the others, but for those that a rule leaves out, and the
 * highest UID that was not gone.
 */
export async function fetchSmall(
  session: Session,
  uids: readonly number[],
): Promise<{ left: MessageMetadata[]; highest: number }> {
  const { connection, filter, flight, memory } = session;
  const length = startBytes(session);
  const bytes = uids.length * length;
  await flight.room({ count: uids.length, bytes }, MAX_IN_FLIGHT);
  const release = await reserve(session, bytes);
  const missing = new Set(uids);
  const landed: Promise<void>[] = [];
  const left: MessageMetadata[] = [];
  const judged: Promise<void>[] = [];
  const out = new Set<number>();
  let highest = 0;
  try {
    await connection.fetchStarts(uids, length, (message, start) => {
      missing.delete(message.uid);
      highest = Math.max(highest, message.uid);
      if (start.length > length) memory.ignoresPartial = true;
      if (!isWhole(message, start, length)) {
        left.push(message);
        if (filter !== null) judged.push(judgeStart(session, message, start, out));
        return;
      }
      memory.progress = true;
      const handedIn = handIn(session, message, start);
      flight.launch(handedIn, start.length);
      landed.push(handedIn);
    });
  } catch (error) {
    // Else, where all had come that does not come whole, each try would be the same as this one.
    memory.mostlySmall = false;
    if (!(error instanceof MailwatchdError && error.code === 'SERVER_REFUSED')) {
      if (!(error instanceof Stopped))
        await narrow(
          session,
          [...missing].map((uid) => unknown(session, uid)),
        );
      throw error;
    }
  } finally {
    void Promise.allSettled([...landed, ...judged]).then(release);
  }
  memory.mostlySmall &&= asksHeader(session) || isMostly(landed.length, uids.length);
  await Promise.allSettled(judged);
  const others = await describe(session, [...missing]);
  const wanted = left.filter(({ uid }) => !out.has(uid));
  const all = [...wanted, ...others].toSorted((one, other) => one.uid - other.uid);
  return { left: all, highest: Math.max(highest, others.at(-1)?.uid ?? 0) };
}

/**
 * All of its size came, and it ends before or, where a server knows no partial FETCH, behind what was asked for. What
 * is cut short, or has a wrong size or none, is asked for in the usual way.
 */
const isWhole = ({ size }: MessageMetadata, start: Buffer, length: number): boolean =>
  start.length !== length && start.length >= size;
