/** The pure parts: ranges, sequence sets, windows of UIDs, folder names, what is in flight. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Connection } from '../../src/mailbox/connection.ts';
import { createFlight } from '../../src/mailbox/flight.ts';
import { findFolder } from '../../src/mailbox/folders.ts';
import { headerOf } from '../../src/mailbox/large.ts';
import { halves, RANGE_BYTES, rangeLength, sequenceSet } from '../../src/mailbox/ranges.ts';
import { backfillSince } from '../../src/mailbox/session.ts';
import { searchWindows, WINDOW } from '../../src/mailbox/windows.ts';
import type { Epoch } from '../../src/model.ts';

test('ranges: at least one message, never more than is allowed, a large one alone', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(2 * RANGE_BYTES), { minLength: 1, maxLength: 50 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: RANGE_BYTES }),
      (sizes, most, aloneAbove) => {
        const messages = sizes.map((size) => ({ size }));
        for (let from = 0; from < messages.length; ) {
          const length = rangeLength(messages, from, most, aloneAbove);
          const range = sizes.slice(from, from + length);
          expect(length).toBeGreaterThan(0);
          expect(length).toBeLessThanOrEqual(most);
          if (length > 1) {
            expect(range.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(RANGE_BYTES);
            expect(Math.max(...range)).toBeLessThanOrEqual(aloneAbove);
          }
          from += length;
        }
      },
    ),
  );
});

test('sequence sets name just these UIDs', () => {
  expect(sequenceSet([1, 2, 3, 7, 9, 10])).toBe('1:3,7,9:10');
  expect(sequenceSet([4294967295])).toBe('4294967295');
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 300 }), { minLength: 1 }), (numbers) => {
      const uids = numbers.sort((a, b) => a - b);
      const named = sequenceSet(uids)
        .split(',')
        .flatMap((part) => {
          const [low, high] = part.split(':').map(Number);
          return Array.from({ length: (high ?? low!) - low! + 1 }, (_, index) => low! + index);
        });
      expect(named).toEqual(uids);
    }),
  );
});

test('halves lose nothing and end at single messages', () => {
  expect(halves([1])).toEqual([[1]]);
  expect(halves([1, 2, 3])).toEqual([[1, 2], [3]]);
});

test.each([
  ['dense', 120_000, (index: number) => index + 1],
  ['sparse', 60_000, (index: number) => (index + 1) * 50_000],
])('windows of %s UIDs cover all of them, none with more than can be borne', async (_, count, uidOf) => {
  const all = Array.from({ length: count }, (_each, index) => uidOf(index));
  const asked: [number, number | null][] = [];
  const connection = {
    search: async (low: number, high: number | null) => {
      asked.push([low, high]);
      return all.filter((uid) => uid >= low && uid <= (high ?? Infinity));
    },
  } as Partial<Connection> as Connection;
  const found: number[] = [];
  for await (const window of searchWindows(connection, { low: 1, high: all.at(-1)!, exists: count })) {
    expect(window.uids.length).toBeLessThanOrEqual(WINDOW);
    for (const uid of window.uids) found.push(uid);
  }
  expect(found).toEqual(all);
  expect(asked.length).toBeLessThan(100);
});

test('UIDs that are close again after a gap are not listed all at once', async () => {
  const [first, count] = [450_001, 1_200_000];
  const asked: number[] = [];
  const connection = {
    async search(low: number, high: number | null) {
      const from = Math.max(low, first);
      const length = Math.max(0, (high ?? Number.POSITIVE_INFINITY) - from + 1);
      asked.push(length);
      return Array.from({ length }, (_, index) => from + index);
    },
  } as Partial<Connection> as Connection;
  let found = 0;
  // Those before the gap are older than what is asked for.
  const bounds = { low: 1, high: first + count - 1, exists: first + count - 1, since: 1 };
  for await (const { uids } of searchWindows(connection, bounds)) found += uids.length;
  expect(found).toBe(count);
  expect(Math.max(...asked)).toBeLessThanOrEqual(8 * WINDOW);
  expect(asked.length).toBeLessThan(50);
});

test('a folder that one window can hold is asked for once, wherever its UIDs lie', async () => {
  let asked = 0;
  const connection = { search: async () => [++asked] } as Partial<Connection> as Connection;
  for await (const { uids } of searchWindows(connection, { low: 1, high: 4_294_967_294, exists: 3 }))
    expect(uids).toEqual([1]);
  expect(asked).toBe(1);
});

test('folder names: exact first, then INBOX in any case, then `/` for the delimiter', () => {
  const folder = (path: string, selectable = true, ...attributes: string[]) => ({
    path,
    delimiter: '.',
    selectable,
    attributes: new Set(attributes),
  });
  const folders = [folder('INBOX'), folder('a/b'), folder('a.b'), folder('x.y'), folder('parent', false)];
  expect(findFolder('a/b', folders)).toBe('a/b');
  expect(findFolder('x/y', folders)).toBe('x.y');
  expect(findFolder('InBox', folders)).toBe('INBOX');
  expect(findFolder('parent', folders)).toBeNull();
  expect(findFolder('A.B', folders)).toBeNull();
  // A special use is what the server marks, and no name.
  const marked = [folder('\\All'), folder('tree', false, '\\all'), folder('[Gmail].Alle', true, '\\all')];
  expect(findFolder('\\All', marked)).toBe('[Gmail].Alle');
  expect(findFolder('\\Sent', marked)).toBeNull();
});

test('the header of a message ends at its first empty line', () => {
  expect(headerOf(Buffer.from('A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n')).toString()).toBe('A: 1\r\nB: 2\r\n\r\n');
  expect(headerOf(Buffer.from('A: 1\n\nbody')).toString()).toBe('A: 1\n\n');
  expect(headerOf(Buffer.alloc(100_000, 'x'))).toHaveLength(64 * 1024);
});

test('in flight: room waits, a failure comes out once nothing is in flight', async () => {
  const flight = createFlight();
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  flight.launch(first.promise, 10);
  flight.launch(second.promise, 10);
  let room = false;
  const waiting = flight.room({ count: 1, bytes: 1 }, 2).then(() => {
    room = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(room).toBe(false);
  first.resolve();
  await waiting;
  second.reject(new Error('disk'));
  await expect(flight.land()).rejects.toThrow('disk');
  await flight.land();
  await flight.room({ count: 256, bytes: 1e9 }, 1);
});

test('in flight: so many bytes at most, but one message however large', async () => {
  const flight = createFlight();
  const MIB = 1024 * 1024;
  const first = Promise.withResolvers<void>();
  await flight.room({ count: 1, bytes: 100 * MIB }, 256);
  flight.launch(first.promise, 8 * MIB);
  await flight.room({ count: 1, bytes: 4 * MIB }, 256);
  let room = false;
  const waiting = flight.room({ count: 1, bytes: 4 * MIB + 1 }, 256).then(() => {
    room = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(room).toBe(false);
  first.resolve();
  await waiting;
});

const epoch = (changes: Partial<Epoch>): Epoch => ({
  account: 'a',
  folder: 'f',
  id: 1,
  label: '1',
  uidValidity: '1',
  openedAt: 1000,
  firstUidNext: 5,
  start: { kind: 'new' },
  watchedSince: 1000,
  scannedThrough: 4,
  changedAt: null,
  compared: true,
  ...changes,
});
test.each<[string, Partial<Epoch>, number | null]>([
  ['new, first epoch', {}, null],
  ['all', { start: { kind: 'all' } }, 0],
  ['date, first epoch', { start: { kind: 'date', at: 700 } }, 700],
  ['new, later epoch', { changedAt: 3000 }, 1000],
  ['date, later epoch', { start: { kind: 'date', at: 700 }, changedAt: 3000 }, 700],
  ['date after the first opening, later epoch', { start: { kind: 'date', at: 2000 }, changedAt: 3000 }, 1000],
  ['adopt --skip', { start: { kind: 'date', at: 3000 }, changedAt: 3000, watchedSince: 3000 }, 3000],
])('what is wanted of what was there: %s', (_, changes, since) => {
  expect(backfillSince(epoch(changes))).toBe(since);
});
