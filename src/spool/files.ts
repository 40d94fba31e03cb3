/** The file operations the handoff is made of, as an object: a test counts, orders and interrupts them. */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { type ErrorCode, MailwatchdError } from '../errors.ts';
import { type FileSystem, openFileSystem } from './file-system.ts';

/** What stands at a path; a symbolic link is `other`, whatever it points at. */
export type Kind = 'file' | 'directory' | 'other';

/** Synchronous, each throwing Node's system errors; `storageError` turns them into ours. */
export interface Files {
  /** What stands there, null where nothing does. Never follows a link. */
  kind(path: string): Kind | null;
  rename(from: string, to: string): void;
  /**
   * Makes one directory with exactly this mode and, where we may, this group, or finishes one whose
   * making a crash interrupted. EEXIST passes as thrown.
   */
  makeDirectory(path: string, mode: number, gid: number): void;
  syncDirectory(path: string): void;
  syncFile(path: string): void;
  /** What syncs all below a directory at once; null where nothing does so reliably. */
  openFileSystem(directory: string): FileSystem | null;
  /** Writes a new file with exactly this mode; EEXIST where there is one. Its content is durable after `syncFile`. */
  writeFile(path: string, content: Uint8Array, mode: number): void;
  /** A second name for a file, or a copy where the file system has no links. */
  link(from: string, to: string): void;
  /** Removes a file or a whole directory; nothing where there is none. */
  remove(path: string): void;
  list(path: string): string[];
}

/** A directory's mode until it has its group and its own: whatever the umask is, by this it is known. */
const CLOSED = 0o700;

/** The real ones. */
export const diskFiles: Files = {
  kind(path) {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return null;
    return stats.isDirectory() ? 'directory' : stats.isFile() ? 'file' : 'other';
  },
  rename: renameSync,
  makeDirectory(path, mode, gid) {
    try {
      mkdirSync(path, { mode: CLOSED });
    } catch (error) {
      if (errorCode(error) !== 'EEXIST' || !isHalfMade(path)) throw error;
    }
    // chown before chmod: it clears the setgid bit.
    if (statSync(path).gid !== gid) giveToGroup(path, gid);
    chmodSync(path, mode);
  },
  syncDirectory(path) {
    sync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  },
  syncFile(path) {
    sync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  },
  openFileSystem,
  writeFile(path, content, mode) {
    const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      for (let at = 0; at < content.length; ) at += writeSync(file, content, at);
      fchmodSync(file, mode);
    } finally {
      closeSync(file);
    }
  },
  link(from, to) {
    try {
      linkSync(from, to);
    } catch (error) {
      if (!['EPERM', 'EMLINK', 'ENOTSUP', 'ENOSYS'].includes(errorCode(error))) throw error;
      copyFileSync(from, to, constants.COPYFILE_EXCL);
    }
  },
  remove(path) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch (error) {
      if (errorCode(error) !== '') throw error;
      // Node's rmSync has no name for EROFS, EIO and others (24.21, measured); these two have.
      if (diskFiles.kind(path) === 'directory') rmdirSync(path);
      else unlinkSync(path);
    }
  },
  list: (path) => readdirSync(path),
};

/** A crash may have hit between making a directory and opening it to others, before anything was moved into it. */
function isHalfMade(path: string): boolean {
  const { uid, mode } = lstatSync(path);
  const closed = (mode & (constants.S_IFMT | 0o777)) === (constants.S_IFDIR | CLOSED);
  return closed && uid === process.geteuid?.() && readdirSync(path).length === 0;
}

function sync(path: string, flags: number): void {
  const file = openSync(path, flags);
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Only root and members may give a file to a group; where we may not, `check` names the chgrp. */
function giveToGroup(path: string, gid: number): void {
  try {
    chownSync(path, -1, gid);
  } catch (error) {
    if (errorCode(error) !== 'EPERM') throw error;
  }
}

/** Node's name of a system error, such as ENOSPC; empty where it is none. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

const STORAGE_CODES: Record<string, ErrorCode> = {
  ENOSPC: 'STORAGE_FULL',
  EDQUOT: 'STORAGE_FULL',
  EROFS: 'STORAGE_READ_ONLY',
  EACCES: 'STORAGE_DENIED',
  EPERM: 'STORAGE_DENIED',
  ENOENT: 'STORAGE_MISSING',
};

/** A failed file operation as an error of the table, with its path; ours pass unchanged. */
export function storageError(error: unknown, path: string): MailwatchdError {
  if (error instanceof MailwatchdError) return error;
  const code = errorCode(error);
  // What is no system error is a defect, and must not look like a disk that mends itself.
  if (code === '' || code.startsWith('ERR_')) throw error;
  const detail = error instanceof Error ? error.message : String(error);
  return new MailwatchdError(STORAGE_CODES[code] ?? 'STORAGE_FAILED', { where: path, detail, cause: error });
}

/** Runs file operations on `path`; what fails is an error of the table. */
export function onStorage<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw storageError(error, path);
  }
}

/** STORAGE_MISSING unless `directory` is one. We never make it: it may be a volume that is not mounted. */
export function demandDirectory(directory: string, what: string): void {
  const stats = onStorage(directory, () => statSync(directory, { throwIfNoEntry: false }));
  if (stats?.isDirectory()) return;
  throw new MailwatchdError('STORAGE_MISSING', {
    where: directory,
    detail: stats === undefined ? `the ${what} does not exist` : `the ${what} is not a directory`,
    remedy: 'mount the volume or make the directory',
  });
}
