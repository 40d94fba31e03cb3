/** Where attacks put what they need for a while. However they end, nothing stays: no file, no mount, no process. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { descendantsOf } from '../servers/processes.ts';

const INTERRUPTIONS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Processes that were killed are gone by then, ms; what hangs in the kernel is left there. */
const GONE_WITHIN = 5_000;

/** From now on the directory for temporary files is one that is emptied when this process exits, or is interrupted. */
export function openScratch(): void {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-torture-'));
  // Not everything that is started is root.
  chmodSync(directory, 0o755);
  process.env.TMPDIR = directory;
  removeAtExit(directory);
  for (const signal of INTERRUPTIONS) {
    process.once(signal, () => {
      console.error(`ended by ${signal}`);
      process.exit(128 + constants.signals[signal]);
    });
  }
}

/** A directory is removed when this process exits, after all that is mounted on it or runs in it. */
export function removeAtExit(directory: string): void {
  // Synchronous from here on: nothing of an attack that was interrupted goes on meanwhile.
  process.once('exit', () => {
    endDescendants();
    unmountBelow(directory);
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  });
}

function endDescendants(): void {
  const living = () => descendantsOf(process.pid).filter((one) => one.exists());
  // Those of a child that is killed are no longer our descendants.
  const known = new Map<number, ReturnType<typeof living>[number]>();
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (const deadline = performance.now() + GONE_WITHIN; performance.now() < deadline; ) {
    for (const one of living()) known.set(one.pid, one);
    const left = [...known.values()].filter((one) => one.exists());
    if (left.length === 0) return;
    for (const { pid } of left) endProcess(pid);
    Atomics.wait(clock, 0, 0, 10);
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Whatever is mounted there: a lazy unmount also takes what is still in use. */
export function unmountBelow(directory: string): void {
  const points = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${directory}/`));
  for (const point of points.toReversed()) execFileSync('umount', ['--lazy', point]);
}
