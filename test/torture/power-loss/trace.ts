/** Runs a command under strace and gives the calls that changed files below a directory, in their order. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { demandStrace } from '../strace.ts';

/** A call that succeeded. Paths are relative to the traced directory. */
export type Call = {
  /** When it was entered and when it returned, in one order with all others. */
  begin: number;
  end: number;
} & (
  | {
      kind: 'open';
      path: string;
      /** The mode of a new file; null: none is made. */
      create: number | null;
      truncate: boolean;
      append: boolean;
      synchronous: boolean;
    }
  /** `offset` null: where the last write to the file ended. */
  | { kind: 'write'; path: string; offset: number | null; data: Buffer }
  | { kind: 'truncate'; path: string; length: number }
  /** `whole`: with its mode, and not its bytes alone. */
  | { kind: 'sync'; path: string; whole: boolean }
  /** The whole file system of a directory. */
  | { kind: 'sync-all'; path: string }
  | { kind: 'make-directory'; path: string; mode: number }
  | { kind: 'mode'; path: string; mode: number }
  | { kind: 'remove'; path: string }
  | { kind: 'rename'; from: string; to: string }
  | { kind: 'link'; from: string; to: string }
  /** Bytes that went into a socket. */
  | { kind: 'sent'; data: Buffer }
);

const STRACE = '/usr/bin/strace';

/** What may change a file or its name, and what is said to a server. Those that no model knows are traced to be refused. */
const TRACED = [
  ...[
    'openat',
    'open',
    'creat',
    'write',
    'pwrite64',
    'writev',
    'sendto',
    'sendmsg',
    'fsync',
    'fdatasync',
    'syncfs',
  ],
  ...['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'rmdir', 'mkdir', 'mkdirat', 'link', 'linkat'],
  ...['ftruncate', 'truncate', 'chmod', 'fchmod', 'fchmodat'],
];
const UNKNOWN = [
  ...['pwritev', 'pwritev2', 'fallocate', 'copy_file_range', 'sendfile', 'splice', 'symlink', 'symlinkat'],
  ...['sync_file_range', 'sync', 'msync'],
];

/** Longer than any write to a file of what is recorded here. */
const LONGEST_STRING = 1024 * 1024;

export interface Traced {
  /** Exit status of the command, and what was written on stderr. */
  finished: Promise<{ status: number | null; stderr: string }>;
  kill(): void;
}

/** Starts `command`; it ends with us, however we end. Throws where strace is missing. */
export function startTraced(command: string[], output: string): Traced {
  demandStrace();
  const traced = [...TRACED, ...UNKNOWN].map((name) => `?${name}`).join(',');
  const die = ['setpriv', '--pdeathsig', 'KILL'];
  const options = ['-f', '-y', '-xx', '--seccomp-bpf', '-s', String(LONGEST_STRING), '-o', output];
  const [file = '', ...parameters] = [
    ...die,
    STRACE,
    ...options,
    '-e',
    `trace=${traced}`,
    ...die,
    ...command,
  ];
  const child = spawn(file, parameters, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const finished = once(child, 'close').then(() => ({ status: child.exitCode, stderr }));
  return { finished, kill: () => void child.kill('SIGKILL') };
}

/** The calls of a trace that touched what lies below `root`, and what was sent into sockets. */
export async function readCalls(file: string, root: string): Promise<Call[]> {
  const calls: Call[] = [];
  const unfinished = new Map<string, { begin: number; text: string }>();
  let at = 0;
  for await (const line of createInterface({ input: createReadStream(file) })) {
    at += 1;
    const [, thread, rest] = /^(\d+) +(.*)$/s.exec(line) ?? [];
    if (thread === undefined || rest === undefined || /^(\+\+\+|---)/.test(rest)) continue;
    const cut = / <unfinished \.\.\.>$/.exec(rest);
    if (cut !== null) {
      unfinished.set(thread, { begin: at, text: rest.slice(0, cut.index) });
      continue;
    }
    const resumed = /^<\.\.\. (?:\w+|\?\?\?) resumed>/.exec(rest);
    const begun = resumed === null ? undefined : unfinished.get(thread);
    const text = resumed === null ? rest : `${begun?.text ?? ''}${rest.slice(resumed[0].length)}`;
    const call = callOf(text, root);
    if (call !== null) calls.push({ ...call, begin: begun?.begin ?? at, end: at });
  }
  return calls;
}

type Unplaced = Call extends infer Each ? (Each extends Call ? Omit<Each, 'begin' | 'end'> : never) : never;

function callOf(text: string, root: string): Unplaced | null {
  const [, name, parameters, result] = /^(\w+)\((.*)\) += (-?\d+|\?)(?:<[^>]*>)?(?: .*)?$/s.exec(text) ?? [];
  if (name === undefined || parameters === undefined) throw new Error(`no call: ${text.slice(0, 200)}`);
  if (result === undefined || !/^\d+$/.test(result)) return null;
  const { words, strings, descriptors } = tokens(parameters);
  const below = (path: string | undefined) =>
    path?.startsWith(`${root}/`) ? path.slice(root.length + 1) : null;
  /** A name with the directory that it is relative to. */
  const place = (index: number) => {
    const path = strings[index]?.toString() ?? '';
    return below(path.startsWith('/') ? path : `${descriptors[index] ?? ''}/${path}`);
  };
  const path = below(descriptors[0]);
  switch (name) {
    case 'openat':
    case 'open': {
      const opened = place(0);
      const flags = new Set(words.flatMap((word) => word.split('|')));
      if (opened === null || !(flags.has('O_WRONLY') || flags.has('O_RDWR'))) return null;
      return {
        kind: 'open',
        path: opened,
        create: flags.has('O_CREAT') ? Number.parseInt(words.at(-1) ?? '', 8) : null,
        truncate: flags.has('O_TRUNC'),
        append: flags.has('O_APPEND'),
        synchronous: flags.has('O_DSYNC') || flags.has('O_SYNC'),
      };
    }
    case 'write':
    case 'writev':
    case 'pwrite64': {
      const data = Buffer.concat(strings).subarray(0, Number(result));
      if (/^(socket|TCP|UNIX)/.test(descriptors[0] ?? '')) return { kind: 'sent', data };
      if (path === null) return null;
      if (data.length !== Number(result)) throw new Error(`a write to ${path} was traced in part`);
      return { kind: 'write', path, offset: name === 'pwrite64' ? Number(words.at(-1)) : null, data };
    }
    case 'sendto':
    case 'sendmsg':
      return { kind: 'sent', data: Buffer.concat(strings) };
    case 'ftruncate':
      return path === null ? null : { kind: 'truncate', path, length: Number(words.at(-1)) };
    case 'fsync':
    case 'fdatasync': {
      // The directory itself has no name below itself.
      const synced = descriptors[0] === root ? '' : path;
      return synced === null ? null : { kind: 'sync', path: synced, whole: name === 'fsync' };
    }
    case 'syncfs':
      return path === null ? null : { kind: 'sync-all', path };
    case 'mkdir':
    case 'mkdirat': {
      const made = place(0);
      return made === null
        ? null
        : { kind: 'make-directory', path: made, mode: Number.parseInt(words.at(-1) ?? '', 8) };
    }
    case 'chmod':
    case 'fchmodat':
    case 'fchmod': {
      const changed = name === 'fchmod' ? path : place(0);
      const mode = words.find((word) => /^0\d+$/.test(word)) ?? '';
      return changed === null ? null : { kind: 'mode', path: changed, mode: Number.parseInt(mode, 8) };
    }
    case 'unlink':
    case 'unlinkat':
    case 'rmdir': {
      const removed = place(0);
      return removed === null ? null : { kind: 'remove', path: removed };
    }
    case 'rename':
    case 'renameat':
    case 'renameat2':
    case 'link':
    case 'linkat': {
      const from = place(0);
      const to = place(1);
      if (from === null && to === null) return null;
      if (from === null || to === null) throw new Error(`${name} into or out of ${root}`);
      return { kind: name.startsWith('link') ? 'link' : 'rename', from, to };
    }
  }
  if (
    [...descriptors, strings[0]?.toString()].some((each) => below(each) !== null) ||
    name.startsWith('sync')
  )
    throw new Error(`no model for ${text.slice(0, 200)}`);
  return null;
}

/** `-xx` writes each byte of a string and of a descriptor's path in hex; the rest are plain words. */
function tokens(parameters: string): { words: string[]; strings: Buffer[]; descriptors: string[] } {
  const strings: Buffer[] = [];
  const descriptors: string[] = [];
  const rest = parameters
    .replace(/"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?/g, (_, hex: string) => {
      strings.push(bytes(hex));
      return '""';
    })
    .replace(/<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?/g, (_, hex: string, deleted?: string) => {
      descriptors.push(deleted === undefined ? bytes(hex).toString() : '');
      return '';
    });
  return { words: rest.split(/[, ]+/), strings, descriptors };
}

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll('\\x', ''), 'hex');
