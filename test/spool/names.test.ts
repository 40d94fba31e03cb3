/** Proves: names are unique, ours, and never taken from a message or a server as they are. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  datable,
  folderSlug,
  messageId,
  parseId,
  publishedName,
  publishedPath,
  quarantinePath,
  stagedStem,
} from '../../src/spool/names.ts';
import { MORNING } from './rig.ts';

test.each([
  ['INBOX', 'INBOX'],
  ['Archive.2026', 'Archive.2026'],
  ['a_b-c', 'a_b-c'],
  ['x'.repeat(64), 'x'.repeat(64)],
  ['x'.repeat(65), `${'x'.repeat(55)}~`],
  ['Entwürfe', 'Entwrfe~'],
  ['.hidden', 'hidden~'],
  ['..', '~'],
  ['INBOX/Sub', 'INBOXSub~'],
  ['受信箱', '~'],
  ['a~b', 'ab~'],
  ['', '~'],
])('the slug of %j begins with %j', (folder, slug) => {
  const found = folderSlug(folder);
  expect(found).toMatch(slug.endsWith('~') ? /~[0-9a-f]{8}$/ : /[^~]$/);
  expect(slug.endsWith('~') ? found.slice(0, -8) : found).toBe(slug);
});

test('no two folders share a slug, none leaves its directory, and an id leads back to it', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'binary' }),
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      fc.constantFrom('1', '1700000000', '1700000000.2'),
      (one, other, uid, label) => {
        expect(folderSlug(one)).toMatch(/^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}$/);
        if (one !== other) expect(folderSlug(one)).not.toBe(folderSlug(other));
        expect(parseId(messageId(one, label, uid))).toEqual({ slug: folderSlug(one), label, uid });
      },
    ),
  );
});

test.each([
  '',
  'INBOX',
  'INBOX-1',
  'INBOX-1-x',
  'INBOX-1-99999999999',
  '-1-2',
  '../../x',
])('%j is no id', (id) => {
  expect(parseId(id)).toBeNull();
});

const identity = {
  account: 'support',
  folder: 'Entwürfe',
  id: 'INBOX-17-4',
  uid: 4,
  uidValidity: '17',
  internalDate: MORNING,
  flags: [],
};

test('the template is filled in with the date of INTERNALDATE in UTC', () => {
  const path = (template: string, internalDate = MORNING) =>
    publishedPath(template, { ...identity, internalDate }, 'INBOX-17-4');
  expect(path('{account}/{yyyy}/{mm}/{dd}/{id}.json')).toBe('support/2026/11/20/INBOX-17-4.json');
  expect(path('{folder}/{account}-{id}.json')).toMatch(/^Entwrfe~[0-9a-f]{8}\/support-INBOX-17-4\.json$/);
  expect(path('{account}//x/{id}.json')).toBe('support/x/INBOX-17-4.json');
  expect(path('{account}/{yyyy}/{id}.json', Date.UTC(2026, 11, 31, 23, 59, 59))).toContain('/2026/');
});

test.each([
  Number.NaN,
  Number.NEGATIVE_INFINITY,
  -1,
  1e300,
  Number.POSITIVE_INFINITY,
])('INTERNALDATE %d from a hostile server still has a date', (internalDate) => {
  expect(publishedPath('{account}/{yyyy}-{mm}-{dd}/{id}.json', { ...identity, internalDate }, 'x')).toMatch(
    /^support\/\d{4}-\d\d-\d\d\/x\.json$/,
  );
  expect(Number.isSafeInteger(datable(internalDate))).toBe(true);
});

test('staging, quarantine and replay name a message by account and id', () => {
  expect(stagedStem('support', 'INBOX-17-4', 3)).toBe('support~INBOX-17-4.3');
  expect(quarantinePath('support', 'INBOX-17-4')).toBe('.quarantine/support/INBOX-17-4');
  expect([1, 2, 3].map((copy) => publishedName('INBOX-17-4', copy))).toEqual([
    'INBOX-17-4',
    'INBOX-17-4~2',
    'INBOX-17-4~3',
  ]);
});
