/** Asks for a folder's UIDs in windows, so that no answer is larger than memory and event loop can bear. */
import type { Connection } from './connection.ts';

/** UIDs of one SEARCH: one over a million took 680 MB and 1.9 s of the main thread (measured). */
export const WINDOW = 50_000;
/** UIDs far apart must not cost a SEARCH for each 50,000 numbers: a window that found little is followed by one so much wider. */
const WIDEN = 8;
/** Where more may be left a window is no wider: UIDs may be close again after a gap. */
const WIDEST = WIDEN * WINDOW;

export interface Bounds {
  low: number;
  high: number;
  /** Messages in the folder: where one window can hold them all, one SEARCH does. */
  exists: number;
  /** INTERNALDATE from about which on (ms), passed to the server. */
  since?: number;
  /** Those that `since` would leave out, and only those. */
  before?: number;
}

export interface Window {
  low: number;
  high: number;
  /** Ascending, in `low..high`. */
  uids: number[];
}

/** SEARCH disregards time and zone of INTERNALDATE (RFC 3501 §6.4.4): a day earlier misses none. */
const DAY_MS = 86_400_000;

/** The server's UIDs in `low..high`, window by window, ascending. */
export async function* searchWindows(connection: Connection, bounds: Bounds): AsyncGenerator<Window> {
  const { exists, since = 0, before = 0 } = bounds;
  const age = since > 0 ? { since: since - DAY_MS } : before > 0 ? { before: before - DAY_MS } : undefined;
  let width = exists <= WINDOW ? Number.POSITIVE_INFINITY : WINDOW;
  let left = exists;
  for (let low = bounds.low; low <= bounds.high; ) {
    const high = Math.min(bounds.high, low + width - 1);
    const uids = await connection.search(low, high, age);
    yield { low, high, uids };
    low = high + 1;
    left -= uids.length;
    if (exists <= WINDOW) continue;
    width = uids.length < WINDOW / WIDEN ? width * WIDEN : WINDOW;
    if (left > WIDEST) width = Math.min(width, WIDEST);
  }
}
