/** What `check` says of the directories, without changing anything in them. */
import { accessSync, constants, type Stats, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MailwatchdError } from '../errors.ts';
import { demandDirectory, onStorage } from './files.ts';
import { readLedger } from './ledger.ts';
import { QUARANTINE, STAGING } from './names.ts';
import { pairingFault } from './pairing.ts';

/** With less left, not even a small batch fits. */
const FULL_BELOW_BYTES = 1024 * 1024;

/** What is known of a directory that can be used. */
export interface DirectoryReport {
  /** Bytes that this user may still write. */
  free: number;
  /** What works but is not as the operator may expect. */
  note: string | null;
}

/**
 * Throws STORAGE_MISSING, STORAGE_DENIED, STORAGE_READ_ONLY or STORAGE_FULL where `directory` cannot be
 * written. With `group`, the note says where its group would not reach the files in it.
 */
export function inspectDirectory(directory: string, { group }: { group: boolean }): DirectoryReport {
  demandDirectory(directory, 'directory');
  const stats = statSync(directory);
  onStorage(directory, () => accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK));
  const { bavail, bsize, files, ffree } = statfsSync(directory);
  const free = bavail * bsize;
  if (free < FULL_BELOW_BYTES || (files > 0 && ffree === 0)) {
    throw new MailwatchdError('STORAGE_FULL', { where: directory, remedy: 'make room' });
  }
  return { free, note: group ? groupNote(directory, stats) : null };
}

/** Files get the directory's group by setgid, or because we are in it; else only its owner can set that up. */
function groupNote(directory: string, { gid, mode }: Stats): string | null {
  const wrong = [STAGING, QUARANTINE]
    .map((name) => join(directory, name))
    .filter((path) => {
      const stats = statSync(path, { throwIfNoEntry: false });
      return stats !== undefined && stats.gid !== gid;
    });
  if (wrong.length > 0) return `files would not get its group: chgrp ${gid} ${wrong.join(' ')}`;
  const mine = [process.getegid?.() ?? gid, ...(process.getgroups?.() ?? [])].includes(gid);
  const inherited = (mode & 0o2000) !== 0;
  if (inherited || mine || process.geteuid?.() === 0) return null;
  return `files would not get its group, as this user is not in it: chmod g+s ${directory}`;
}

/** Throws what a start would say of ledger and storage: STORAGE_NOT_PAIRED, STORAGE_*, LEDGER_FAILED. */
export function inspectPair(stateDirectory: string, storageDirectory: string): void {
  demandDirectory(storageDirectory, 'storage directory');
  const ledger = readLedger(stateDirectory);
  try {
    const fault = pairingFault(ledger, storageDirectory);
    if (fault !== null) throw fault;
  } finally {
    ledger?.close();
  }
}
