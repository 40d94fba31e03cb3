/** SIGHUP disturbs the mailboxes whose settings changed, and no other. */
import { describe, expect, test } from 'vitest';
import { describeChange } from '../../src/config/change.ts';
import { type Config, connectionsOf } from '../../src/config/types.ts';
import { account, load } from './temporary.ts';

const config = async (accounts: unknown[], more: Record<string, unknown> = {}): Promise<Config> =>
  (await load({ accounts, ...more })).config;

const mailboxes = ({ added, removed, changed }: ReturnType<typeof describeChange>) => {
  const names = (list: { account: string; folder: string }[]) =>
    list.map((mailbox) => `${mailbox.account}/${mailbox.folder}`);
  return { added: names(added), removed: names(removed), changed: names(changed) };
};

const NONE = { added: [], removed: [], changed: [] };
const two = [account({ name: 'a', user: 'a', folders: ['INBOX', 'X'] }), account({ name: 'b', user: 'b' })];

test('the same file changes nothing', async () => {
  const change = describeChange(await config(two), await config(two));
  expect(mailboxes(change)).toEqual(NONE);
  expect(change.needRestart).toEqual([]);
});

test('folders and accounts come and go without disturbing their neighbours', async () => {
  const next = [
    account({ name: 'a', user: 'a', folders: ['Y', 'INBOX'] }),
    account({ name: 'c', user: 'c' }),
  ];
  expect(mailboxes(describeChange(await config(two), await config(next)))).toEqual({
    added: ['a/Y', 'c/INBOX'],
    removed: ['a/X', 'b/INBOX'],
    changed: [],
  });
});

test('a canary comes, changes and goes without disturbing the folders beside it', async () => {
  const withCanary = (every: string) =>
    config([account({ name: 'a', user: 'a', folders: ['INBOX', 'X'], canary: { every } }), two[1]]);
  const canary = ['a/mailwatchd-canary'];
  const [none, some, other] = [await config(two), await withCanary('15m'), await withCanary('5m')];
  expect(mailboxes(describeChange(none, some))).toEqual({ ...NONE, added: canary });
  expect(mailboxes(describeChange(some, other))).toEqual({ ...NONE, changed: canary });
  expect(mailboxes(describeChange(other, none))).toEqual({ ...NONE, removed: canary });
});

test('a canary that is sent concerns every folder, since it may come into it; how it is sent does not', async () => {
  const sent = (smtp: object | null) =>
    config([account({ name: 'a', folders: ['INBOX', 'X'], canary: { every: '15m', smtp } })]);
  const [left, there, elsewhere] = [
    await sent(null),
    await sent({ host: 'smtp.example.org' }),
    await sent({ host: 'other.example.org' }),
  ];
  const all = ['a/INBOX', 'a/X', 'a/mailwatchd-canary'];
  expect(mailboxes(describeChange(left, there))).toEqual({ ...NONE, changed: all });
  expect(mailboxes(describeChange(there, left))).toEqual({ ...NONE, changed: all });
  expect(mailboxes(describeChange(there, elsewhere))).toEqual({ ...NONE, changed: ['a/mailwatchd-canary'] });
});

test('a canary takes two connections from folders that share them, or one where it is sent, which then are fewer for each', async () => {
  const folders = ['INBOX', 'A', 'B', 'C', 'D', 'E', 'F'];
  const some = (more: object) => config([account({ name: 'a', user: 'a', folders, ...more })]);
  const [none, with15m] = [await some({}), await some({ canary: { every: '15m' } })];
  const { added, changed } = mailboxes(describeChange(none, with15m));
  expect({ added, changed: changed.length }).toEqual({ added: ['a/mailwatchd-canary'], changed: 7 });
  const smtp = { host: 'smtp.example.org', from: 'a@example.org', to: 'a@example.org' };
  const sent = await some({ canary: { every: '15m', smtp } });
  const connections = [none, with15m, sent].map(({ accounts, limits }) =>
    connectionsOf(accounts[0]!, limits),
  );
  expect(connections).toEqual([8, 6, 7]);
});

describe('each setting of an account changes its mailboxes alone', () => {
  test.each([
    { host: 'other.example.org' },
    { port: 1993 },
    { security: 'starttls', port: 993 },
    { ca: '/etc/ca.pem' },
    { user: 'other' },
    { password: { file: '/run/secrets/other' } },
    { start: '2026-11-01' },
    { after: { seen: true } },
    { pollEvery: '30s' },
    { idleRenewEvery: '1m' },
  ])('%o', async (more) => {
    const next = [account({ name: 'a', user: 'a', folders: ['INBOX', 'X'], ...more }), two[1]];
    expect(mailboxes(describeChange(await config(two), await config(next)))).toEqual({
      ...NONE,
      changed: ['a/INBOX', 'a/X'],
    });
  });
});

test('folders that share connections now, or no longer, begin anew', async () => {
  const limits = { connectionsPerAccount: 2 };
  const three = [account({ name: 'a', user: 'a', folders: ['INBOX', 'X', 'Y'] }), two[1]];
  const change = describeChange(await config(two, { limits }), await config(three, { limits }));
  expect(mailboxes(change)).toEqual({ added: ['a/Y'], removed: [], changed: ['a/INBOX', 'a/X'] });
  const back = describeChange(await config(three, { limits }), await config(two, { limits }));
  expect(mailboxes(back)).toEqual({ added: [], removed: ['a/Y'], changed: ['a/INBOX', 'a/X'] });
});

test('another plain password is a change, though neither can be seen', async () => {
  const plain = (password: string) => config([account({ password })]);
  expect(mailboxes(describeChange(await plain('one'), await plain('two'))).changed).toEqual([
    'support/INBOX',
  ]);
  expect(mailboxes(describeChange(await plain('one'), await plain('one')))).toEqual(NONE);
});

test('what is not an account needs a restart, and is named; the daemon goes on with the old', async () => {
  const old = await config(two, { storage: { directory: '/a' } });
  const next = await config([two[0]], {
    storage: { directory: '/b' },
    limits: { parseSeconds: 5 },
    parsers: 7,
  });
  const change = describeChange(old, next);
  expect(change.needRestart).toEqual(['storage', 'limits', 'parsers']);
  expect(change.effective).toEqual({ ...old, accounts: next.accounts });
});
