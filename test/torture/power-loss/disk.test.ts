/** The model of a disk: what is durable when, and in which order calls that overlap must have happened. */
import { expect, test } from 'vitest';
import { recordDisk, survivors } from './disk.ts';
import type { Call } from './trace.ts';

const made = (path: string, begin: number, end = begin): Call => ({
  ...{ kind: 'make-directory', path, mode: 0o755 },
  ...{ begin, end },
});
const opened = (path: string, at: number, synchronous = false): Call => ({
  ...{ kind: 'open', path, create: 0o644, truncate: false, append: false, synchronous },
  ...{ begin: at, end: at },
});
const written = (path: string, at: number): Call => ({
  ...{ kind: 'write', path, offset: null, data: Buffer.from('data') },
  ...{ begin: at, end: at },
});
const synced = (path: string, at: number): Call => ({
  ...{ kind: 'sync', path, whole: true },
  ...{ begin: at, end: at },
});
const renamed = (from: string, to: string, begin: number, end = begin): Call => ({
  ...{ kind: 'rename', from, to },
  ...{ begin, end },
});
const removed = (path: string, begin: number, end = begin): Call => ({
  ...{ kind: 'remove', path },
  ...{ begin, end },
});

/** What is left when all that is not durable is lost, or kept, with the lengths of files. */
function after(calls: Call[], fate: 'lost' | 'kept'): Record<string, number | null> {
  const { tree } = survivors(recordDisk(new Map(), calls), Number.POSITIVE_INFINITY, () => fate);
  return Object.fromEntries([...tree].map(([path, { content }]) => [path, content?.length ?? null]));
}

test('a file needs its bytes synced and its name', () => {
  const file = [opened('file', 1), written('file', 2)];
  expect(after(file, 'lost')).toEqual({});
  expect(after([...file, synced('file', 3)], 'lost')).toEqual({});
  expect(after([...file, synced('', 3)], 'lost')).toEqual({ file: 0 });
  expect(after([...file, synced('file', 3), synced('', 4)], 'lost')).toEqual({ file: 4 });
  expect(after([opened('file', 1, true), written('file', 2), synced('', 3)], 'lost')).toEqual({ file: 4 });
});

test('a whole file system is synced with bytes and names, and nothing beside it', () => {
  const storage = [made('storage', 1), synced('', 2), opened('storage/file', 3), written('storage/file', 4)];
  const beside = [opened('beside', 5), written('beside', 6)];
  const all: Call = { kind: 'sync-all', path: 'storage', begin: 7, end: 7 };
  const late = [opened('storage/late', 8)];
  expect(after([...storage, ...beside, all, ...late], 'lost')).toEqual({ storage: null, 'storage/file': 4 });
});

test('a rename is durable with either of its directories, and whole', () => {
  const before = [made('a', 1), made('b', 2), opened('a/file', 3), synced('a', 4), synced('', 5)];
  const moved = [...before, renamed('a/file', 'b/file', 6)];
  expect(after(moved, 'lost')).toEqual({ a: null, b: null, 'a/file': 0 });
  expect(after([...moved, synced('a', 7)], 'lost')).toEqual({ a: null, b: null, 'b/file': 0 });
  expect(after([...moved, synced('b', 7)], 'lost')).toEqual({ a: null, b: null, 'b/file': 0 });
});

test('of calls that overlap the one that returned first may have happened second', () => {
  const again = [made('a', 1), made('a', 4, 5), removed('a', 3, 6), opened('a/file', 7)];
  expect(after(again, 'kept')).toEqual({ a: null, 'a/file': 0 });
  const taken = [opened('new', 1), removed('document', 3, 4), renamed('new', 'document', 2, 5)];
  expect(after(taken, 'kept')).toEqual({});
});
