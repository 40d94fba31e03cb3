/** `heartbeat` in the state directory: its time says that the main loop turns. */
import { open, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';

/** Checks look for one older than some of these. */
const BEAT_EVERY_MS = 5_000;

export interface Heartbeat {
  stop(): void;
}

export interface HeartbeatOptions {
  directory: string;
  clock: Clock;
  /** Called at the first of several failures in a row. */
  onError(error: unknown): void;
}

/**
 * Sets the file's time now and every 5 s. Nothing is written into it, so it works on a full disk once
 * the file is there. A disk that hangs holds one beat up, not the loop.
 */
export function startHeartbeat({ directory, clock, onError }: HeartbeatOptions): Heartbeat {
  const file = join(directory, 'heartbeat');
  let stopped = false;
  let failing = false;
  let cancel: () => void = () => undefined;

  const beat = async () => {
    try {
      await touch(file, clock.now() / 1000);
      failing = false;
    } catch (error) {
      if (!failing) onError(error);
      failing = true;
    }
    if (!stopped) cancel = clock.after(BEAT_EVERY_MS, () => void beat());
  };
  void beat();
  return {
    stop() {
      stopped = true;
      cancel();
    },
  };
}

/** Somebody may have removed the file in the meantime. */
async function touch(file: string, seconds: number): Promise<void> {
  try {
    await utimes(file, seconds, seconds);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await (await open(file, 'a')).close();
    await utimes(file, seconds, seconds);
  }
}
