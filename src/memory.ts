/** Gives memory that is free back to the system, which the C library keeps: else a burst of large mail stays resident. */
import type { Clock } from './clock.ts';
import { libcFunction } from './libc.ts';

/** What a burst took is given back within this; a call that finds nothing takes less than a millisecond. */
const EVERY_MS = 60_000;

/** Does so each minute, where the C library is glibc. Returns what ends it. */
export function trimMemory(clock: Clock): () => void {
  const trim = libcFunction('int malloc_trim(size_t pad)');
  if (trim === null) return () => undefined;
  let cancel: () => void;
  const next = () => {
    cancel = clock.after(EVERY_MS, () => {
      trim(0);
      next();
    });
  };
  next();
  return () => cancel();
}
