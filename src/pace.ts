/** Spaces out new connections, so that a thousand mailboxes that come back do not come back at once. */
import type { Clock } from './clock.ts';
import { sleep } from './clock.ts';

/**
 * A gate for new connections: at most `perSecond` a host, evenly spaced, in the order of asking.
 * Resolves when it is the caller's turn, or at once when `signal` aborts.
 */
export function paceConnections(
  perSecond: number,
  clock: Clock,
): (host: string, signal: AbortSignal) => Promise<void> {
  const nextTurn = new Map<string, number>();
  return async (host, signal) => {
    const now = clock.monotonic();
    const turn = Math.max(now, nextTurn.get(host) ?? now);
    nextTurn.set(host, turn + 1000 / perSecond);
    if (turn > now) await sleep(clock, turn - now, signal);
  };
}
