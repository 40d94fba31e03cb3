/** Compares all of the server's UIDs since the start point with the ledger's and fetches what is missing: the back-fill, too. */
import type { Epoch } from '../model.ts';
import { catchUp } from './catchup.ts';
import { fetchMessages } from './fetching.ts';
import { sequenceSet } from './ranges.ts';
import { backfillSince, type Complete, holding, type Session, unhandled } from './session.ts';
import { searchWindows, WINDOW } from './windows.ts';

/**
 * Counts `expected / stored / missing` and fetches the missing ones, in UID order; new mail goes first. Runs after
 * a catch-up, which may have left something aside above `scannedThrough`, but nothing above what it listed.
 */
export async function reconcile(session: Session): Promise<void> {
  const { epoch, ledger, tally, memory, selected, clock } = session;
  const since = backfillSince(epoch);
  const begun = clock.monotonic();
  const toJudge = await holding(ledger.toJudgeAnew(epoch.id));
  // The ledger knows them, and they are wanted all the same, wherever they are.
  for (const uid of toJudge) memory.unmatched.add(uid);
  if (toJudge.length > 0) memory.complete = null;
  const later = await compareLater(session);
  const wanted = later ?? (await listWanted(session));
  const { expected, fresh, arrivals, backfill } = wanted;
  const missing = backfill.length + arrivals.length;
  tally.counted(expected, expected - missing);
  if (later === null) memory.complete = null;
  if (missing === 0 && (later !== null || (await isProved(session, wanted)))) {
    const { uidNext: below, exists } = selected;
    memory.complete = { below, exists, expected: expected - fresh, taken: 0, at: later?.at ?? begun };
  }
  const between = async () => {
    session.giveWay('backfill');
    if (session.connection.hasNews()) await catchUp(session);
  };
  await fetchMessages(session, retryable(session, arrivals), { lane: 'arrivals', between });
  if (since !== null)
    await fetchMessages(session, retryable(session, backfill), { lane: 'backfill', since, between });
  const found = new Set(toJudge.length === 0 ? [] : [...backfill, ...arrivals]);
  await recordGone(
    session,
    toJudge.filter((uid) => !found.has(uid)),
  );
}

/** What was to be judged anew, but is gone from the server or lies before the start, stays left out. */
async function recordGone({ ledger, epoch, log }: Session, uids: number[]): Promise<void> {
  if (uids.length === 0) return;
  await holding(ledger.recordGone(epoch.id, uids));
  log.warn('filtered_gone', { count: uids.length, uids: sequenceSet(uids) });
}

/**
 * A complete comparison is believed no longer than this: servers err, and comparing is there to find that. Where one
 * SEARCH lists the whole folder it costs little, and is done more often.
 */
const BELIEVED_MS = { small: 2 * 60 * 60_000, large: 24 * 60 * 60_000 };

function believed({ memory: { complete }, selected: { exists }, clock }: Session): Complete | null {
  const most = exists <= WINDOW ? BELIEVED_MS.small : BELIEVED_MS.large;
  return complete !== null && clock.monotonic() - complete.at < most ? complete : null;
}

/**
 * Whether nothing was added or removed since a complete comparison: the same UIDNEXT means that nothing was added
 * (RFC 3501 §2.3.1.1), and then the same EXISTS that nothing was removed. So a quiet folder costs one round trip,
 * whatever it holds, and whatever becomes of flags.
 */
export function isUnchanged(session: Session): boolean {
  const { selected, connection } = session;
  const known = believed(session);
  if (known === null || known.taken > 0 || connection.hasNews()) return false;
  return known.below === selected.uidNext && known.exists === selected.exists;
}

/** After-actions have removed these messages. */
export function countTaken({ memory }: Session, uids: readonly number[]): void {
  const { complete } = memory;
  if (complete === null) return;
  const taken = complete.taken + uids.filter((uid) => uid < complete.below).length;
  memory.complete = { ...complete, taken };
}

interface Listed {
  /** UIDs that SEARCH told. */
  listed: number;
  /** Of these, such as SELECT's EXISTS does not count. */
  fresh: number;
  /** How many of them are wanted. */
  expected: number;
}

interface Wanted extends Listed {
  /** UIDs that are missing, ascending. */
  arrivals: number[];
  backfill: number[];
}

/**
 * Compares what came since a complete comparison: what is below cannot be missing. Null where none is believed, or where
 * what the server shows does not add up.
 */
async function compareLater(session: Session): Promise<(Wanted & { at: number }) | null> {
  const { epoch, selected } = session;
  const known = believed(session);
  if (known === null) return null;
  const { missing, ...later } = await findMissing(session, known.below, listedThrough(session));
  const { listed, fresh, expected } = later;
  const removed = known.exists - known.taken + listed - fresh - selected.exists;
  if (removed < 0 || !(await areAllListed(session, known.below, later))) return null;
  const { at } = known;
  const since = backfillSince(epoch);
  // What is wanted by its date may be anywhere.
  if (removed > 0 && since !== null && since > 0) return { ...(await listWanted(session)), at };
  const others = known.exists - known.expected + listed - expected;
  const unwanted = await countBelow(session, firstArrival(epoch), { least: others - removed, most: others });
  return { ...later, expected: selected.exists + fresh - unwanted, arrivals: missing, backfill: [], at };
}

async function listWanted(session: Session): Promise<Wanted> {
  const { epoch } = session;
  const since = backfillSince(epoch);
  const first = firstArrival(epoch);
  const backfill = since === null ? NOTHING : await findMissing(session, 1, first - 1, { since });
  const arrivals = await findMissing(session, first, listedThrough(session));
  return {
    listed: backfill.listed + arrivals.listed,
    fresh: backfill.fresh + arrivals.fresh,
    expected: backfill.expected + arrivals.expected,
    arrivals: arrivals.missing,
    backfill: backfill.missing,
  };
}

/** Whether SEARCH left out nothing of what is wanted: that of some servers lags behind. */
async function isProved(session: Session, { listed, fresh }: Listed): Promise<boolean> {
  const { epoch, connection, selected } = session;
  const since = backfillSince(epoch);
  if (since === null) return areAllListed(session, firstArrival(epoch), { listed, fresh });
  let older = 0;
  if (since > 0) {
    const bounds = { low: 1, high: firstArrival(epoch) - 1, exists: selected.exists, before: since };
    for await (const { uids } of searchWindows(connection, bounds)) older += uids.length;
  }
  return areAllListed(session, 1, { listed: listed + older, fresh });
}

/** Whether these are all that had a UID from `low` on at SELECT. */
async function areAllListed(
  session: Session,
  low: number,
  { listed, fresh }: Pick<Listed, 'listed' | 'fresh'>,
): Promise<boolean> {
  const { uidNext, exists } = session.selected;
  return uidNext > 0 && areBelow(session, low, exists - (listed - fresh));
}

/**
 * Whether at least so many messages have a UID below this one: message sequence numbers ascend with UIDs
 * (RFC 3501 §2.3.1.2).
 */
async function areBelow(session: Session, uid: number, count: number): Promise<boolean> {
  const { connection, selected, memory, clock } = session;
  if (count <= 0 || count > selected.exists) return count === 0;
  if (clock.monotonic() < memory.placesFrom) return false;
  memory.placesFrom = clock.monotonic() + BELIEVED_MS.large;
  const last = await connection.uidAt(count);
  memory.placesFrom = 0;
  return last !== null && last < uid;
}

/** How many messages have a UID below this one: no EXPUNGE comes between these FETCHes (RFC 3501 §7.4.1). */
async function countBelow(
  session: Session,
  uid: number,
  { least, most }: { least: number; most: number },
): Promise<number> {
  let [low, high] = [Math.max(0, least), most];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (await areBelow(session, uid, middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

const firstArrival = ({ firstUidNext }: Epoch): number => Math.max(1, firstUidNext);

/** The highest UID that a catch-up listed. */
const listedThrough = ({ scannedThrough, memory }: Session): number =>
  Math.max(scannedThrough, memory.arrivedThrough);

interface Found extends Listed {
  missing: number[];
}

const NOTHING: Found = { listed: 0, fresh: 0, expected: 0, missing: [] };

async function findMissing(
  session: Session,
  low: number,
  high: number,
  age?: { since: number },
): Promise<Found> {
  const { connection, memory, selected } = session;
  const found: Found = { ...NOTHING, missing: [] };
  if (high < low) return found;
  for await (const { uids } of searchWindows(connection, { low, high, exists: selected.exists, ...age })) {
    const open = await unhandled(session, uids, { retryUnfetchable: true });
    const missing = open.filter((uid) => !memory.tooOld.has(uid));
    found.listed += uids.length;
    found.fresh += uids.filter((uid) => uid >= selected.uidNext).length;
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
