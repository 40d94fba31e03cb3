/** A clock that moves when a test says so. */
import type { Clock } from '../../src/clock.ts';

export interface ManualClock extends Clock {
  /** Moves on, calling back what became due in order. */
  advance(milliseconds: number): void;
  /** How many callbacks wait. */
  waiting(): number;
}

export function manualClock(start = Date.UTC(2026, 10, 20, 10)): ManualClock {
  let elapsed = 0;
  const timers = new Set<{ at: number; callback: () => void }>();
  return {
    now: () => start + elapsed,
    monotonic: () => elapsed,
    after(milliseconds, callback) {
      const timer = { at: elapsed + milliseconds, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(milliseconds) {
      const end = elapsed + milliseconds;
      while (true) {
        const next = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers.delete(next);
        elapsed = next.at;
        next.callback();
      }
      elapsed = end;
    },
    waiting: () => timers.size,
  };
}
