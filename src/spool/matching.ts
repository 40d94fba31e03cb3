/** Recognizes messages of an earlier epoch under their new UIDs, one to one. */
import { storableId } from '../message-id.ts';
import type { MessageMetadata } from '../model.ts';
import type { Ledger } from './ledger.ts';
import { datable } from './names.ts';
import { isPacked, makeClaimable } from './packing.ts';

interface Earlier {
  epoch: number;
  uid: number;
  hash: string | null;
}

/** Earlier rows of the mailbox that no later epoch has claimed: in a chain of epochs only the latest link. */
const UNCLAIMED = `
  SELECT m.epoch, m.uid, hex(m.sha256) AS hash
  FROM message m JOIN epoch e ON e.id = m.epoch JOIN epoch mine ON mine.id = ?
  WHERE e.account = mine.account AND e.folder = mine.folder AND e.id < mine.id AND m.claimable = 1
    AND m.state IN ('staged', 'published', 'quarantined', 'filtered', 'carried', 'skipped')`;

/**
 * Compares candidates by Message-ID and size (`MailboxLedger.matchEarlier`), in one transaction.
 * Ambiguous is what bytes must decide: no Message-ID on either side, several candidates for one
 * earlier message, or several earlier messages with different bytes.
 */
export function matchEarlier(
  ledger: Ledger,
  epoch: number,
  candidates: MessageMetadata[],
  now: number,
): { matched: number[]; ambiguous: number[]; unmatched: number[] } {
  const result = { matched: [] as number[], ambiguous: [] as number[], unmatched: [] as number[] };
  const rivals = Map.groupBy(candidates, pairOf);
  makeAllClaimable(ledger, epoch);
  ledger.transaction(() => {
    for (const candidate of candidates) {
      const verdict = judge(ledger, epoch, candidate, (rivals.get(pairOf(candidate)) ?? []).length);
      if (typeof verdict === 'object') carry(ledger, epoch, candidate, verdict, now);
      result[typeof verdict === 'object' ? 'matched' : verdict].push(candidate.uid);
    }
  });
  return result;
}

function pairOf(candidate: MessageMetadata): string {
  return `${candidate.size} ${storableId(candidate.messageId) ?? ''}`;
}

function judge(
  ledger: Ledger,
  epoch: number,
  candidate: MessageMetadata,
  rivals: number,
): Earlier | 'matched' | 'ambiguous' | 'unmatched' {
  if (isHandled(ledger, epoch, candidate.uid)) return 'matched';
  const messageId = storableId(candidate.messageId);
  if (messageId === null) return 'ambiguous';
  const [first, ...others] = ledger.all<Earlier>(
    `${UNCLAIMED} AND m.message_id = ? AND m.declared_size = ? ORDER BY m.epoch DESC, m.uid`,
    epoch,
    messageId,
    candidate.size,
  );
  if (first === undefined) {
    // One of this size whose Message-ID we do not know may be it.
    const nameless = ledger.get(
      `${UNCLAIMED} AND m.message_id IS NULL AND m.declared_size = ? LIMIT 1`,
      epoch,
      candidate.size,
    );
    return nameless === undefined ? 'unmatched' : 'ambiguous';
  }
  const sameBytes = others.every((other) => other.hash !== null && other.hash === first.hash);
  return rivals === 1 && sameBytes ? first : 'ambiguous';
}

/** True where an earlier epoch holds these bytes unclaimed; the candidate is then `carried` (`MailboxLedger.matchByHash`). */
export function matchByHash(
  ledger: Ledger,
  epoch: number,
  candidate: MessageMetadata,
  sha256: string,
  now: number,
): boolean {
  makeAllClaimable(ledger, epoch);
  return ledger.transaction(() => {
    if (isHandled(ledger, epoch, candidate.uid)) return true;
    const earlier = ledger.get<Earlier>(
      `${UNCLAIMED} AND m.sha256 = ? ORDER BY m.epoch DESC, m.uid LIMIT 1`,
      epoch,
      Buffer.from(sha256, 'hex'),
    );
    if (earlier === undefined) return false;
    carry(ledger, epoch, candidate, earlier, now);
    return true;
  });
}

/** Whoever lets others have their turn meanwhile has called `makeClaimable` before. */
function makeAllClaimable(ledger: Ledger, epoch: number): void {
  for (let more = true; more; ) more = makeClaimable(ledger, epoch);
}

/** Asked again after a lost connection: what was carried the first time stays so. */
function isHandled(ledger: Ledger, epoch: number, uid: number): boolean {
  const sql = "SELECT 1 FROM message WHERE epoch = ? AND uid = ? AND state NOT IN ('staged', 'unfetchable')";
  return ledger.get(sql, epoch, uid) !== undefined || isPacked(ledger, epoch, uid);
}

/**
 * The candidate becomes the earlier message's next link, with what is still owed for it; what was left out stays so, and
 * a request to judge it anew is for the candidate.
 */
function carry(
  ledger: Ledger,
  epoch: number,
  candidate: MessageMetadata,
  earlier: Earlier,
  now: number,
): void {
  ledger.run(
    `INSERT INTO message (epoch, uid, state, message_id, declared_size, size, sha256, internal_date, flags,
       extensions, path, copies, recorded_at, owes_after, reason)
     SELECT ?, ?, iif(state = 'filtered', state, 'carried'), coalesce(?, message_id), ?, size, sha256, ?, ?, ?, path,
       copies, ?, owes_after, iif(state = 'filtered', reason, NULL)
     FROM message WHERE epoch = ? AND uid = ?
     ON CONFLICT (epoch, uid) DO UPDATE SET state = excluded.state, path = excluded.path, size = excluded.size,
       sha256 = excluded.sha256, code = NULL, reason = excluded.reason, owes_after = excluded.owes_after`,
    epoch,
    candidate.uid,
    storableId(candidate.messageId),
    candidate.size,
    datable(candidate.internalDate),
    JSON.stringify(candidate.flags),
    candidate.extensions === undefined ? null : JSON.stringify(candidate.extensions),
    now,
    earlier.epoch,
    earlier.uid,
  );
  ledger.run(
    `UPDATE replay SET epoch = ?, uid = ? WHERE epoch = ? AND uid = ? AND EXISTS (
       SELECT 1 FROM message m WHERE m.epoch = replay.epoch AND m.uid = replay.uid AND m.state = 'filtered')`,
    epoch,
    candidate.uid,
    earlier.epoch,
    earlier.uid,
  );
  ledger.run(
    'UPDATE message SET claimed = 1, claimable = 0, owes_after = 0 WHERE epoch = ? AND uid = ?',
    earlier.epoch,
    earlier.uid,
  );
}
