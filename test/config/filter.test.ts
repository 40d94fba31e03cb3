/** Rules of `only` and `except`: what they become, and every fault at its place. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ruleSchema } from '../../src/config/schema.ts';
import { rule } from '../rules.ts';
import { account, faults, load, refusal } from './temporary.ts';

const withRules = (rules: Record<string, unknown>) => ({ accounts: [account(rules)] });
const filterOf = async (rules: Record<string, unknown>) =>
  (await load(withRules(rules))).config.accounts[0]?.filter;

test('a rule of everything', async () => {
  const everything = {
    name: 'all of it',
    sender: '@example.org',
    recipient: '/^sales@/',
    subject: '/invoice \\d+/i',
    headers: { 'X-Spam-Flag': 'YES', 'List-Id': true, 'X-Test': false, 'X-Kind': '/^a\\/b$/' },
    largerThan: '1kb',
    smallerThan: '5mb',
    olderThan: '2h',
    youngerThan: '30d',
    list: true,
    automatic: false,
    attachment: true,
  };
  expect(await filterOf({ only: [everything], except: [{ name: 'lists', list: true }] })).toEqual({
    only: [
      {
        name: 'all of it',
        sender: { contains: '@example.org' },
        recipient: { source: '^sales@', ignoreCase: false },
        subject: { source: 'invoice \\d+', ignoreCase: true },
        headers: [
          { name: 'x-spam-flag', test: { contains: 'YES' } },
          { name: 'list-id', test: true },
          { name: 'x-test', test: false },
          { name: 'x-kind', test: { source: '^a\\/b$', ignoreCase: false } },
        ],
        largerThan: 1024,
        smallerThan: 5 * 1024 ** 2,
        olderThan: 7_200_000,
        youngerThan: 30 * 86_400_000,
        list: true,
        automatic: false,
        attachment: true,
      },
    ],
    except: [rule('lists', { list: true })],
  });
});

test('no rules are no filter', async () => {
  expect(await filterOf({})).toBeNull();
  expect(await filterOf({ only: [], except: null })).toBeNull();
});

const TEXT = 'a text, or /a regular expression/ with or without an i behind it';

test.each<[string, Record<string, unknown>, string[]]>([
  ['no list', { only: 'x' }, ['accounts[0].only: expected a list of rules, found a string']],
  ['no rule', { except: ['x'] }, ['accounts[0].except[0]: expected a mapping of keys, found a string']],
  [
    'no name',
    { only: [{ list: true }] },
    ['accounts[0].only[0].name: expected a name of at most 100 characters, found nothing'],
  ],
  [
    'no condition',
    { only: [{ name: 'a' }] },
    ['accounts[0].only[0]: a rule without a condition would match every message'],
  ],
  [
    'a name twice',
    { only: [{ name: 'a', list: true }], except: [{ name: 'a', list: true }] },
    ['accounts[0].except[0].name: the same name a second time'],
  ],
  [
    'a mistyped key',
    { only: [{ name: 'a', subjct: 'x' }] },
    ['accounts[0].only[0].subjct: unknown key, did you mean subject?'],
  ],
  [
    'several faults',
    {
      except: [
        { name: 'a', subject: '/(/', largerThan: 5, list: 'yes' },
        { name: 'b', sender: '/x/g', recipient: '', olderThan: '1w', headers: { 'a b': 'c', 'X-N': 5 } },
      ],
    },
    [
      `accounts[0].except[0].subject: expected ${TEXT}, found a regular expression that RE2 refuses: missing closing )`,
      'accounts[0].except[0].largerThan: expected a size such as 64kb, 20mb or 1gb from 0b to 1gb, or null, found a number without a unit',
      'accounts[0].except[0].list: expected true, false or null, found a string',
      `accounts[0].except[1].sender: expected ${TEXT}, found one that begins with a slash and does not end in / or /i`,
      `accounts[0].except[1].recipient: expected ${TEXT}, found an empty one`,
      'accounts[0].except[1].olderThan: expected a duration such as 500ms, 60s, 5m, 2h or 14d from 1s to 36500d, or null, found a string',
      'accounts[0].except[1].headers.?: expected the name of a header field',
      `accounts[0].except[1].headers.X-N: expected ${TEXT}; true or false, found a number`,
    ],
  ],
])('%s', async (_, rules, expected) => {
  expect((await faults(withRules(rules))).toSorted()).toEqual(expected.toSorted());
});

test('what RE2 cannot match in linear time is refused, at its place and without its text', async () => {
  const text = await refusal(
    [
      'accounts:',
      '  - { name: a, host: h, user: u, password: { env: P }, start: new,',
      '      except: [{ name: r, subject: "/(?=secret)x/" }] }',
    ].join('\n'),
  );
  expect(text).toContain('(line 3, column 36)');
  expect(text).toContain('invalid or unsupported Perl syntax');
  expect(text).not.toContain('secret');
});

test.each(['docs/operations.md', 'config/mailwatchd.yaml'])('%s names every key of a rule', (file) => {
  const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  for (const key of [...Object.keys(ruleSchema), 'headers']) expect(text).toMatch(new RegExp(`\\b${key}\\b`));
});
