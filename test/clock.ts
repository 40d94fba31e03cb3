/** A clock that only moves when a test moves it. */
import type { Clock } from '../src/clock.ts';

export interface ManualClock extends Clock {
  /** Moves time on and fires what becomes due, in order, timers set meanwhile included. Synchronous. */
  advance(milliseconds: number): void;
  /** Milliseconds from now of each timer that is set, ascending. */
  timers(): number[];
  /** Moves only the wall clock, as an administrator or NTP does. */
  jump(milliseconds: number): void;
}

/** Starts at `startsAt` (ms since the epoch). */
export function createManualClock(startsAt = Date.UTC(2026, 10, 20, 12)): ManualClock {
  let elapsed = 0;
  let wall = startsAt;
  const timers = new Set<{ due: number; callback: () => void }>();
  const earliest = () => [...timers].reduce((a, b) => (b.due < a.due ? b : a));

  return {
    now: () => wall + elapsed,
    monotonic: () => elapsed,
    after(milliseconds, callback) {
      const timer = { due: elapsed + Math.max(0, milliseconds), callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(milliseconds) {
      const until = elapsed + milliseconds;
      while (timers.size > 0 && earliest().due <= until) {
        const timer = earliest();
        timers.delete(timer);
        elapsed = Math.max(elapsed, timer.due);
        timer.callback();
      }
      elapsed = until;
    },
    timers: () => [...timers].map(({ due }) => due - elapsed).sort((a, b) => a - b),
    jump(milliseconds) {
      wall += milliseconds;
    },
  };
}
