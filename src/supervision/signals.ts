/** SIGTERM and SIGINT stop the daemon, SIGHUP makes it read its configuration again. */
import type { Clock } from '../clock.ts';

/** What is in flight has 5 s (the Contract); logging out and closing get the rest. */
const KILL_AFTER_MS = 5_000 + 3_000;
/** Ctrl-C reaches the daemon from the terminal and from npm at once: that is one signal. */
const SAME_SIGNAL_MS = 500;

/** `process`, but for tests. */
export interface SignalSource {
  readonly pid: number;
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  kill(pid: number, signal: NodeJS.Signals): unknown;
}

export interface SignalActions {
  /** Called once, at the first SIGTERM or SIGINT. */
  stop(signal: NodeJS.Signals): void;
  reload(): void;
}

/**
 * Handles signals until the returned function is called, at the end of a clean stop. A process that has
 * not come so far in time, or that is told a second time, ends itself by SIGKILL: `process.exit` would
 * wait for a thread that is stuck in the kernel.
 */
export function handleSignals(
  actions: SignalActions,
  clock: Clock,
  source: SignalSource = process,
): () => void {
  let stoppedAt: number | null = null;
  let disarm: () => void = () => undefined;
  const die = () => source.kill(source.pid, 'SIGKILL');

  const stop = (signal: NodeJS.Signals) => {
    const now = clock.monotonic();
    if (stoppedAt === null) {
      stoppedAt = now;
      disarm = clock.after(KILL_AFTER_MS, die);
      actions.stop(signal);
    } else if (now - stoppedAt >= SAME_SIGNAL_MS) {
      die();
    }
  };
  const reload = () => {
    if (stoppedAt === null) actions.reload();
  };
  source.on('SIGTERM', stop);
  source.on('SIGINT', stop);
  source.on('SIGHUP', reload);
  return () => {
    disarm();
    source.off('SIGTERM', stop);
    source.off('SIGINT', stop);
    source.off('SIGHUP', reload);
  };
}
