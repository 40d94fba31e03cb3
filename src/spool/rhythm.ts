/** How mail came to a mailbox: when last, and how long it was quiet at most; read from the ledger, a little at a time. */
import type { Mailbox } from '../model.ts';
import type { Rhythm } from '../ports.ts';
import { SPAN, spanOf } from './block.ts';
import type { Ledger } from './ledger.ts';
import { blockRows } from './packing.ts';

/** Spans of one call: some 4 ms. */
const SPANS_PER_CALL = 4;

/** A message came at its INTERNALDATE, or when we had it, where that is earlier: no date of the future hides what follows. */
const CAME = 'min(internal_date, recorded_at)';

/** What a mailbox was like before tells little of now; and one old message that somebody moved here would be a gap of years. */
const HISTORY_MS = 366 * 86_400_000;

/** Where the reading of a mailbox's history stands: `from` is the next UID. */
export interface RhythmReading {
  rhythm: Rhythm;
  epoch: number;
  from: number;
}

/** When the latest message came, ms; null where there is none. It is among the last of its epoch. */
export function lastArrival(ledger: Ledger, mailbox: Mailbox): number | null {
  const row = ledger.get<{ at: number | null }>(
    `SELECT max(at) AS at FROM (
       SELECT (SELECT max(at) FROM (SELECT ${CAME} AS at FROM message WHERE epoch = e.id ORDER BY uid DESC LIMIT ?3)) AS at
       FROM epoch e WHERE account = ?1 AND folder = ?2
       UNION ALL
       SELECT (SELECT min(newest, recorded_at) FROM block WHERE epoch = e.id ORDER BY span DESC LIMIT 1)
       FROM epoch e WHERE account = ?1 AND folder = ?2)`,
    mailbox.account,
    mailbox.folder,
    SPAN,
  );
  return row?.at ?? null;
}

/** Reads on in the history of the year before `now`; null: from its beginning. Dates that go back change nothing. */
export function readRhythm(
  ledger: Ledger,
  mailbox: Mailbox,
  now: number,
  before: RhythmReading | null,
): RhythmReading {
  const begins = now - HISTORY_MS;
  let { rhythm, epoch, from } = before ?? { rhythm: NOTHING, epoch: 0, from: 0 };
  for (let spans = 0; spans < SPANS_PER_CALL; ) {
    const span = nextSpan(ledger, epoch, from, begins);
    if (span !== null) {
      rhythm = arrivals(ledger, epoch, span)
        .filter((at) => at >= begins)
        .reduce(takeUp, rhythm);
      from = (span + 1) * SPAN;
      spans++;
      continue;
    }
    const next = ledger.get<{ id: number }>(
      'SELECT id FROM epoch WHERE account = ? AND folder = ? AND id > ? ORDER BY id LIMIT 1',
      mailbox.account,
      mailbox.folder,
      epoch,
    );
    if (next === undefined) return { rhythm: { ...rhythm, complete: true }, epoch, from };
    epoch = next.id;
    from = 0;
  }
  return { rhythm, epoch, from };
}

const NOTHING: Rhythm = { arrivals: 0, firstAt: 0, lastAt: 0, longest: 0, complete: false };

function takeUp(rhythm: Rhythm, at: number): Rhythm {
  const { arrivals, firstAt, lastAt, longest } = rhythm;
  if (arrivals === 0) return { ...rhythm, arrivals: 1, firstAt: at, lastAt: at };
  if (at <= lastAt) return { ...rhythm, arrivals: arrivals + 1 };
  return { ...rhythm, arrivals: arrivals + 1, firstAt, lastAt: at, longest: Math.max(longest, at - lastAt) };
}

/** The next span with a message that came after `begins`, as far as can be told from outside; null: there is none. */
function nextSpan(ledger: Ledger, epoch: number, from: number, begins: number): number | null {
  const row = ledger.get<{ uid: number | null; span: number | null }>(
    `SELECT (SELECT min(uid) FROM message WHERE epoch = ?1 AND uid >= ?2) AS uid,
       (SELECT min(span) FROM block WHERE epoch = ?1 AND span >= ?3 AND newest >= ?4) AS span`,
    epoch,
    from,
    spanOf(from),
    begins,
  );
  const { uid = null, span = null } = row ?? {};
  const spans = [uid === null ? null : spanOf(uid), span].filter((each) => each !== null);
  return spans.length === 0 ? null : Math.min(...spans);
}

/** When the messages of a span came, in UID order: the order in which they came to the folder. */
function arrivals(ledger: Ledger, epoch: number, span: number): number[] {
  const rows = ledger.all<{ uid: number; at: number }>(
    `SELECT uid, ${CAME} AS at FROM message WHERE epoch = ? AND uid BETWEEN ? AND ?`,
    epoch,
    span * SPAN,
    (span + 1) * SPAN - 1,
  );
  const packed = blockRows(ledger, epoch, span).map(({ uid, internal_date, recorded_at }) => ({
    uid,
    at: Math.min(internal_date, recorded_at),
  }));
  return [...rows, ...packed].sort((one, other) => one.uid - other.uid).map(({ at }) => at);
}
