/** A whole file system synced by one call (syncfs(2)), which Node has no name for: what a large batch costs is one sync. */
import { accessSync, closeSync, constants, fstatSync, openSync, statfsSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { MailwatchdError } from '../errors.ts';
import { libcError, libcFunction } from '../libc.ts';

/** A file system, held open from before the first write that its sync has to answer for. */
export interface FileSystem {
  /**
   * Makes durable all that was written below the directory before: bytes, names and modes. Throws a system
   * error where any write since the last call failed, and STORAGE_MISSING where another file system has
   * taken the directory's place, which the next call then syncs.
   */
  sync(): void;
}

/** Those that tell syncfs of a write-back that failed (linux/magic.h): ext4, XFS, btrfs. */
const TRUSTED = new Set([0xef53, 0x58465342, 0x9123683e]);

/**
 * From 5.8 on syncfs tells of a write-back that failed (735e4ae5ba28, "vfs: track per-sb writeback errors"), from
 * 5.17 on of a journal that did.
 */
const OLDEST_KERNEL = [5, 17] as const;

/** No file is open under it: whether the call is allowed at all, which a container's filter may decide. */
const NO_DESCRIPTOR = -1;

/**
 * Null where syncfs cannot be called or does not tell everything, such as on NFS or overlayfs: there each
 * file is synced by itself. The system error of a directory that cannot be opened.
 */
export function openFileSystem(directory: string): FileSystem | null {
  if (!TRUSTED.has(statfsSync(directory).type) || !isRecent(release())) return null;
  const syncfs = libcFunction('int syncfs(int descriptor)');
  if (syncfs === null) return null;
  if (syncfs(NO_DESCRIPTOR) === 0 || libcError() !== 'EBADF') return null;
  const open = () => openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  let descriptor = open();
  return {
    sync() {
      const [held, present] = [fstatSync(descriptor), statSync(directory)];
      if (held.dev !== present.dev || held.ino !== present.ino) {
        // In this order: a number that was closed is somebody else's next.
        const fresh = open();
        closeSync(descriptor);
        descriptor = fresh;
        throw new MailwatchdError('STORAGE_MISSING', {
          where: directory,
          detail: 'another directory has taken its place while mail was written',
        });
      }
      if (syncfs(descriptor) === 0) {
        // One that became read-only by itself, as ext4 does on an error, answers 0 without having synced.
        accessSync(directory, constants.W_OK);
        return;
      }
      const code = libcError();
      throw Object.assign(new Error(`${code}: syncfs '${directory}'`), { code });
    },
  };
}

function isRecent(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map(Number);
  return major > OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && minor >= OLDEST_KERNEL[1]);
}
