/** The ledger's file: opening, schema, transactions. What is in it is the business of its neighbours. */
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { MailwatchdError } from '../errors.ts';
import { demandDirectory, onStorage } from './files.ts';

/** Raised with each change of the schema; a ledger of a newer program is refused. */
const SCHEMA_VERSION = 4;

/** How long a writer waits for another process (`replay`, `adopt`), which holds the lock for milliseconds. */
const BUSY_MILLISECONDS = 5_000;

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html). */
const SQLITE_FULL = 13;

/** No index whose keys come in no order is paid for by every message: each would write a page of its own. */
const SINCE_2 = `
  CREATE INDEX epoch_of_mailbox ON epoch (account, folder);
  CREATE INDEX message_left_aside ON message (epoch) WHERE state IN ('quarantined', 'unfetchable');
  CREATE INDEX message_by_id ON message (message_id, declared_size) WHERE claimable = 1;
  CREATE INDEX message_by_hash ON message (sha256) WHERE claimable = 1;

  CREATE TABLE block (
    epoch INTEGER NOT NULL REFERENCES epoch,
    span INTEGER NOT NULL,
    count INTEGER NOT NULL,
    last_uid INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    uids BLOB NOT NULL,
    facts BLOB NOT NULL,
    hashes BLOB NOT NULL,
    UNIQUE (epoch, span)
  ) STRICT;
  CREATE INDEX block_by_record ON block (recorded_at);
`;

const SINCE_3 = 'ALTER TABLE message ADD COLUMN extensions TEXT;';

/** What counts filtered messages, and finds them, without looking at others. */
const SINCE_4 = `
  ALTER TABLE block ADD COLUMN filtered INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX block_filtered ON block (epoch, filtered) WHERE filtered > 0;
  CREATE INDEX message_filtered ON message (epoch) WHERE state = 'filtered' AND claimed = 0;
`;

/*
 * message: what became of each UID. `size` is of the raw bytes, `declared_size` is RFC822.SIZE, by
 * which a later epoch is compared; `flags` and `extensions` are JSON. `claimed` is set once a later epoch holds the same message; until then
 * `claimable`, which puts it into the indexes of what is compared. That of an epoch: all its messages are so marked.
 * block: settled messages that lie behind, packed (block.ts); each UID is in one of the two. `last_uid`, `newest` and
 * `recorded_at` are the greatest UID, internal_date and recorded_at in it, `filtered` how many it has that were left out
 * and that no later epoch has claimed.
 * staging: what is on its way from .staging to its final place, one row until "published" is committed.
 * alone: messages that were, or are, in work alone after an unclean end.
 * replay: requests of the command; `run` began it, `code` says why it failed. One for a filtered message is the
 * mailbox's: it is judged anew.
 */
const SCHEMA = `
  CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE epoch (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    folder TEXT NOT NULL,
    label TEXT NOT NULL,
    uid_validity TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    watched_since INTEGER NOT NULL,
    first_uid_next INTEGER NOT NULL,
    highest_uid_next INTEGER NOT NULL,
    scanned_through INTEGER NOT NULL,
    start TEXT NOT NULL,
    configured_start TEXT NOT NULL,
    changed_at INTEGER,
    compared INTEGER NOT NULL,
    unclear INTEGER,
    claimable INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, folder, label)
  ) STRICT;

  CREATE TABLE message (
    epoch INTEGER NOT NULL REFERENCES epoch,
    uid INTEGER NOT NULL,
    state TEXT NOT NULL,
    message_id TEXT,
    declared_size INTEGER NOT NULL,
    size INTEGER,
    sha256 BLOB,
    internal_date INTEGER NOT NULL,
    flags TEXT NOT NULL,
    path TEXT,
    copies INTEGER NOT NULL DEFAULT 0,
    recorded_at INTEGER NOT NULL,
    code TEXT,
    reason TEXT,
    complete INTEGER NOT NULL DEFAULT 1,
    owes_after INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0,
    claimable INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (epoch, uid)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX message_owing ON message (epoch, uid) WHERE owes_after = 1;

  CREATE TABLE staging (
    epoch INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    kind TEXT NOT NULL,
    run TEXT NOT NULL,
    stem TEXT NOT NULL,
    path TEXT NOT NULL,
    has_attachments INTEGER NOT NULL,
    has_source INTEGER NOT NULL,
    code TEXT,
    reason TEXT,
    complete INTEGER NOT NULL,
    PRIMARY KEY (epoch, uid),
    FOREIGN KEY (epoch, uid) REFERENCES message
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE alone (
    epoch INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    deaths INTEGER NOT NULL,
    in_work INTEGER NOT NULL,
    PRIMARY KEY (epoch, uid)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE replay (
    number INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    again INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,
    run TEXT,
    deaths INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    reason TEXT,
    UNIQUE (epoch, uid),
    FOREIGN KEY (epoch, uid) REFERENCES message
  ) STRICT;
  ${SINCE_2}
  ${SINCE_3}
  ${SINCE_4}
`;

/** A ledger of version 1 becomes one of this; its settled messages are packed later, a little at a time. */
const FROM_1 = `
  DROP INDEX message_by_id;
  DROP INDEX message_by_hash;
  DROP INDEX message_by_state;
  ALTER TABLE epoch ADD COLUMN claimable INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE message ADD COLUMN claimable INTEGER NOT NULL DEFAULT 0;
  ${SINCE_2}
  ${SINCE_3}
  ${SINCE_4}
`;

/** What makes a ledger of each version one of this. */
const STEPS = [SCHEMA, FROM_1, SINCE_3 + SINCE_4, SINCE_4];

/** A value of a column, as node:sqlite returns it. */
export type Row = Record<string, string | number | Uint8Array | null>;

/** An open ledger. Every method throws LEDGER_FAILED with SQLite's own words. */
export interface Ledger {
  /** All rows of a query. */
  all<T = Row>(sql: string, ...values: SQLInputValue[]): T[];
  /** The rows one by one, for results of unknown length. */
  iterate<T = Row>(sql: string, ...values: SQLInputValue[]): IterableIterator<T>;
  /** The first row, undefined where there is none. */
  get<T = Row>(sql: string, ...values: SQLInputValue[]): T | undefined;
  /** Executes a statement; the number of rows that changed. */
  run(sql: string, ...values: SQLInputValue[]): number;
  /** Everything in `work` is committed and on disk when this returns, or none of it happened. */
  transaction<T>(work: () => T): T;
  /** Differs from the last answer when another process has committed. */
  dataVersion(): number;
  close(): void;
}

/** Where the ledger lies in the state directory. */
export function ledgerPath(stateDirectory: string): string {
  return join(stateDirectory, 'ledger.db');
}

/**
 * Opens the ledger, or makes it. STORAGE_MISSING where there is no state directory, LEDGER_FAILED
 * where it is damaged or of a newer program.
 */
export function openLedger(stateDirectory: string): Ledger {
  demandDirectory(stateDirectory, 'state directory');
  const path = ledgerPath(stateDirectory);
  if (!existsSync(path)) {
    // It holds Message-IDs and folder names: the owner's alone. SQLite gives -wal and -shm the same mode,
    // and syncs the directory with its journal, before the first commit that anything follows from.
    onStorage(path, () => closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600)));
  }
  return guarded(path, () => {
    const database = new DatabaseSync(path, { timeout: BUSY_MILLISECONDS });
    try {
      // FULL: in WAL mode NORMAL would not sync at each commit.
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      migrate(database, path);
    } catch (error) {
      database.close();
      throw error;
    }
    return ledgerOn(database, path);
  });
}

/**
 * Opens an existing ledger for reading only, as it is now, while a daemon may be writing; null where there is none
 * yet. One of an older program is brought up to date first.
 */
export function readLedger(stateDirectory: string): Ledger | null {
  demandDirectory(stateDirectory, 'state directory');
  const path = ledgerPath(stateDirectory);
  if (!existsSync(path)) return null;
  return guarded(path, () => {
    const database = new DatabaseSync(path, { readOnly: true, timeout: BUSY_MILLISECONDS });
    const found = version(database);
    if (found === SCHEMA_VERSION) {
      database.exec('BEGIN');
      return ledgerOn(database, path);
    }
    database.close();
    if (found === 0) return null;
    if (found > SCHEMA_VERSION) throw unknownVersion(path, found);
    openLedger(stateDirectory).close();
    return readLedger(stateDirectory);
  });
}

function migrate(database: DatabaseSync, path: string): void {
  database.exec('BEGIN IMMEDIATE');
  const found = version(database);
  if (found > SCHEMA_VERSION) {
    database.exec('ROLLBACK');
    throw unknownVersion(path, found);
  }
  if (found < SCHEMA_VERSION) {
    database.exec(`${STEPS[found]} PRAGMA user_version = ${SCHEMA_VERSION};`);
  }
  database.exec('COMMIT');
}

function version(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.user_version);
}

function unknownVersion(path: string, found: number): MailwatchdError {
  return new MailwatchdError('LEDGER_FAILED', {
    where: path,
    detail: `it was written by a newer mailwatchd (schema ${found}, known ${SCHEMA_VERSION})`,
    remedy: 'run that version',
  });
}

function ledgerOn(database: DatabaseSync, path: string): Ledger {
  const prepared = new Map<string, StatementSync>();
  const statement = (sql: string) => {
    const known = prepared.get(sql);
    if (known !== undefined) return known;
    const fresh = database.prepare(sql);
    prepared.set(sql, fresh);
    return fresh;
  };
  return {
    all: <T>(sql: string, ...values: SQLInputValue[]) =>
      guarded(path, () => statement(sql).all(...values) as T[]),
    *iterate<T>(sql: string, ...values: SQLInputValue[]): IterableIterator<T> {
      try {
        yield* database.prepare(sql).iterate(...values) as IterableIterator<T>;
      } catch (error) {
        throw ledgerError(error, path);
      }
    },
    get: <T>(sql: string, ...values: SQLInputValue[]) =>
      guarded(path, () => statement(sql).get(...values) as T | undefined),
    run: (sql, ...values) => guarded(path, () => Number(statement(sql).run(...values).changes)),
    transaction: (work) =>
      guarded(path, () => {
        database.exec('BEGIN IMMEDIATE');
        try {
          const result = work();
          database.exec('COMMIT');
          return result;
        } finally {
          // After some failures, such as a full disk, SQLite has rolled back by itself.
          if (database.isTransaction) database.exec('ROLLBACK');
        }
      }),
    dataVersion: () => guarded(path, () => Number(statement('PRAGMA data_version').get()?.data_version)),
    close: () => guarded(path, () => database.close()),
  };
}

function guarded<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw ledgerError(error, path);
  }
}

/** SQLite's errors become LEDGER_FAILED; ours pass, and so does what can only be a defect. */
function ledgerError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('errcode' in error)) return error;
  const full = (Number(error.errcode) & 0xff) === SQLITE_FULL;
  return new MailwatchdError('LEDGER_FAILED', {
    where: path,
    detail: full ? `no space left on the device (${error.message})` : error.message,
    cause: error,
  });
}

/** A value remembered under a key, null where there is none. */
export function getSetting(ledger: Ledger, key: string): string | null {
  return ledger.get<{ value: string }>('SELECT value FROM setting WHERE key = ?', key)?.value ?? null;
}

export function putSetting(ledger: Ledger, key: string, value: string): void {
  ledger.run(
    'INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    key,
    value,
  );
}
