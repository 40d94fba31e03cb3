/** The ledger's rows about messages: what became of each UID, and what is on its way to its final place. */
import type { PlainError } from '../errors.ts';
import { storableId } from '../message-id.ts';
import type {
  Extensions,
  LeftOut,
  MessageIdentity,
  MessageMetadata,
  MessageState,
  UidRanges,
} from '../model.ts';
import { addUid, noUids, rangesOf, spanOf } from './block.ts';
import type { Ledger } from './ledger.ts';
import { datable } from './names.ts';
import { isPacked, packedRow } from './packing.ts';

/** Names a message in the ledger. */
export interface Key {
  epoch: number;
  uid: number;
}

/** What is known of a message before it is staged. */
export interface MessageFacts extends Key {
  messageId: string | null;
  /** RFC822.SIZE, bytes. */
  declaredSize: number;
  /** Of the raw message, bytes; null where it was not read whole. */
  size: number | null;
  /** Hex. */
  sha256: string | null;
  internalDate: number;
  flags: string[];
  extensions?: Extensions | undefined;
  owesAfter: boolean;
}

/** A message that a rule leaves out. */
export interface FilteredItem {
  epochId: number;
  identity: MessageIdentity;
  /** RFC822.SIZE, bytes. */
  declaredSize: number;
  left: LeftOut;
}

/** A row of `staging`: a message between "staged" and "published" or "quarantined". */
export interface StagedRow extends Key {
  kind: 'document' | 'quarantine';
  run: string;
  stem: string;
  /** Below the storage directory: the JSON, or the quarantined message without its ending. */
  path: string;
  hasAttachments: boolean;
  hasSource: boolean;
  /** Why it is quarantined. */
  code: string | null;
  reason: string | null;
  /** False where only a header was quarantined. */
  complete: boolean;
}

/** What the handoff must know of a message that comes in. */
export interface Known {
  state: MessageState;
  /** How often it was published. */
  copies: number;
  complete: boolean;
  code: string | null;
  /** Its staging row exists: a publishing has begun and is not settled. */
  staging: boolean;
  /** It is in a block. */
  packed: boolean;
}

/** What the ledger has of a message, null where it is unknown. */
export function knownMessage(ledger: Ledger, key: Key): Known | null {
  const row = ledger.get<{
    state: MessageState;
    copies: number;
    complete: number;
    code: string;
    staging: number;
  }>(
    `SELECT state, copies, complete, code,
       EXISTS (SELECT 1 FROM staging s WHERE s.epoch = m.epoch AND s.uid = m.uid) AS staging
     FROM message m WHERE epoch = ? AND uid = ?`,
    key.epoch,
    key.uid,
  );
  if (row !== undefined)
    return { ...row, complete: row.complete === 1, staging: row.staging === 1, packed: false };
  const packed = packedRow(ledger, key.epoch, key.uid);
  return packed === undefined
    ? null
    : {
        state: packed.state,
        copies: packed.copies,
        complete: true,
        code: null,
        staging: false,
        packed: true,
      };
}

/** True for a message quarantined unread because of its size: it is fetched once the limit admits it. */
export function isUnread(known: Known): boolean {
  return known.state === 'quarantined' && !known.complete && known.code === 'MESSAGE_TOO_LARGE';
}

/** True for a message that was left aside, and that another outcome may replace. */
export function isReplaceable(known: Known): boolean {
  const { state, staging, packed } = known;
  return !staging && !packed && (state === 'unfetchable' || state === 'filtered' || isUnread(known));
}

/** Records "staged" (inside a transaction): from its commit on the message is ours to hand over. */
export function recordStaged(ledger: Ledger, facts: MessageFacts, staged: StagedRow, now: number): void {
  putMessage(ledger, facts, { state: 'staged', parsed: staged.kind === 'document' }, now);
  ledger.run(
    `INSERT INTO staging (epoch, uid, kind, run, stem, path, has_attachments, has_source, code, reason, complete)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    staged.epoch,
    staged.uid,
    staged.kind,
    staged.run,
    staged.stem,
    staged.path,
    staged.hasAttachments ? 1 : 0,
    staged.hasSource ? 1 : 0,
    staged.code,
    staged.reason,
    staged.complete ? 1 : 0,
  );
}

/**
 * A new row gets `state`; one that exists (unfetchable, quarantined, replayed) keeps its own until it is settled.
 * `parsed`: the Message-ID is the document's, which counts more than what the header seemed to hold.
 */
function putMessage(
  ledger: Ledger,
  facts: MessageFacts,
  { state, parsed }: { state: MessageState; parsed: boolean },
  now: number,
): void {
  ledger.run(
    `INSERT INTO message (epoch, uid, state, message_id, declared_size, size, sha256, internal_date, flags,
       extensions, owes_after, recorded_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (epoch, uid) DO UPDATE SET
       declared_size = excluded.declared_size,
       message_id = CASE WHEN ? THEN excluded.message_id ELSE coalesce(excluded.message_id, message_id) END,
       size = coalesce(excluded.size, size), extensions = coalesce(excluded.extensions, extensions),
       sha256 = coalesce(excluded.sha256, sha256), owes_after = max(owes_after, excluded.owes_after)`,
    facts.epoch,
    facts.uid,
    state,
    storableId(facts.messageId),
    // The server's word: whatever it is, it is stored as a size.
    Number.isSafeInteger(facts.declaredSize) ? facts.declaredSize : 0,
    facts.size,
    facts.sha256 === null ? null : Buffer.from(facts.sha256, 'hex'),
    datable(facts.internalDate),
    JSON.stringify(facts.flags),
    facts.extensions === undefined ? null : JSON.stringify(facts.extensions),
    facts.owesAfter ? 1 : 0,
    now,
    parsed ? 1 : 0,
  );
}

const STAGED_COLUMNS = `epoch, uid, kind, run, stem, path, has_attachments AS hasAttachments,
  has_source AS hasSource, code, reason, complete`;

/** Every message that is staged and not settled, in UID order. */
export function stagedRows(ledger: Ledger): StagedRow[] {
  return ledger
    .all<Record<keyof StagedRow, never>>(`SELECT ${STAGED_COLUMNS} FROM staging ORDER BY epoch, uid`)
    .map((row) => ({
      ...row,
      hasAttachments: row.hasAttachments === 1,
      hasSource: row.hasSource === 1,
      complete: row.complete === 1,
    }));
}

/** Records that a staged message stands at its final place (inside a transaction); the staging row goes. */
export function recordSettled(ledger: Ledger, staged: StagedRow, at: number): void {
  if (staged.kind === 'document') {
    ledger.run(
      `UPDATE message SET state = 'published', path = ?, copies = copies + 1, recorded_at = ?, complete = 1,
         code = NULL, reason = NULL WHERE epoch = ? AND uid = ?`,
      staged.path,
      at,
      staged.epoch,
      staged.uid,
    );
  } else {
    ledger.run(
      `UPDATE message SET state = 'quarantined', path = ?, recorded_at = ?, complete = ?, code = ?, reason = ?,
         owes_after = 0 WHERE epoch = ? AND uid = ?`,
      `${staged.path}.eml`,
      at,
      staged.complete ? 1 : 0,
      staged.code,
      staged.reason,
      staged.epoch,
      staged.uid,
    );
  }
  ledger.run('DELETE FROM staging WHERE epoch = ? AND uid = ?', staged.epoch, staged.uid);
  // A request to replay is answered by the document, and by nothing before it.
  if (staged.kind === 'document') {
    ledger.run('DELETE FROM replay WHERE epoch = ? AND uid = ?', staged.epoch, staged.uid);
  }
}

/** Takes "staged" back (inside a transaction): a new message is unknown again, an old one what it was. */
export function recordWithdrawn(ledger: Ledger, key: Key): void {
  ledger.run('DELETE FROM staging WHERE epoch = ? AND uid = ?', key.epoch, key.uid);
  ledger.run("DELETE FROM message WHERE epoch = ? AND uid = ? AND state = 'staged'", key.epoch, key.uid);
}

/** The UIDs in `low..high` that are not to be fetched (`MailboxLedger.handled`). */
export function handledUids(
  ledger: Ledger,
  epoch: number,
  low: number,
  high: number,
  options: { messageBytes: number; retryUnfetchable: boolean },
): UidRanges {
  const blocks = ledger.all<{ span: number; uids: Uint8Array }>(
    'SELECT span, uids FROM block WHERE epoch = ? AND span BETWEEN ? AND ?',
    epoch,
    spanOf(low),
    spanOf(high),
  );
  const bySpan = new Map(blocks.map(({ span, uids }) => [span, uids]));
  const rows = ledger.iterate<{ uid: number }>(
    `SELECT uid FROM message WHERE epoch = ? AND uid BETWEEN ? AND ? AND state <> 'staged'
       AND NOT (state = 'quarantined' AND complete = 0 AND code = 'MESSAGE_TOO_LARGE' AND declared_size <= ?)
       AND NOT (state = 'unfetchable' AND ?)
       AND NOT (state = 'filtered' AND EXISTS (SELECT 1 FROM replay r
         WHERE r.epoch = message.epoch AND r.uid = message.uid AND r.code IS NULL))`,
    epoch,
    low,
    high,
    options.messageBytes,
    options.retryUnfetchable ? 1 : 0,
  );
  for (const { uid } of rows) {
    const uids = bySpan.get(spanOf(uid)) ?? noUids();
    addUid(uids, uid);
    bySpan.set(spanOf(uid), uids);
  }
  return rangesOf(
    [...bySpan].sort(([one], [other]) => one - other),
    low,
    high,
  );
}

/** Records a UID that cannot be fetched (inside a transaction). What was handled before stays so. */
export function recordUnfetchable(
  ledger: Ledger,
  epoch: number,
  message: MessageMetadata,
  error: PlainError,
  now: number,
): void {
  if (isPacked(ledger, epoch, message.uid)) return;
  putMessage(
    ledger,
    {
      epoch,
      uid: message.uid,
      messageId: message.messageId ?? null,
      declaredSize: message.size,
      size: null,
      sha256: null,
      internalDate: message.internalDate,
      flags: message.flags,
      extensions: message.extensions,
      owesAfter: false,
    },
    { state: 'unfetchable', parsed: false },
    now,
  );
  ledger.run(
    `UPDATE message SET code = ?, reason = ?, recorded_at = ? WHERE epoch = ? AND uid = ? AND state = 'unfetchable'`,
    error.code,
    errorText(error),
    now,
    epoch,
    message.uid,
  );
}

/** Records a message that a rule leaves out (inside a transaction), in place of a request to judge it anew. */
export function recordFiltered(ledger: Ledger, item: FilteredItem, now: number): void {
  const { identity, declaredSize, left } = item;
  const key = { epoch: item.epochId, uid: identity.uid };
  const { internalDate, flags, extensions } = identity;
  const { rule, ...bytes } = left;
  const facts = { ...key, ...bytes, declaredSize, internalDate, flags, extensions, owesAfter: false };
  putMessage(ledger, facts, { state: 'filtered', parsed: bytes.sha256 !== null }, now);
  ledger.run(
    `UPDATE message SET state = 'filtered', path = NULL, code = NULL, reason = ?, complete = 1, recorded_at = ?
     WHERE epoch = ? AND uid = ?`,
    rule,
    now,
    key.epoch,
    key.uid,
  );
  ledger.run('DELETE FROM replay WHERE epoch = ? AND uid = ?', key.epoch, key.uid);
}

/** The words of an error, as `list` and the quarantine's `.error` tell them. */
export function errorText(error: PlainError): string {
  return [error.where, error.detail].filter(Boolean).join(': ');
}

/** UIDs that are published and whose after-action is owed, ascending. */
export function owedAfterActions(ledger: Ledger, epoch: number, limit: number): number[] {
  return ledger
    .all<{ uid: number }>(
      `SELECT uid FROM message INDEXED BY message_owing
       WHERE epoch = ? AND owes_after = 1 AND state IN ('published', 'carried') ORDER BY uid LIMIT ?`,
      epoch,
      limit,
    )
    .map((row) => row.uid);
}

/** The server has confirmed these after-actions (inside a transaction). */
export function settleAfterActions(ledger: Ledger, epoch: number, uids: number[]): void {
  for (const uid of uids) {
    ledger.run(
      'UPDATE message SET owes_after = 0 WHERE epoch = ? AND uid = ? AND owes_after = 1',
      epoch,
      uid,
    );
  }
}
