/** Monit's names of mailboxes: readable, each of its own, and without anything that Monit's file or page trips over. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { serviceNames } from '../../src/supervision/services.ts';

const named = (...folders: string[]): string[] =>
  serviceNames(folders.map((folder) => ({ account: 'support', folder })));

test('a plain folder keeps its name, letters of other scripts included', () => {
  expect(named('INBOX', 'Sent Items', 'Entwürfe', '受信箱')).toEqual([
    'support INBOX',
    'support Sent Items',
    'support Entwürfe',
    'support 受信箱',
  ]);
});

test('what would end a name, a link or a command becomes a dot', () => {
  expect(named(`a/b"c'd\\e$f\`g{h}\n\t;`)).toEqual(['support a.b.c.d.e.f.g.h....']);
});

test('names that Monit would take for the same one are told apart, the same way at every start', () => {
  const [slash, dot, other] = named('a/b', 'A.B', 'other');
  expect(other).toBe('support other');
  expect(slash).toMatch(/^support a\.b [0-9a-f]{8}$/);
  expect(dot).toMatch(/^support A\.B [0-9a-f]{8}$/);
  expect(slash?.slice(-8)).not.toBe(dot?.slice(-8));
  expect(named('other', 'A.B', 'a/b')).toEqual([other, dot, slash]);
});

test('any folders: as many different names, of harmless characters', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 })), (folders) => {
      const names = named(...folders);
      expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(folders.length);
      for (const name of names) expect(name).toMatch(/^support [\p{L}\p{N} ._-]+$/u);
    }),
  );
});
