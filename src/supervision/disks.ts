/** How full the file systems of our directories are, without ever waiting for one. */
import { statfs } from 'node:fs/promises';
import type { Clock } from '../clock.ts';

/** A directory and its file system, bytes. */
export interface Disk {
  directory: string;
  /** What users without privileges may still write. */
  free: number;
  /** What they may write altogether. */
  size: number;
}

/** A disk fills within minutes, not within seconds. */
const LOOK_EVERY_MS = 60_000;

export interface Disks {
  /** What was seen at the last look; begins the next one where it is due. */
  figures(): Disk[];
}

/** A directory that cannot be looked at is not told of: it is another check's matter. */
export function watchDisks(directories: readonly string[], clock: Clock): Disks {
  const seen = new Map<string, Disk>();
  /** A disk that hangs is not asked again before it has answered. */
  const asked = new Set<string>();
  let due = Number.NEGATIVE_INFINITY;

  async function look(directory: string): Promise<void> {
    if (asked.has(directory)) return;
    asked.add(directory);
    try {
      const { bavail, bfree, blocks, bsize } = await statfs(directory);
      seen.set(directory, { directory, free: bavail * bsize, size: (blocks - bfree + bavail) * bsize });
    } catch {
      seen.delete(directory);
    } finally {
      asked.delete(directory);
    }
  }

  return {
    figures() {
      if (clock.monotonic() >= due) {
        due = clock.monotonic() + LOOK_EVERY_MS;
        for (const directory of directories) void look(directory);
      }
      return directories.flatMap((directory) => seen.get(directory) ?? []);
    },
  };
}
