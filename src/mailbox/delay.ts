/** How long messages took from their arrival at the server until they were published. */
import type { MessageMetadata } from '../model.ts';
import type { Session } from './session.ts';

/** Of the last messages of a mailbox, in milliseconds. */
export interface DelayFigures {
  /** How many these are, at most WINDOW. */
  count: number;
  /** Half of them were no slower, and so on; by the nearest rank. */
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** So few that they tell of now, so many that a percentile means something; 4 KB a mailbox that gets mail. */
const WINDOW = 256;
/**
 * Older by so much than the last look at the folder, a message did not arrive since: somebody moved it here, which
 * keeps its INTERNALDATE (RFC 3501 §6.4.7). As much may the server's clock be behind ours.
 */
const MOVED_MS = 60_000;

export interface Delays {
  /** Takes one more up, milliseconds; the oldest makes room. */
  add(delay: number): DelayFigures;
}

export function createDelays(): Delays {
  const inOrderOfTime: number[] = [];
  const ascending: number[] = [];
  return {
    add(delay) {
      inOrderOfTime.push(delay);
      ascending.splice(ascending.findLastIndex((each) => each <= delay) + 1, 0, delay);
      if (inOrderOfTime.length > WINDOW)
        ascending.splice(ascending.indexOf(inOrderOfTime.shift() as number), 1);
      const count = ascending.length;
      const rank = (part: number) => ascending[Math.ceil(part * count) - 1] as number;
      return { count, p50: rank(0.5), p95: rank(0.95), p99: rank(0.99), max: rank(1) };
    },
  };
}

/**
 * From INTERNALDATE until now, ms; null for what was not waited for: there before, or moved here. INTERNALDATE is by the
 * server's clock and without fractions of a second, so that this is up to a second too long, and never below 0.
 */
export function delayOf({ memory, epoch, clock }: Session, message: MessageMetadata): number | null {
  const { caughtUpAt } = memory;
  const awaited =
    message.uid >= epoch.firstUidNext && caughtUpAt !== null && message.internalDate >= caughtUpAt - MOVED_MS;
  return awaited ? Math.max(0, clock.now() - message.internalDate) : null;
}
