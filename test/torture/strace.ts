/** Follows one thread's system calls by strace, and lets some of them fail or kill: each thread counts its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';

const STRACE = '/usr/bin/strace';

/** The system calls that change something outside of the process. */
export const CHANGING = [
  ...['openat', 'open', 'creat', 'write', 'writev', 'pwrite64', 'pwritev', 'sendto', 'sendmsg'],
  ...['fsync', 'fdatasync', 'syncfs', 'ftruncate', 'fallocate', 'copy_file_range', 'sendfile'],
  ...['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'rmdir', 'mkdir', 'mkdirat'],
  ...['link', 'linkat', 'symlink', 'symlinkat'],
  ...['chmod', 'fchmod', 'fchmodat', 'chown', 'fchown', 'fchownat'],
];

/** A system call as it was recorded. */
export interface Call {
  name: string;
  /** Which of its name this was in its thread, from 1: what `when=` counts. */
  nth: number;
  /** With its arguments, descriptors as paths or addresses, and its result. */
  text: string;
}

export interface Tracing {
  /** Ends it; the thread goes on, and nothing fails any more. */
  detach(): Promise<void>;
  /** Resolves when the thread, or strace, has ended. */
  ended: Promise<void>;
  /** What was called so far. */
  calls(): Call[];
  /** Whether the thread was killed. */
  killed(): boolean;
}

/** Throws where strace is missing. */
export function demandStrace(): void {
  if (!existsSync(STRACE)) throw new Error(`${STRACE} is missing: apt-get install strace`);
}

/**
 * Begins with the thread `tid`, and no other, from its next system call on. `calls` are followed, and
 * `inject` (strace(1): `rename:signal=SIGKILL:when=3`) is done to them. `log` is a file for strace.
 */
export async function trace(options: {
  tid: number;
  calls: string[];
  log: string;
  inject?: string;
  /** Only calls on this path, by name or by descriptor, are followed, and so counted. */
  path?: string;
}): Promise<Tracing> {
  const { tid, calls, log, inject, path } = options;
  // A call that an architecture lacks is marked as one that need not exist.
  const traced = calls.map((name) => `?${name}`).join(',');
  const tracer = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'TERM', STRACE, '-p', String(tid), '-o', log, '-yy', '-e', `trace=${traced}`],
      ...(inject === undefined ? [] : ['-e', `inject=${inject}`]),
      ...(path === undefined ? [] : ['-P', path]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const ended = once(tracer, 'close').then(() => undefined);
  let said = '';
  await new Promise<void>((resolve, reject) => {
    tracer.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('attached')) resolve();
    });
    void ended.then(() => reject(new Error(`strace: ${said.trim()}`)));
  });
  const read = () => (existsSync(log) ? readFileSync(log, 'utf8') : '');
  return {
    ended,
    async detach() {
      tracer.kill('SIGTERM');
      await ended;
    },
    calls: () => readCalls(read()),
    killed: () => read().includes('+++ killed by SIGKILL +++'),
  };
}

function readCalls(log: string): Call[] {
  const counts = new Map<string, number>();
  return log.split('\n').flatMap((text) => {
    const name = /^(\w+)\(/.exec(text)?.[1];
    if (name === undefined) return [];
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    return [{ name, nth, text }];
  });
}
