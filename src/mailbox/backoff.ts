/** How long to wait before the next try: exponential with full jitter, so that many mailboxes do not return at once. */
import type { Retry } from '../errors.ts';

/** Milliseconds: the first ceiling, and where doubling ends. */
const SOON = { first: 1_000, last: 5 * 60_000 };
/** Wrong passwords and certificates: somebody must act, and providers lock accounts that try often. */
const LATER = { first: 30_000, last: 15 * 60_000 };
/** Never sooner, whatever the dice say: a server that drops us at once must not be stormed. */
const LEAST_MS = 500;

/**
 * Milliseconds to wait after the `failures`-th failure in a row (1 or more). `random` is in [0, 1). Full
 * jitter; p-retry runs the loop (`retry.ts`), but its own delays cannot follow an injected clock.
 */
export function backoff(failures: number, retry: Retry, random: number): number {
  const { first, last } = retry === 'soon' ? SOON : LATER;
  const ceiling = Math.min(last, first * 2 ** (failures - 1));
  const least = retry === 'soon' ? LEAST_MS : first / 2;
  return Math.round(least + random * (ceiling - least));
}
