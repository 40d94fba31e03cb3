/** Time as an argument, so that tests can turn it. Nothing else in src/ calls Date.now() or setTimeout(). */

export interface Clock {
  /** Wall clock, milliseconds since the epoch. For what is recorded and shown. */
  now(): number;
  /** Monotonic milliseconds. For durations, which a wall clock that jumps must not bend. */
  monotonic(): number;
  /** Calls back once after `milliseconds`; returns the function that cancels it. */
  after(milliseconds: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (milliseconds, callback) => {
    // A moment that has passed meanwhile: Node warns of negative times, on stderr.
    const timer = setTimeout(callback, Math.max(0, milliseconds));
    return () => clearTimeout(timer);
  },
};

/** Resolves after `milliseconds`, or at once when `signal` aborts: the caller looks at the signal. */
export function sleep(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(milliseconds, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** A number of milliseconds since the epoch that `Date` can tell. */
export const isDate = (value: unknown): value is number =>
  typeof value === 'number' && !Number.isNaN(new Date(value).getTime());
