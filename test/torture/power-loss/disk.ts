/**
 * What a disk may hold after a power cut. Of each operation it is known when it happened and when it became
 * durable; in between it may survive a cut or not, each by itself:
 *
 * - fsync of a file, and a write through O_DSYNC or O_SYNC, make its bytes durable, and nothing of its name;
 * - syncfs makes all that was done below a directory durable, and nothing beside it: that may be another disk;
 * - fsync of a directory makes the names in it durable, and nothing of what they name;
 * - a mode is durable once the file or directory itself is synced, and not by O_DSYNC or fdatasync;
 * - a rename survives as a whole or not at all, and is durable once one of its two directories is synced.
 *
 * ext4, XFS and btrfs keep more than this; nothing here may be relied on beyond it.
 */
import { createHash } from 'node:crypto';
import { basename, dirname } from 'node:path';
import type { Call } from './trace.ts';

/** What lies below a directory, by path; a directory has no content. */
export type Tree = Map<string, { content: Buffer | null; mode: number }>;

interface Inode {
  /** With which it was made. */
  made: number;
  modes: Mode[];
}

interface File extends Inode {
  kind: 'file';
  writes: Write[];
  /** As the program sees it now. */
  size: number;
  /** Where the next write without an offset goes. */
  position: number;
  append: boolean;
  synchronous: boolean;
}

interface Directory extends Inode {
  kind: 'directory';
  /** As the program sees it now. */
  names: Map<string, File | Directory>;
  /** The last operation on each name there ever was: what comes after it needs it. */
  last: Map<string, Entry>;
}

interface Operation {
  /** When it had happened. */
  at: number;
  /** From when on it survives every cut. */
  durable: number | null;
  /** In words. */
  what: string;
}

/** An operation on names. */
export interface Entry extends Operation {
  kind: 'entry';
  changes: { directory: Directory; name: string; node: File | Directory | null }[];
  /** What must have survived where this one has. */
  needs: Entry[];
  call: Call;
}

/** An operation on bytes: `data` put at an offset, or, null, all beyond it cut off. */
export interface Write extends Operation {
  kind: 'write';
  path: string;
  file: File;
  offset: number;
  data: Buffer | null;
}

/** A change of a mode. */
export interface Mode extends Operation {
  kind: 'mode';
  mode: number;
  call: Call;
}

export type Step = Entry | Write | Mode;

export interface Disk {
  root: Directory;
  /** In the order in which they happened. */
  operations: Step[];
}

/** What became of a pending write: only its length, or only its first half, may have come to the disk. */
export type Fate = 'kept' | 'lost' | 'zeros' | 'half';

/** Replays calls on a disk that holds `initial`, all of it durable. */
export function recordDisk(initial: Tree, calls: readonly Call[]): Disk {
  const root = directory(0o700);
  const disk: Disk = { root, operations: [] };
  for (const [path, { content, mode }] of initial) {
    const node = content === null ? directory(mode) : file(mode);
    if (node.kind === 'file' && content !== null && content.length > 0) {
      const write = { offset: 0, data: content, at: 0, durable: 0, path, what: `initial ${path}` };
      node.writes.push({ kind: 'write', file: node, ...write });
      node.size = content.length;
      disk.operations.push(...node.writes);
    }
    const entry = enter(disk, { kind: 'make-directory', path, mode, begin: 0, end: 0 }, [[path, node]]);
    entry.durable = 0;
  }
  const left = calls.toSorted((one, other) => one.end - other.end);
  for (let first = left[0]; first !== undefined; first = left[0]) {
    const { end } = first;
    // Of calls that overlap another may have happened before: without it this one would have failed.
    const next = left.findIndex((call) => call.begin <= end && isPossible(disk.root, call));
    const [call] = left.splice(Math.max(0, next), 1) as [Call];
    apply(disk, call.end <= end ? call : { ...call, end });
  }
  return disk;
}

/** Whether it can succeed as things are. */
function isPossible(root: Directory, call: Call): boolean {
  const isThere = (path: string) => find(root, path) !== null;
  switch (call.kind) {
    case 'open':
      return isThere(call.path) || (call.create !== null && isThere(dirname(call.path)));
    case 'make-directory':
      return !isThere(call.path) && isThere(dirname(call.path));
    case 'remove': {
      const node = find(root, call.path);
      return node !== null && (node.kind === 'file' || node.names.size === 0);
    }
    case 'link':
      return isThere(call.from) && !isThere(call.to) && isThere(dirname(call.to));
    case 'rename':
      return isThere(call.from) && isThere(dirname(call.to));
    default:
      return true;
  }
}

const directory = (made: number): Directory => ({
  ...{ kind: 'directory', made, modes: [], names: new Map(), last: new Map() },
});
const file = (made: number): File => ({
  ...{ kind: 'file', made, modes: [], writes: [], size: 0, position: 0 },
  ...{ append: false, synchronous: false },
});

/** Of the programs that are traced: they have it from us. */
const UMASK = process.umask();

/** mkdir(2): the group's bit is inherited. */
const SET_GROUP = 0o2000;

function apply(disk: Disk, call: Call): void {
  switch (call.kind) {
    case 'open': {
      let node = find(disk.root, call.path);
      if (node === null) {
        if (call.create === null) throw new Error(`the model has no ${call.path}, which was opened`);
        node = file(call.create & ~UMASK);
        enter(disk, call, [[call.path, node]]);
      }
      if (node.kind === 'directory') throw new Error(`${call.path} is a directory`);
      if (call.truncate && node.size > 0) write(disk, call, node, 0, null);
      Object.assign(node, { position: 0, append: call.append, synchronous: call.synchronous });
      return;
    }
    case 'write': {
      // One that was removed meanwhile has no name: nobody reads it again.
      const node = find(disk.root, call.path);
      if (node?.kind !== 'file') return;
      const offset = call.offset ?? (node.append ? node.size : node.position);
      write(disk, call, node, offset, call.data);
      if (call.offset === null) node.position = offset + call.data.length;
      return;
    }
    case 'truncate': {
      const node = find(disk.root, call.path);
      if (node?.kind === 'file') write(disk, call, node, call.length, null);
      return;
    }
    case 'make-directory': {
      const parent = demand(disk.root, dirname(call.path));
      const inherited = (parent.modes.at(-1)?.mode ?? parent.made) & SET_GROUP;
      enter(disk, call, [[call.path, directory((call.mode & ~UMASK) | inherited)]]);
      return;
    }
    case 'mode': {
      const node = find(disk.root, call.path);
      if (node === null) return;
      const { mode, end: at } = call;
      const what = describe(call);
      const step: Mode = { kind: 'mode', mode, at, durable: null, what, call };
      node.modes.push(step);
      disk.operations.push(step);
      return;
    }
    case 'remove':
      enter(disk, call, [[call.path, null]]);
      return;
    case 'link':
      enter(disk, call, [[call.to, demand(disk.root, call.from)]]);
      return;
    case 'rename':
      enter(disk, call, [
        [call.to, demand(disk.root, call.from)],
        [call.from, null],
      ]);
      return;
    case 'sync-all': {
      const below = (path: string) => path.startsWith(`${call.path}/`);
      for (const one of disk.operations) {
        if (one.at <= call.begin && pathsOf(one).some(below)) settle(one, call.end);
      }
      return;
    }
    case 'sync': {
      const node = find(disk.root, call.path);
      if (node === null) return;
      const covered = ({ at }: Operation) => at <= call.begin;
      if (call.whole) for (const one of node.modes) if (covered(one)) one.durable ??= call.end;
      if (node.kind === 'file') {
        for (const one of node.writes) if (covered(one)) one.durable ??= call.end;
        return;
      }
      for (const one of disk.operations) {
        if (one.kind !== 'entry' || !covered(one)) continue;
        if (one.changes.some((change) => change.directory === node)) settle(one, call.end);
      }
      return;
    }
  }
}

/** Durable, with all that it needs. */
function settle(step: Step, at: number): void {
  if (step.durable !== null) return;
  step.durable = at;
  if (step.kind === 'entry') for (const need of step.needs) settle(need, at);
}

/** What an operation was done to, as it was called then. */
function pathsOf(step: Step): string[] {
  if (step.kind === 'write') return [step.path];
  const { call } = step;
  if (call.kind === 'rename' || call.kind === 'link') return [call.from, call.to];
  return 'path' in call ? [call.path] : [];
}

function enter(disk: Disk, call: Call, named: [string, File | Directory | null][]): Entry {
  const changes = named.map(([path, node]) => {
    const parent = demand(disk.root, dirname(path));
    if (parent.kind === 'file') throw new Error(`${path}: in a file`);
    return { directory: parent, name: basename(path), node };
  });
  const needs = new Set<Entry>();
  for (const { directory: parent, name, node } of changes) {
    const before = parent.last.get(name);
    if (before !== undefined) needs.add(before);
    // No file system removes a directory whose names are still there.
    const removed = node === null ? parent.names.get(name) : undefined;
    if (removed?.kind === 'directory' && call.kind === 'remove') {
      for (const one of removed.last.values()) needs.add(one);
    }
  }
  const entry: Entry = {
    ...{ kind: 'entry', at: call.end, durable: null, call },
    ...{ changes, needs: [...needs], what: describe(call) },
  };
  for (const { directory: parent, name, node } of changes) {
    if (node === null) parent.names.delete(name);
    else parent.names.set(name, node);
    parent.last.set(name, entry);
  }
  disk.operations.push(entry);
  return entry;
}

function write(disk: Disk, call: Call, node: File, offset: number, data: Buffer | null): void {
  const path = 'path' in call ? call.path : '';
  const one: Write = {
    ...{ kind: 'write', at: call.end, file: node, path, offset, data },
    ...{ durable: node.synchronous && data !== null ? call.end : null, what: describe(call) },
  };
  node.writes.push(one);
  node.size = data === null ? offset : Math.max(node.size, offset + data.length);
  disk.operations.push(one);
}

function describe(call: Call): string {
  switch (call.kind) {
    case 'rename':
    case 'link':
      return `${call.kind} ${call.from} → ${call.to}`;
    case 'write':
      return `write ${call.data.length} bytes ${call.path}${call.offset === null ? '' : ` at ${call.offset}`}`;
    case 'sent':
      return 'sent';
    case 'mode':
      return `mode ${call.mode.toString(8)} ${call.path}`;
    default:
      return `${call.kind} ${call.path}`;
  }
}

function find(root: Directory, path: string): File | Directory | null {
  let node: File | Directory | undefined = root;
  for (const name of path === '' || path === '.' ? [] : path.split('/')) {
    if (node?.kind !== 'directory') return null;
    node = node.names.get(name);
  }
  return node ?? null;
}

function demand(root: Directory, path: string): File | Directory {
  const node = find(root, path);
  if (node === null) throw new Error(`the model has no ${path}`);
  return node;
}

/** What the disk holds after a cut at `cut`, where `fate` tells what became of each operation not yet durable. */
export function survivors(
  disk: Disk,
  cut: number,
  fate: (operation: Step) => Fate,
): { tree: Tree; key: string } {
  const fates = new Map<Operation, Fate>();
  const keep = (entry: Entry) => {
    if (fates.get(entry) === 'kept') return;
    fates.set(entry, 'kept');
    for (const need of entry.needs) keep(need);
  };
  const happened = disk.operations.filter(({ at }) => at <= cut);
  for (const one of happened) {
    const kept = isDurable(one, cut) ? 'kept' : fate(one);
    if (one.kind !== 'entry') fates.set(one, kept);
    else if (kept === 'kept') keep(one);
  }
  const names = new Map<Directory, Map<string, File | Directory>>();
  for (const one of happened) {
    if (one.kind !== 'entry' || fates.get(one) !== 'kept') continue;
    for (const { directory: parent, name, node } of one.changes) {
      const inside = names.get(parent) ?? new Map<string, File | Directory>();
      names.set(parent, inside);
      if (node === null) inside.delete(name);
      else inside.set(name, node);
    }
  }
  const tree: Tree = new Map();
  const walk = (parent: Directory, path: string) => {
    for (const [name, node] of [...(names.get(parent) ?? [])].sort()) {
      const at = `${path}${name}`;
      const mode = node.modes.findLast((one) => fates.get(one) === 'kept')?.mode ?? node.made;
      tree.set(at, { content: node.kind === 'file' ? contentOf(node, cut, fates) : null, mode });
      if (node.kind === 'directory') walk(node, `${at}/`);
    }
  };
  walk(disk.root, '');
  return { tree, key: keyOf(tree) };
}

export const isDurable = ({ durable }: Operation, cut: number): boolean => durable !== null && durable <= cut;

function contentOf(node: File, cut: number, fates: Map<Operation, Fate>): Buffer {
  let content = Buffer.alloc(0);
  let length = 0;
  const reach = (end: number) => {
    if (end > content.length) content = Buffer.concat([content, Buffer.alloc(end)]);
    length = Math.max(length, end);
  };
  for (const one of node.writes) {
    const fate = fates.get(one) ?? 'lost';
    if (one.at > cut || fate === 'lost') continue;
    if (one.data === null) {
      reach(one.offset);
      content.fill(0, one.offset);
      length = one.offset;
      continue;
    }
    const data = fate === 'half' ? one.data.subarray(0, one.data.length >> 1) : one.data;
    const end = one.offset + data.length;
    reach(end);
    if (fate === 'zeros') content.fill(0, one.offset, end);
    else data.copy(content, one.offset);
  }
  return content.subarray(0, length);
}

function keyOf(tree: Tree): string {
  const hash = createHash('sha256');
  for (const [path, { content, mode }] of tree) {
    hash.update(`${path}\0${mode}\0${content === null ? '/' : content.length}\0`);
    if (content !== null) hash.update(content);
  }
  return hash.digest('hex');
}
