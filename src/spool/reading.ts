/** What `list`, `status` and `adopt` read from the ledger, also while the daemon writes it. */
import type { Mailbox, MessageState } from '../model.ts';
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
  /** Why it is not published, or why its last replay failed: an error's code and words. */
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
    const rows = ledger.iterate<ListedRow>(
      `SELECT e.account, e.folder, e.label, m.uid, m.state, m.message_id, coalesce(m.size, m.declared_size) AS size,
         lower(hex(m.sha256)) AS sha256, m.path, m.internal_date, m.recorded_at, m.code, m.reason,
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
    for (const row of rows) yield listed(row);
  } finally {
    ledger.close();
  }
}

interface ListedRow extends Mailbox {
  label: string;
  uid: number;
  state: MessageState;
  message_id: string | null;
  size: number;
  sha256: string;
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
    sha256: row.sha256 === '' ? null : row.sha256,
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
  code === null ? null : [code, reason].filter(Boolean).join(': ');

/** How many messages of a mailbox are in which state, over all its epochs. */
export interface MailboxCounts {
  quarantined: number;
  unfetchable: number;
  /** Published, or recognized as published under an earlier UIDVALIDITY. */
  stored: number;
}

/** Counts a mailbox's messages: a scan of an index, some 20 ms a million. */
export function mailboxCounts(ledger: Ledger, mailbox: Mailbox): MailboxCounts {
  const count = (states: string) =>
    ledger.get<{ count: number }>(
      `SELECT count(*) AS count FROM message m WHERE m.state IN (${states})
         AND m.epoch IN (SELECT id FROM epoch WHERE account = ? AND folder = ?)`,
      mailbox.account,
      mailbox.folder,
    )?.count ?? 0;
  return {
    quarantined: count("'quarantined'"),
    unfetchable: count("'unfetchable'"),
    stored: count("'published', 'carried'"),
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
