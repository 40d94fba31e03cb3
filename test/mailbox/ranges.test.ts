/** Proves: what is compared with the ledger's ranges is compared UID by UID. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { outside } from '../../src/mailbox/ranges.ts';

test('outside leaves those that are in no range, at both ends and in between', () => {
  const ranges = Uint32Array.of(2, 3, 5, 5, 9, 4_294_967_295);
  expect(outside([1, 2, 3, 4, 5, 6, 8, 9, 4_294_967_295], ranges)).toEqual([1, 4, 6, 8]);
  expect(outside([1, 7], Uint32Array.of())).toEqual([1, 7]);
  expect(outside([], ranges)).toEqual([]);
});

test('any UIDs and ranges', () => {
  const ascending = fc.uniqueArray(fc.nat({ max: 60 })).map((list) => list.sort((a, b) => a - b));
  fc.assert(
    fc.property(ascending, ascending, (uids, bounds) => {
      const ranges = Uint32Array.from(bounds.slice(0, bounds.length - (bounds.length % 2)));
      const within = (uid: number) =>
        ranges.some((first, index) => index % 2 === 0 && first <= uid && uid <= ranges[index + 1]!);
      expect(outside(uids, ranges)).toEqual(uids.filter((uid) => !within(uid)));
    }),
  );
});
