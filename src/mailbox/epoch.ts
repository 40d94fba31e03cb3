/** After a new UIDVALIDITY: which of a mailbox's messages are known from its earlier epochs. */
import { createHash } from 'node:crypto';
import type { MessageMetadata } from '../model.ts';
import { hashParts } from './large.ts';
import { LARGE_MESSAGE_BYTES, MAX_IN_FLIGHT, rangeLength } from './ranges.ts';
import { backfillSince, holding, reserve, type Session, unhandled } from './session.ts';
import { searchWindows } from './windows.ts';

/** More old messages that match nothing than this are not published unasked: the operator decides with `adopt`. */
const MAX_UNMATCHED = 100;
/** Messages whose metadata is asked for at once, and compared at once: pairs must be unique among all of them. */
const CANDIDATES = 50_000;

/** Thrown where the mailbox holds until the operator has decided. */
export class Unclear extends Error {}

/**
 * Compares what the mailbox held when it was numbered anew with its earlier epochs; afterwards
 * `epoch.compared` is true. Throws `Unclear` where too much matches nothing.
 */
export async function compareAtOpening(session: Session): Promise<void> {
  const { connection, epoch, ledger, memory, selected, log } = session;
  const since = backfillSince(epoch);
  let unmatched = 0;
  if (since !== null && epoch.changedAt !== null && epoch.firstUidNext > 1) {
    const bounds = { low: 1, high: epoch.firstUidNext - 1, exists: selected.exists, since };
    for await (const window of searchWindows(connection, bounds)) {
      const open = await unhandled(session, window.uids, { retryUnfetchable: true });
      const uids = open.filter((uid) => !memory.tooOld.has(uid));
      for (let from = 0; from < uids.length; from += CANDIDATES) {
        const rows = await connection.metadata(uids.slice(from, from + CANDIDATES), { messageId: true });
        const { changedAt } = epoch;
        const candidates = [...rows.values()].filter(
          ({ internalDate }) => internalDate >= since && internalDate < (changedAt ?? 0),
        );
        const known = await compareWithEarlier(session, candidates);
        unmatched += candidates.length - known.size;
      }
    }
  }
  if (unmatched > MAX_UNMATCHED) {
    await holding(ledger.holdEpoch(epoch.id, unmatched));
    log.warn('epoch_unclear', { uidValidity: epoch.label, unmatched });
    throw new Unclear(`${unmatched} messages match nothing that is known`);
  }
  await holding(ledger.markCompared(epoch.id));
  session.epoch = { ...epoch, compared: true };
}

/**
 * Of these messages, the UIDs that are known from an earlier epoch: by Message-ID and size, and where that
 * does not decide by their bytes. So are the few that match nothing: a Message-ID can be read in two ways.
 */
export async function compareWithEarlier(
  session: Session,
  candidates: MessageMetadata[],
): Promise<Set<number>> {
  const { ledger, epoch, memory } = session;
  const { matched, ambiguous, unmatched } = await holding(ledger.matchEarlier(epoch.id, candidates));
  const known = new Set(matched);
  const few = unmatched.length <= MAX_UNMATCHED;
  const undecided = new Set(few ? [...ambiguous, ...unmatched] : ambiguous);
  if (!few) for (const uid of unmatched) memory.unmatched.add(uid);
  const toHash = candidates.filter(({ uid }) => undecided.has(uid));
  const aloneAbove = Math.min(LARGE_MESSAGE_BYTES, session.limits.messageBytes);
  for (let next = 0; next < toHash.length; ) {
    const range = toHash.slice(next, next + rangeLength(toHash, next, MAX_IN_FLIGHT, aloneAbove));
    next += range.length;
    const hashes = await hashRange(session, range);
    for (const message of range) {
      const hash = hashes.get(message.uid);
      const same = hash !== undefined && (await holding(ledger.matchByHash(epoch.id, message, hash)));
      if (same) known.add(message.uid);
      else memory.unmatched.add(message.uid);
    }
  }
  return known;
}

/** SHA-256 by UID, of those that the server gives and limits.messageBytes admits. */
async function hashRange(session: Session, range: MessageMetadata[]): Promise<Map<number, string>> {
  const hashes = new Map<number, string>();
  const first = range[0];
  if (first === undefined || first.size > session.limits.messageBytes) return hashes;
  const bytes = range.reduce((sum, { size }) => sum + size, 0);
  const release = await reserve(session, Math.min(bytes, LARGE_MESSAGE_BYTES));
  try {
    if (first.size > LARGE_MESSAGE_BYTES) {
      const hash = await hashParts(session, first);
      if (hash !== null) hashes.set(first.uid, hash);
      return hashes;
    }
    const uids = range.map(({ uid }) => uid);
    await session.connection.fetchSources(uids, 2 * bytes + LARGE_MESSAGE_BYTES, (uid, source) => {
      hashes.set(uid, createHash('sha256').update(source).digest('hex'));
    });
    return hashes;
  } finally {
    release();
  }
}
