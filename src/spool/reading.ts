/** What `list`, `status` and `adopt` read from the ledger, also while the daemon writes it. */
import type { Mailbox, MessageState } from '../model.ts';
import { decodeBlock, type EncodedBlock, PACKED_STATES } from './block.ts';
import { unclearEpochs } from './epochs.ts';
import { type Ledger, readLedger } from './ledger.ts';
import { messageId } from './names.ts';

/** A message of the ledger, in the contract's words. */
export interface ListedMessage extends Mailbox {
  uid: number;
  id: string;
  state: MessageState;
  messageId: string | null;
  /** Of the raw message, or RFC822.SIZE where it was not read, bytes. */
  size: number;
  /** Hex. */
  sha256: string | null;
  /** Below the storage directory: the JSON, or the quarantined message. */
  path: string | null;
  /** INTERNALDATE, ms. */
  receivedAt: number;
  /** ms; null unless it is published. */
  publishedAt: number | null;
  /** Why it is not published, or why its last replay failed: an error's code and words, or a filter's rule. */
  reason: string | null;
}

/** What is wanted of the ledger; what is absent admits everything. */
export interface ListFilter {
  account?: string;
  folder?: string;
  state?: MessageState;
  /** Handled (published, quarantined, …) at or after, ms. */
  since?: number;
  /** At most so many. */
  limit?: number;
}

/**
 * The messages, the last handled first, one by one: a ledger may hold millions. STORAGE_MISSING
 * (no state directory), LEDGER_FAILED.
 */
export function* listMessages(
  stateDirectory: string,
  filter: ListFilter = {},
): IterableIterator<ListedMessage> {
  const ledger = readLedger(stateDirectory);
  if (ledger === null) return;
  try {
    let left = filter.limit ?? Number.POSITIVE_INFINITY;
    if (left === 0) return;
    for (const row of inOrder(unpackedRows(ledger, filter), packedRows(ledger, filter))) {
      yield listed(row);
      left -= 1;
      if (left === 0) return;
    }
  } finally {
    ledger.close();
  }
}

/** The rows of `message`: few, unless a former epoch was never claimed. */
function unpackedRows(ledger: Ledger, filter: ListFilter): IterableIterator<ListedRow> {
  return ledger.iterate<ListedRow>(
    `SELECT e.account, e.folder, e.label, m.epoch, m.uid, m.state, m.message_id,
       coalesce(m.size, m.declared_size) AS size, m.sha256, m.path, m.internal_date, m.recorded_at, m.code, m.reason,
       r.code AS replay_code, r.reason AS replay_reason
     FROM message m JOIN epoch e ON e.id = m.epoch LEFT JOIN replay r ON r.epoch = m.epoch AND r.uid = m.uid
     WHERE (?1 IS NULL OR e.account = ?1) AND (?2 IS NULL OR e.folder = ?2) AND (?3 IS NULL OR m.state = ?3)
       AND (?4 IS NULL OR m.recorded_at >= ?4)
     ORDER BY m.recorded_at DESC, m.epoch DESC, m.uid DESC LIMIT ?5`,
    filter.account ?? null,
    filter.folder ?? null,
    filter.state ?? null,
    filter.since ?? null,
    // SQLite: a negative limit is none.
    filter.limit ?? -1,
  );
}

/**
 * The rows of the blocks. A block is opened when nothing outside of it is later than its last row, so that those are
 * open at once that overlap in time: as many as mailboxes.
 */
function* packedRows(ledger: Ledger, filter: ListFilter): IterableIterator<ListedRow> {
  if (filter.state !== undefined && !PACKED_STATES.has(filter.state)) return;
  const blocks = ledger.iterate<PackedBlock>(
    `SELECT e.account, e.folder, e.label, b.epoch, b.span, b.recorded_at, b.uids, b.facts, b.hashes
     FROM block b JOIN epoch e ON e.id = b.epoch
     WHERE (?1 IS NULL OR e.account = ?1) AND (?2 IS NULL OR e.folder = ?2) AND b.recorded_at >= ?3
     ORDER BY b.recorded_at DESC`,
    filter.account ?? null,
    filter.folder ?? null,
    filter.since ?? 0,
  );
  /** What is left of the open blocks, of each the next row last. */
  const open: ListedRow[][] = [];
  for (const block of blocks) {
    yield* rowsAfter(block.recorded_at, open);
    const rows = rowsOf(block, filter).sort((one, other) => compare(other, one));
    if (rows.length > 0) open.push(rows);
  }
  yield* rowsAfter(Number.NEGATIVE_INFINITY, open);
}

/** Takes the rows that were handled after an instant out of what is open, in order. */
function* rowsAfter(at: number, open: ListedRow[][]): Generator<ListedRow> {
  for (;;) {
    let next: { rows: ListedRow[]; row: ListedRow } | undefined;
    for (const rows of open) {
      const row = rows.at(-1) as ListedRow;
      if (next === undefined || compare(row, next.row) < 0) next = { rows, row };
    }
    if (next === undefined || next.row.recorded_at <= at) return;
    yield next.row;
    next.rows.pop();
    if (next.rows.length === 0) open.splice(open.indexOf(next.rows), 1);
  }
}

interface PackedBlock extends EncodedBlock, Mailbox {
  label: string;
  epoch: number;
  span: number;
  recorded_at: number;
}

/** Those of a block's rows that are wanted. */
function rowsOf(
  { account, folder, label, epoch, span, ...block }: PackedBlock,
  filter: ListFilter,
): ListedRow[] {
  const { state, since = 0 } = filter;
  return decodeBlock(span, block)
    .filter((row) => (state === undefined || row.state === state) && row.recorded_at >= since)
    .map((row) => ({
      ...row,
      ...{ account, folder, label, epoch, code: null, replay_code: null, replay_reason: null },
      size: row.size ?? row.declared_size,
    }));
}

/** Two sequences in order become one. */
function* inOrder(
  some: IterableIterator<ListedRow>,
  others: IterableIterator<ListedRow>,
): Generator<ListedRow> {
  let one = some.next();
  let other = others.next();
  while (!(one.done && other.done)) {
    if (other.done || (!one.done && compare(one.value, other.value) < 0)) {
      yield one.value;
      one = some.next();
    } else {
      yield other.value;
      other = others.next();
    }
  }
}

/** The last handled first. */
function compare(one: ListedRow, other: ListedRow): number {
  return other.recorded_at - one.recorded_at || other.epoch - one.epoch || other.uid - one.uid;
}

interface ListedRow extends Mailbox {
  label: string;
  epoch: number;
  uid: number;
  state: MessageState;
  message_id: string | null;
  size: number;
  sha256: Uint8Array | null;
  path: string | null;
  internal_date: number;
  recorded_at: number;
  code: string | null;
  reason: string | null;
  replay_code: string | null;
  replay_reason: string | null;
}

function listed(row: ListedRow): ListedMessage {
  return {
    account: row.account,
    folder: row.folder,
    uid: row.uid,
    id: messageId(row.folder, row.label, row.uid),
    state: row.state,
    messageId: row.message_id,
    size: row.size,
    sha256: row.sha256 === null ? null : Buffer.from(row.sha256).toString('hex'),
    path: row.path,
    receivedAt: row.internal_date,
    publishedAt: row.state === 'published' ? row.recorded_at : null,
    reason:
      row.replay_code === null
        ? reasonOf(row.code, row.reason)
        : `replay failed: ${reasonOf(row.replay_code, row.replay_reason)}`,
  };
}

const reasonOf = (code: string | null, reason: string | null): string | null =>
  [code, reason].filter(Boolean).join(': ') || null;

/** How many messages of a mailbox were left aside, over all its epochs. */
export interface MailboxCounts {
  quarantined: number;
  unfetchable: number;
  /** Left out by a rule. */
  filtered: number;
}

/** Counts what was left aside in a mailbox: the indexes hold nothing else. */
export function mailboxCounts(ledger: Ledger, mailbox: Mailbox): MailboxCounts {
  const count = (state: string) =>
    ledger.get<{ count: number }>(
      `SELECT count(*) AS count FROM message INDEXED BY message_left_aside WHERE state IN ('quarantined', 'unfetchable') AND state = ?
         AND epoch IN (SELECT id FROM epoch WHERE account = ? AND folder = ?)`,
      state,
      mailbox.account,
      mailbox.folder,
    )?.count ?? 0;
  const filtered = ledger.get<{ count: number }>(
    `WITH mine AS (SELECT id FROM epoch WHERE account = ? AND folder = ?)
     SELECT (SELECT count(*) FROM message INDEXED BY message_filtered
         WHERE state = 'filtered' AND claimed = 0 AND epoch IN mine)
       + (SELECT coalesce(sum(filtered), 0) FROM block INDEXED BY block_filtered
         WHERE filtered > 0 AND epoch IN mine) AS count`,
    mailbox.account,
    mailbox.folder,
  );
  return {
    quarantined: count('quarantined'),
    unfetchable: count('unfetchable'),
    filtered: filtered?.count ?? 0,
  };
}

/** A mailbox that holds with EPOCH_UNCLEAR, and how many candidates match nothing. */
export type UnclearMailbox = ReturnType<typeof unclearEpochs>[number];

/** The mailboxes that wait for a decision; none where there is no ledger yet. STORAGE_MISSING, LEDGER_FAILED. */
export function unclearMailboxes(stateDirectory: string): UnclearMailbox[] {
  const ledger = readLedger(stateDirectory);
  if (ledger === null) return [];
  try {
    return unclearEpochs(ledger);
  } finally {
    ledger.close();
  }
}
