/** What a run takes: time, CPU, memory, of the program and of the mail server beside it. */
import { execFileSync } from 'node:child_process';
import { descendantsOf, familyOf } from '../test/servers/processes.ts';
import { until } from '../test/servers/until.ts';

export interface Measured {
  seconds: number;
  /** User and system time of the program and all that it started, s. */
  cpu: number;
  /** The same of Dovecot, which runs beside it on the same cores. */
  serverCpu: number;
}

/** Often enough for a peak, ms. */
const SAMPLE_EVERY = 50;

export interface Launched<T> {
  pid: number;
  finished: Promise<T>;
}

/** The program must be a child of this process, which must have no other that ends meanwhile; so must Dovecot's master. */
export async function measure<T>(launch: () => Launched<T>): Promise<Measured & { outcome: T }> {
  const server = await quietServer();
  // What others wrote and did not sync.
  execFileSync('sync');
  const before = { reaped: reaped(), server: server() };
  const begun = performance.now();
  const outcome = await launch().finished;
  const seconds = (performance.now() - begun) / 1000;
  await quietServer();
  return {
    seconds,
    cpu: reaped() - before.reaped,
    serverCpu: server() - before.server,
    outcome,
  };
}

/**
 * The most that all its processes together take (PSS), bytes. Each look takes 9 ms of a core (measured: three processes
 * of 219 MB) and stops their page faults meanwhile: a run that is looked at is not timed.
 */
export async function peakMemory<T>({ pid, finished }: Launched<T>): Promise<{ memory: number; outcome: T }> {
  let memory = 0;
  const sampling = setInterval(() => {
    memory = Math.max(memory, memoryOf(pid));
  }, SAMPLE_EVERY);
  const outcome = await finished;
  clearInterval(sampling);
  return { memory, outcome };
}

/** PSS of the process and all that descends from it, bytes. */
export const memoryOf = (pid: number): number => familyOf(pid).reduce((sum, one) => sum + one.pss(), 0);

/** User and system time of the process and all that descends or descended from it, s. */
export const cpuOf = (pid: number): number =>
  familyOf(pid).reduce((sum, one) => sum + one.cpuSeconds() + one.reapedCpuSeconds(), 0);

const reaped = (): number => familyOf(process.pid)[0]!.reapedCpuSeconds();

/** Resolves once no session is left, whose time would count for the next run, with what tells Dovecot's time so far. */
async function quietServer(): Promise<() => number> {
  const master = descendantsOf(process.pid).find(({ command }) => command === 'dovecot');
  if (master === undefined) throw new Error('Dovecot is not running');
  await until('the sessions of Dovecot to end', () =>
    descendantsOf(master.pid).every(({ command }) => command !== 'imap'),
  );
  return () =>
    master.reapedCpuSeconds() + familyOf(master.pid).reduce((sum, one) => sum + one.cpuSeconds(), 0);
}
