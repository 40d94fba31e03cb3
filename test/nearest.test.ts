/** The nearest word is the one that was meant, and where none is near there is none. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nearest } from '../src/nearest.ts';

const KEYS = ['host', 'port', 'user', 'password', 'folders', 'idleRenewEvery', 'storage', 'state'];

test.each([
  ['prot', 'port'],
  ['pasword', 'password'],
  ['passwrod', 'password'],
  ['Folder', 'folders'],
  ['idle_renew_every', 'idleRenewEvery'],
  ['storge', 'storage'],
  ['port', 'port'],
  ['xyz', null],
  ['retries', null],
  ['', null],
])('%s → %s', (word, meant) => {
  expect(nearest(word, KEYS)).toBe(meant);
});

test('without candidates there is none', () => {
  expect(nearest('x', [])).toBeNull();
});

test('one edit in a word of four or more finds it again; a huge word takes no time', () => {
  const word = fc.string({ unit: fc.constantFrom(...'abcdef'), minLength: 4, maxLength: 20 });
  fc.assert(
    fc.property(word, fc.nat(19), fc.constantFrom('x', ''), (whole, at, letter) => {
      const mistyped = whole.slice(0, at) + letter + whole.slice(at + 1);
      expect(nearest(mistyped, [whole, 'something quite else'])).toBe(whole);
    }),
  );
  expect(nearest('x'.repeat(1_000_000), ['x'.repeat(1_000_000)])).toBeNull();
});
