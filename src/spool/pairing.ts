/** Storage and ledger are a pair: both hold one random id, and neither is used with a stranger. */
import { randomUUID } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { MailwatchdError } from '../errors.ts';
import { demandDirectory, errorCode, type Files, onStorage } from './files.ts';
import { getSetting, type Ledger, putSetting } from './ledger.ts';

/** Holds the id, in the storage directory. */
const PAIRING_FILE = '.mailwatchd';

const PAIRING_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n$/;

/** What a pairing writes before it takes its place; an `adopt` that was interrupted and then repeated leaves one. */
const FRESH = /^\.mailwatchd\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** `adopting` may replace another id in the storage directory, `pairing` may not. */
type Stage = 'pairing' | 'adopting' | 'paired';

/** What either side holds; a file that holds no id of ours counts as an id nobody has. */
export interface PairingState {
  ledger: string | null;
  storage: string | null;
}

/** Both sides, for `adopt` and `check`. STORAGE_MISSING, STORAGE_* where the file cannot be read. */
export function pairingState(ledger: Ledger, storageDirectory: string): PairingState {
  demandDirectory(storageDirectory, 'storage directory');
  return { ledger: getSetting(ledger, 'pairing.id'), storage: readId(storageDirectory) };
}

/**
 * Pairs a new ledger with a new storage directory, or finishes a pairing that was interrupted.
 * STORAGE_NOT_PAIRED where the two do not belong together: which of them is new, and what to do.
 */
export function demandPair(ledger: Ledger, storageDirectory: string, files: Files): void {
  demandDirectory(storageDirectory, 'storage directory');
  const fault = pairingFault(ledger, storageDirectory);
  if (fault !== null) throw fault;
  const id = getSetting(ledger, 'pairing.id');
  if (id === null) pair(ledger, storageDirectory, files, 'pairing');
  else if (getSetting(ledger, 'pairing.stage') !== 'paired') finish(ledger, storageDirectory, files, id);
}

/** Pairs the two anew whatever they hold, as the operator decided; an interruption is finished by the next start. */
export function adoptPair(ledger: Ledger, storageDirectory: string, files: Files): void {
  demandDirectory(storageDirectory, 'storage directory');
  pair(ledger, storageDirectory, files, 'adopting');
}

function pair(ledger: Ledger, storageDirectory: string, files: Files, stage: Stage): void {
  const id = randomUUID();
  ledger.transaction(() => {
    putSetting(ledger, 'pairing.id', id);
    putSetting(ledger, 'pairing.stage', stage);
  });
  finish(ledger, storageDirectory, files, id);
}

/** Writes the storage's side, durably, then closes the pairing in the ledger. */
function finish(ledger: Ledger, storageDirectory: string, files: Files, id: string): void {
  const path = join(storageDirectory, PAIRING_FILE);
  const fresh = `${path}.${id}`;
  onStorage(path, () => {
    const adopting = getSetting(ledger, 'pairing.stage') === 'adopting';
    if (adopting) {
      const left = files.list(storageDirectory).filter((name) => FRESH.test(name));
      for (const name of left) files.remove(join(storageDirectory, name));
    }
    if (readId(storageDirectory) !== id) {
      files.remove(fresh);
      files.writeFile(fresh, Buffer.from(`${id}\n`), 0o640);
      files.syncFile(fresh);
      // A link, unlike a rename, fails where another daemon pairs the same directory this moment.
      if (adopting) files.rename(fresh, path);
      else claim(files, fresh, path, storageDirectory, id);
    }
    files.remove(fresh);
    files.syncDirectory(storageDirectory);
  });
  ledger.transaction(() => putSetting(ledger, 'pairing.stage', 'paired' satisfies Stage));
}

function claim(files: Files, fresh: string, path: string, storageDirectory: string, id: string): void {
  try {
    files.link(fresh, path);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    files.remove(fresh);
    throw notPaired(storageDirectory, { ledger: id, storage: readId(storageDirectory) });
  }
}

/** The storage's id, null where there is none. Reads no more than an id takes. */
function readId(storageDirectory: string): string | null {
  const path = join(storageDirectory, PAIRING_FILE);
  return onStorage(path, () => {
    const buffer = Buffer.alloc(64);
    let length = 0;
    try {
      const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        length = readSync(file, buffer, 0, buffer.length, 0);
      } finally {
        closeSync(file);
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null;
      throw error;
    }
    const text = buffer.toString('latin1', 0, length);
    return PAIRING_ID.test(text) ? text.trim() : 'unreadable';
  });
}

/** What a start would say of the two, without writing to either; null where they fit, are new, or are half paired. */
export function pairingFault(ledger: Ledger | null, storageDirectory: string): MailwatchdError | null {
  const storage = readId(storageDirectory);
  const known = ledger === null ? null : getSetting(ledger, 'pairing.id');
  const stage = ledger === null ? null : (getSetting(ledger, 'pairing.stage') as Stage | null);
  const unfinished = stage === 'adopting' || (stage === 'pairing' && storage === null);
  return known === storage || unfinished ? null : notPaired(storageDirectory, { ledger: known, storage });
}

function notPaired(storageDirectory: string, state: PairingState): MailwatchdError {
  const found =
    state.ledger === null
      ? 'the ledger is new, but the storage directory belongs to another one: was the state directory lost or not mounted?'
      : state.storage === null
        ? 'the storage directory is new, but the ledger belongs to another one: is its volume not mounted, or the path changed?'
        : 'the storage directory and the ledger each belong to another one: are two daemons set up on one of them?';
  return new MailwatchdError('STORAGE_NOT_PAIRED', {
    where: storageDirectory,
    detail: found,
    remedy: 'mount what is missing, or run `mailwatchd adopt` to pair the two anew',
  });
}
