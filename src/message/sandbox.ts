/** Starts a process in Node's permission model: it reads the program and its staging directory, and writes the latter. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CODE_DIRECTORY } from '../program.ts';

export interface SandboxOptions {
  /** The program's entry, started by this Node. */
  entry: URL;
  /** The only directory that may be written, and the only one outside of the program that may be read. */
  writable: string | null;
  /** Limit of V8's heap. Resident memory is watched from outside: Buffers are not counted here. */
  heapMb: number;
}

/** Ends the child when its parent dies, whatever the child is doing (prctl(2), PR_SET_PDEATHSIG). */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));

/** The process and the channel to it (parser-channel.ts); no streams where the system had no descriptors left. */
export interface Sandboxed {
  child: ChildProcess;
  requests: Writable | undefined;
  replies: Readable | undefined;
}

/** stderr is piped: V8 says there why it gave up. The environment is empty: no secret, no NODE_OPTIONS. */
export function spawnSandboxed(options: SandboxOptions): Sandboxed {
  const command = [process.execPath, ...permissions(options), fileURLToPath(options.entry)];
  const [file = '', ...args] = SETPRIV ? [SETPRIV, '--pdeathsig', 'KILL', '--', ...command] : command;
  // Not Node's own channel: its streams and its serializer took a fifth of a parser's CPU with small mail (measured).
  // Two pipes: one that breaks because nobody reads requests any more must not take the last replies along.
  const child = spawn(file, args, { cwd: '/', env: {}, stdio: ['pipe', 'ignore', 'pipe', 'pipe'] });
  return {
    child,
    requests: child.stdin ?? undefined,
    replies: (child.stdio?.[3] ?? undefined) as Readable | undefined,
  };
}

function permissions({ entry, writable, heapMb }: SandboxOptions): string[] {
  // Without the asterisk Node looks whether it is a directory, at its start only: one that cannot be seen
  // then (no permission, not mounted) would be closed to this process for ever. Nor do we look: its disk may be stalled.
  const staging = writable === null ? [] : [join(writable, '*')];
  const readable = new Set([...programPaths(), fileURLToPath(entry), ...staging]);
  return [
    '--permission',
    ...[...readable].map((path) => `--allow-fs-read=${path}`),
    ...staging.map((path) => `--allow-fs-write=${path}`),
    // What the permission model forgets: SQLite opens and makes any file, the ledger for one, and V8 writes
    // its traces wherever a flag says.
    '--no-experimental-sqlite',
    '--freeze-flags-after-init',
    `--max-old-space-size=${heapMb}`,
    // Messages are short-lived and one at a time: a small young generation, collected without helpers, takes a
    // sixth less time on two cores, and 20 MB less (measured).
    '--max-semi-space-size=4',
    '--single-threaded-gc',
    '--expose-gc',
  ];
}

/** src or dist, package.json and node_modules; not the rest of the package, where somebody may keep a configuration. */
function programPaths(): string[] {
  const root = dirname(CODE_DIRECTORY);
  const modules = [join(root, 'node_modules')];
  // Installed as a dependency, its own dependencies lie beside it.
  if (basename(dirname(root)) === 'node_modules') modules.push(dirname(root));
  const present = modules.filter((path) => existsSync(path));
  return [
    CODE_DIRECTORY,
    join(root, 'package.json'),
    ...present,
    ...present.map((path) => realpathSync(path)),
  ];
}
