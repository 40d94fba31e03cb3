/** `list`: what mailing lists and newsletters tell of themselves. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isListMail } from '../../src/message/list.ts';
import { parsed, plain } from './helpers.ts';

const listOf = (...fields: string[]) => parsed(plain(fields, 'text')).list;

const NOTHING = { id: null, name: null, post: [], unsubscribe: { mailto: [], web: [], oneClick: false } };

test('a mailing list of Mailman', () => {
  expect(
    listOf(
      'Precedence: list',
      'List-Id: "Squeak, the language" <squeak-dev.lists.example.org>',
      'List-Unsubscribe: <http://lists.example.org/options/squeak-dev>,',
      ' <mailto:squeak-dev-request@lists.example.org?subject=unsubscribe>',
      'List-Archive: <http://lists.example.org/pipermail/squeak-dev>',
      'List-Post: <mailto:squeak-dev@lists.example.org>',
      'List-Help: <mailto:squeak-dev-request@lists.example.org?subject=help>',
    ),
  ).toEqual({
    id: 'squeak-dev.lists.example.org',
    name: 'Squeak, the language',
    post: ['mailto:squeak-dev@lists.example.org'],
    unsubscribe: {
      mailto: ['mailto:squeak-dev-request@lists.example.org?subject=unsubscribe'],
      web: ['http://lists.example.org/options/squeak-dev'],
      oneClick: false,
    },
  });
});

test('RFC 8058: a newsletter that is left with one click', () => {
  const web = 'List-Unsubscribe: <mailto:leave-8f3@news.example>, <https://news.example/u?t=8f3>';
  const post = 'List-Unsubscribe-Post: List-Unsubscribe=One-Click';
  expect(listOf(web, post)?.unsubscribe).toEqual({
    mailto: ['mailto:leave-8f3@news.example'],
    web: ['https://news.example/u?t=8f3'],
    oneClick: true,
  });
  expect(listOf(web)?.unsubscribe.oneClick).toBe(false);
  expect(listOf(web, 'List-Unsubscribe-Post: No')?.unsubscribe.oneClick).toBe(false);
  expect(listOf('List-Unsubscribe: <http://news.example/u>', post)?.unsubscribe.oneClick).toBe(false);
});

test.each([
  ['List-Id: <a.example.org>', { id: 'a.example.org' }],
  ['List-Id: a.example.org', { id: 'a.example.org' }],
  ['List-Id: =?utf-8?Q?B=C3=BCro?= <a.example.org>', { id: 'a.example.org', name: 'Büro' }],
  ['List-Id: "Say \\"a\\" <b>" <a.example.org>', { id: 'a.example.org', name: 'Say "a" <b>' }],
  ['List-Id: Name <a.example.org', { id: 'a.example.org', name: 'Name' }],
  ['List-Id:', {}],
  ['List-Post: NO (moderated)', {}],
  ['Precedence: List', {}],
  ['List-Help: <https://example.org>', {}],
])('%s', (field, holds) => {
  expect(listOf(field)).toEqual({ ...NOTHING, ...holds });
});

test.each([
  // RFC 2369 §2: white space inside of brackets is ignored, what is outside of them is comment.
  ['<https://example.org/a\r\n  b>', ['https://example.org/ab']],
  ['Use this: <https://example.org/a> (or write to us)', ['https://example.org/a']],
  ['https://example.org/a, mailto:b@example.org', ['https://example.org/a']],
  ['=?us-ascii?Q?=3Chttps=3A=2F=2Fexample=2Eorg=2Fa=3E?=', ['https://example.org/a']],
  ['<ftp://example.org>, <javascript:alert(1)>, <>', []],
])('List-Unsubscribe: %s', (value, web) => {
  expect(listOf(`List-Unsubscribe: ${value}`)?.unsubscribe.web).toEqual(web);
});

test('what came through no list has no such field', () => {
  const document = parsed(plain(['Precedence: bulk', 'Subject: List-Id: a'], 'List-Id: <a.example.org>'));
  expect(document).not.toHaveProperty('list');
});

test('is told by the header alone, as filters do', () => {
  expect(isListMail((key) => (key === 'list-unsubscribe' ? ['<mailto:a@b>'] : []))).toBe(true);
  expect(isListMail(() => [])).toBe(false);
});

test('of many addresses some are given, and none of them is long', () => {
  const many = Array.from({ length: 5000 }, (_, n) => `<https://example.org/${n}>`).join(', ');
  expect(listOf(`List-Unsubscribe: ${many}`)?.unsubscribe.web).toHaveLength(20);
  const long = `List-Unsubscribe: <https://example.org/${'x'.repeat(100_000)}>`;
  expect(listOf(long)?.unsubscribe.web).toEqual([]);
});

test('any values give a valid document', () => {
  const names = fc.constantFrom(
    'List-Id',
    'List-Unsubscribe',
    'List-Unsubscribe-Post',
    'List-Post',
    'Precedence',
  );
  const value = fc.string({
    unit: fc.constantFrom('<', '>', '"', ',', '\\', ' ', 'a', 'mailto:', 'https://', '=?', '?='),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(names, value), { minLength: 1 }), (fields) => {
      parsed(plain(fields.map(([name, text]) => `${name}: ${text}`)));
    }),
  );
});
