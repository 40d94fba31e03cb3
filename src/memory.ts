/** Gives memory that is free back to the system, which the C library keeps: else a burst of large mail stays resident. */
import type { Clock } from './clock.ts';
import { libcFunction } from './libc.ts';

/** mallopt(3). */
const M_MMAP_THRESHOLD = -3;

/**
 * Larger blocks are mapped each by itself, and given back when they are freed. glibc would raise this to 32 MB with the
 * first ones that are freed, and then keep what lies between smaller blocks that live on.
 */
const MAPPED_FROM_BYTES = 256 * 1024;

/** What a burst of smaller ones took is given back within this; a call that finds nothing takes less than a millisecond. */
const TRIM_EVERY_MS = 60_000;

/** Does so from now on, where the C library is glibc. Returns what ends it. */
export function giveMemoryBack(clock: Clock): () => void {
  libcFunction('int mallopt(int parameter, int value)')?.(M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
  const trim = libcFunction('int malloc_trim(size_t pad)');
  if (trim === null) return () => undefined;
  let cancel: () => void;
  const next = () => {
    cancel = clock.after(TRIM_EVERY_MS, () => {
      trim(0);
      next();
    });
  };
  next();
  return () => cancel();
}

/**
 * Frees bytes that nobody reads any more, unless others share their memory. V8 frees them only with a collection of all
 * garbage, and begins one for every few megabytes of them: 7.8 instead of 6.8 s of CPU (`once`, 4,000 large; measured).
 */
export function discard({ buffer, length }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length) buffer.transfer(0);
}
