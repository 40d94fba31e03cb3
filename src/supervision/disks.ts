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
  /**
   * Days until it is full, if it fills as in the last day. Null where it does not, lasts for more than a year, or has been
   * watched for less than a day.
   */
  daysLeft: number | null;
}

/** A disk fills within minutes, not within seconds. */
const LOOK_EVERY_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MOST_DAYS = 365;

/**
 * Is told what is free, bytes, and tells `Disk.daysLeft`: by what was free a day ago, since mail comes and is taken away by
 * the time of day, and a line through less than a day of that foretells nothing.
 */
export function forecastDisk(clock: Clock): (free: number) => number | null {
  /** An hour apart; the first is a day old, as soon as one is. */
  const seen: { at: number; free: number }[] = [];
  return (free) => {
    const at = clock.monotonic();
    const last = seen.at(-1);
    if (last === undefined || at - last.at >= HOUR_MS) seen.push({ at, free });
    while (seen[1] !== undefined && at - seen[1].at >= DAY_MS) seen.shift();
    const [first] = seen;
    if (first === undefined || at - first.at < DAY_MS || free >= first.free) return null;
    const days = ((free / (first.free - free)) * (at - first.at)) / DAY_MS;
    // To a quarter of an hour: one that is full within the hour has not 0 days left.
    return days > MOST_DAYS ? null : Math.round(days * 100) / 100;
  };
}

export interface Disks {
  /** What was seen at the last look; begins the next one where it is due. */
  figures(): Disk[];
}

/** A directory that cannot be looked at is not told of: it is another check's matter. */
export function watchDisks(directories: readonly string[], clock: Clock): Disks {
  const seen = new Map<string, Disk>();
  const forecasts = new Map(directories.map((directory) => [directory, forecastDisk(clock)]));
  /** A disk that hangs is not asked again before it has answered. */
  const asked = new Set<string>();
  let due = Number.NEGATIVE_INFINITY;

  async function look(directory: string): Promise<void> {
    if (asked.has(directory)) return;
    asked.add(directory);
    try {
      const { bavail, bfree, blocks, bsize } = await statfs(directory);
      const free = bavail * bsize;
      const daysLeft = forecasts.get(directory)?.(free) ?? null;
      seen.set(directory, { directory, free, size: (blocks - bfree + bavail) * bsize, daysLeft });
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
