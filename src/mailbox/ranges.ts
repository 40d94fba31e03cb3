/** Plans what one FETCH asks for: ranges by bytes and count, and UID lists as short sequence sets. */
import type { MessageMetadata, UidRanges } from '../model.ts';

/** At most so many of one mailbox are between FETCH and the ledger: the suspects after a crash (docs/reliability.md). */
export const MAX_IN_FLIGHT = 256;
/**
 * Bytes of one FETCH: large enough that a round trip is nothing beside it, small enough that several
 * mailboxes fit into limits.inFlightBytes.
 */
export const RANGE_BYTES = 4 * 1024 * 1024;
/**
 * Larger messages are downloaded in pieces to a file, so that no mailbox holds one in memory. Not more
 * than RANGE_BYTES: whatever is fetched in a range fits one.
 */
export const LARGE_MESSAGE_BYTES = RANGE_BYTES;

/**
 * Messages that are asked for before their sizes are known, and bytes of each: those that are no longer come
 * whole, with their metadata, by one FETCH instead of two. Together no more than RANGE_BYTES. Half of what may be
 * in flight, so that the next ones come while these are parsed.
 */
export const STARTS = MAX_IN_FLIGHT / 2;
export const START_BYTES = RANGE_BYTES / STARTS;

/**
 * How many of the messages that begin at `from` one FETCH asks for: at most `maxMessages` and RANGE_BYTES,
 * at least one. What is larger than `aloneAbove` stands alone.
 */
export function rangeLength(
  messages: readonly Pick<MessageMetadata, 'size'>[],
  from: number,
  maxMessages: number,
  aloneAbove: number,
): number {
  let bytes = 0;
  let length = 0;
  for (const { size } of messages.slice(from, from + maxMessages)) {
    bytes += size;
    const alone = size > aloneAbove;
    if (length > 0 && (alone || bytes > RANGE_BYTES)) break;
    length++;
    if (alone) break;
  }
  return length;
}

/** Both halves of a range whose FETCH did not give everything; each is asked for by itself. */
export function halves<Message>(range: readonly Message[]): Message[][] {
  const middle = Math.ceil(range.length / 2);
  return [range.slice(0, middle), range.slice(middle)].filter((half) => half.length > 0);
}

/** Of ascending UIDs those that are in none of the ranges. */
export function outside(uids: readonly number[], ranges: UidRanges): number[] {
  let range = 0;
  const from = (index: number) => ranges[index] ?? Number.POSITIVE_INFINITY;
  return uids.filter((uid) => {
    while (from(range + 1) < uid) range += 2;
    return uid < from(range);
  });
}

/** Ascending UIDs as a sequence set (RFC 3501 §9): `1:3,7`. */
export function sequenceSet(uids: readonly number[]): string {
  const parts: string[] = [];
  let first: number | undefined;
  let last: number | undefined;
  const close = () => {
    if (first !== undefined) parts.push(first === last ? `${first}` : `${first}:${last}`);
  };
  for (const uid of uids) {
    if (last !== undefined && uid === last + 1) {
      last = uid;
      continue;
    }
    close();
    first = uid;
    last = uid;
  }
  close();
  return parts.join(',');
}
