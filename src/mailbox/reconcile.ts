/** Compares all of the server's UIDs since the start point with the ledger's and fetches what is missing: the back-fill, too. */
import { catchUp } from './catchup.ts';
import { fetchMessages } from './fetching.ts';
import { moved } from './folder-status.ts';
import { sequenceSet } from './ranges.ts';
import { backfillSince, holding, type Session, unhandled } from './session.ts';
import { searchWindows } from './windows.ts';

/**
 * Counts `expected / stored / missing` and fetches the missing ones, in UID order; new mail goes first. Runs after
 * a catch-up, which may have left something aside above `scannedThrough`, but nothing above what it listed.
 */
export async function reconcile(session: Session): Promise<void> {
  const { epoch, ledger, tally, memory, selected, clock } = session;
  const since = backfillSince(epoch);
  const toJudge = await holding(ledger.toJudgeAnew(epoch.id));
  // The ledger knows them, and they are wanted all the same.
  for (const uid of toJudge) memory.unmatched.add(uid);
  const backfill = since === null ? NOTHING : await findMissing(session, 1, epoch.firstUidNext - 1, since);
  const listedThrough = Math.max(session.scannedThrough, memory.arrivedThrough);
  const arrivals = await findMissing(session, Math.max(1, epoch.firstUidNext), listedThrough);
  const expected = backfill.expected + arrivals.expected;
  tally.counted(expected, expected - backfill.missing.length - arrivals.missing.length);
  const isComplete = backfill.missing.length + arrivals.missing.length === 0;
  const isWhole =
    since === 0 && backfill.listed + arrivals.listed === selected.exists && selected.uidNext > 0;
  memory.complete = isComplete && isWhole ? { told: selected, at: clock.monotonic() } : null;
  const between = async () => {
    session.giveWay('backfill');
    if (session.connection.hasNews()) await catchUp(session);
  };
  await fetchMessages(session, retryable(session, arrivals.missing), { lane: 'arrivals', between });
  if (since !== null)
    await fetchMessages(session, retryable(session, backfill.missing), { lane: 'backfill', since, between });
  const wanted = new Set(toJudge.length === 0 ? [] : [...backfill.missing, ...arrivals.missing]);
  await recordGone(
    session,
    toJudge.filter((uid) => !wanted.has(uid)),
  );
}

/** What was to be judged anew, but is gone from the server or lies before the start, stays left out. */
async function recordGone({ ledger, epoch, log }: Session, uids: number[]): Promise<void> {
  if (uids.length === 0) return;
  await holding(ledger.recordGone(epoch.id, uids));
  log.warn('filtered_gone', { count: uids.length, uids: sequenceSet(uids) });
}

/** What SELECT tells of a quiet folder is believed no longer than this: servers err, and comparing is there to find that. */
const BELIEVED_MS = 24 * 60 * 60_000;

/**
 * Whether nothing can be new or gone since a comparison that listed as many messages as there are, none of them missing:
 * the same UIDVALIDITY and UIDNEXT mean that nothing was added (RFC 3501 §2.3.1.1), and then the same EXISTS that nothing
 * was removed. So a folder of which all is wanted costs one round trip, whatever it holds; of others little is searched.
 */
export function isUnchanged({ memory, selected, connection, clock }: Session): boolean {
  const { complete } = memory;
  return (
    complete !== null &&
    clock.monotonic() - complete.at < BELIEVED_MS &&
    !moved(complete.told, selected) &&
    !connection.hasNews()
  );
}

interface Found {
  /** By SEARCH. */
  listed: number;
  expected: number;
  missing: number[];
}

const NOTHING: Found = { listed: 0, expected: 0, missing: [] };

async function findMissing(session: Session, low: number, high: number, since?: number): Promise<Found> {
  const { connection, memory, selected } = session;
  const found: Found = { ...NOTHING, missing: [] };
  if (high < low) return found;
  const bounds = { low, high, exists: selected.exists, ...(since !== undefined && { since }) };
  for await (const { uids } of searchWindows(connection, bounds)) {
    const open = await unhandled(session, uids, { retryUnfetchable: true });
    const missing = open.filter((uid) => !memory.tooOld.has(uid));
    found.listed += uids.length;
    found.expected += uids.length - open.length + missing.length;
    for (const uid of missing) found.missing.push(uid);
  }
  return found;
}

/** Without those found unfetchable a moment ago: one that ends its connection must not do so at every reconnect. */
function retryable({ memory, clock, reconcileEvery }: Session, uids: number[]): number[] {
  const now = clock.monotonic();
  return uids.filter((uid) => {
    const failedAt = memory.unfetchable.get(uid);
    return failedAt === undefined || now - failedAt >= reconcileEvery;
  });
}
