/** One daemon per state directory: a lock that the system ends with the process, whatever pids do. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type ErrorCode, MailwatchdError } from '../errors.ts';

export interface Lock {
  /** Lets another daemon start. Idempotent. */
  release(): void;
}

/**
 * A probe holds its shared lock for well under a millisecond, so a start waits for it; another daemon
 * holds its own for ever, so a start does not wait long (the Contract: it fails within a second).
 */
const TAKE_TIMEOUT_MS = 250;

/** An unreferenced database is closed by the garbage collector, and its lock gone. */
const held = new Set<DatabaseSync>();

const lockFile = (stateDirectory: string) => join(stateDirectory, 'lock.db');

/**
 * Takes the lock of an existing state directory. Throws ALREADY_RUNNING where another process has it,
 * STORAGE_MISSING, STORAGE_READ_ONLY, STORAGE_DENIED or LEDGER_FAILED where it cannot be had.
 */
export async function takeLock(stateDirectory: string): Promise<Lock> {
  if (!existsSync(stateDirectory)) {
    throw new MailwatchdError('STORAGE_MISSING', { where: stateDirectory, remedy: 'create it' });
  }
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(lockFile(stateDirectory), { timeout: TAKE_TIMEOUT_MS });
    // Never committed, and its journal not in a file: nothing is left behind, or refused by a full disk.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database?.close();
    throw lockError(error, stateDirectory);
  }
  const transaction = database;
  held.add(transaction);
  return {
    release() {
      if (held.delete(transaction)) transaction.close();
    },
  };
}

/**
 * Whether a daemon has the lock now. A starting daemon waits for this probe instead of failing. Throws
 * STORAGE_DENIED or LEDGER_FAILED where it cannot be told.
 */
export function isLocked(stateDirectory: string): boolean {
  const file = lockFile(stateDirectory);
  if (!existsSync(file)) return false;
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(file, { readOnly: true, timeout: 0 });
    database.prepare('SELECT count(*) FROM sqlite_schema').get();
    return false;
  } catch (error) {
    if (sqliteCode(error) === SQLITE_BUSY) return true;
    throw lockError(error, stateDirectory);
  } finally {
    database?.close();
  }
}

// https://sqlite.org/rescode.html
const SQLITE_BUSY = 5;
const CODES: Readonly<Record<number, ErrorCode>> = {
  [SQLITE_BUSY]: 'ALREADY_RUNNING',
  3: 'STORAGE_DENIED',
  8: 'STORAGE_READ_ONLY',
  13: 'STORAGE_FULL',
  14: 'STORAGE_DENIED',
};

/** The primary code: the extended ones add a reason in the higher bits. */
function sqliteCode(error: unknown): number | null {
  const code = (error as { errcode?: unknown }).errcode;
  return typeof code === 'number' ? code & 0xff : null;
}

function lockError(error: unknown, stateDirectory: string): MailwatchdError {
  const code = CODES[sqliteCode(error) ?? 0] ?? 'LEDGER_FAILED';
  if (code === 'ALREADY_RUNNING') {
    return new MailwatchdError(code, {
      where: stateDirectory,
      remedy: 'stop it first, or use another state.directory',
    });
  }
  const detail = error instanceof Error ? error.message : String(error);
  return new MailwatchdError(code, { where: lockFile(stateDirectory), detail, cause: error });
}
