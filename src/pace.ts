/** Spaces out new connections, so that a thousand mailboxes that come back do not come back at once. */
import type { Clock } from './clock.ts';
import { sleep } from './clock.ts';

/**
 * Connections begun in a second to all hosts together, where that is more than to one: a thousand mailboxes come back
 * within a minute, and as many TLS handshakes and name look-ups leave this machine time for its mail.
 */
const ALL_PER_SECOND = 20;
/** So many of them may come at once: whoever comes alone does not wait for others. */
const BURST = 20;

/**
 * A gate for new connections: at most `perSecond` a host, evenly spaced, in the order of asking, and not too many to all
 * hosts. Resolves when it is the caller's turn, or at once when `signal` aborts.
 */
export function paceConnections(
  perSecond: number,
  clock: Clock,
): (host: string, signal: AbortSignal) => Promise<void> {
  const hosts = new Map<string, () => number>();
  const anyHost = everyMs(1000 / Math.max(perSecond, ALL_PER_SECOND), BURST, clock);
  return async (host, signal) => {
    const ofHost = hosts.get(host) ?? everyMs(1000 / perSecond, 1, clock);
    hosts.set(host, ofHost);
    // The host's first: those who wait for one host take no turn from the others.
    for (const wait of [ofHost, anyHost]) {
      const milliseconds = wait();
      if (milliseconds > 0) await sleep(clock, milliseconds, signal);
    }
  };
}

/** Gives turns, each so long after the one before, but `burst` at once after a pause: how long to wait for the next, ms. */
function everyMs(interval: number, burst: number, clock: Clock): () => number {
  let next = Number.NEGATIVE_INFINITY;
  return () => {
    const now = clock.monotonic();
    const turn = Math.max(next, now - (burst - 1) * interval);
    next = turn + interval;
    return Math.max(0, turn - now);
  };
}
