/** Where a canary is sent: by the least that is needed, or refused with what is wrong. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { leavesOf, smtpSchema } from '../../src/config/schema.ts';
import { secretsOf } from '../../src/config/types.ts';
import { account, faults, load } from './temporary.ts';

const one = (smtp: unknown, more: object = {}) => ({
  accounts: [account({ canary: { every: '15m', smtp }, ...more })],
});

test('a host is enough: the account logs in, and writes to itself', async () => {
  const { config } = await load(one({ host: 'smtp.example.org' }));
  const user = 'support@example.org';
  expect(config.accounts[0]!.canary).toEqual({
    every: 900_000,
    folder: 'mailwatchd-canary',
    smtp: {
      host: 'smtp.example.org',
      port: 465,
      security: 'tls',
      user,
      password: null,
      from: user,
      to: user,
    },
  });
});

test('everything can be said', async () => {
  const given = {
    host: '127.0.0.1',
    port: 2525,
    security: 'none',
    user: 'relay',
    password: { env: 'RELAY' },
    from: 'a@example.org',
    to: 'b+canary@example.org',
  };
  const [loaded] = (await load(one(given, { user: 'plain' }))).config.accounts;
  expect(loaded!.canary!.smtp).toEqual(given);
  expect(secretsOf(loaded!)).toEqual([{ file: '/run/secrets/absent' }, { env: 'RELAY' }]);
  const starttls = await load(one({ host: 'smtp.example.org', security: 'starttls' }));
  expect(starttls.config.accounts[0]!.canary!.smtp!.port).toBe(587);
});

test('null is none', async () => {
  expect((await load(one(null))).config.accounts[0]!.canary!.smtp).toBeNull();
});

const KEY = 'accounts[0].canary.smtp';
const HOST = 'smtp.example.org';
test.each([
  ['no mapping', HOST, `${KEY}: expected a mapping of keys, found a string`],
  ['no host', {}, /^.*smtp\.host: expected a host name or an IP address, found nothing$/],
  ['a URL', { host: 'smtp://x' }, `${KEY}.host: expected a host name or an IP address, found another string`],
  ['a port of text', { host: HOST, port: '587' }, /smtp\.port: expected a whole number from 1 to 65535/],
  ['another security', { host: HOST, security: 'ssl' }, /smtp\.security: expected tls, starttls or none/],
  ['clear text', { host: HOST, security: 'none' }, /smtp\.security: none is for loopback hosts only/],
  ['no address', { host: HOST, to: 'bob' }, /smtp\.to: expected an e-mail address or null/],
  [
    'two lines',
    { host: HOST, from: 'a@example.org\r\nBcc: b@example.org' },
    /smtp\.from: expected an e-mail address/,
  ],
  [
    'no secret',
    { host: HOST, password: { fiel: 'x' } },
    /smtp\.password: expected a string, \{ file: PATH \}/,
  ],
  ['another key', { host: HOST, pasword: 'x' }, `${KEY}.pasword: unknown key, did you mean password?`],
])('%s is a fault', async (_what, smtp, message) => {
  expect(await faults(one(smtp))).toEqual([
    typeof message === 'string' ? message : expect.stringMatching(message),
  ]);
});

test('a user name that is no address is not taken for one', async () => {
  const message = "must be given, since the account's user is no e-mail address";
  expect(await faults(one({ host: HOST }, { user: 'bob' }))).toEqual([
    `${KEY}.from: ${message}`,
    `${KEY}.to: ${message}`,
  ]);
});

test('another user logs in with a password of his own', async () => {
  expect(await faults(one({ host: HOST, user: 'relay' }))).toEqual([
    `${KEY}.password: must be given, since the user is not the account's`,
  ]);
});

test('a plain password in a file that others can read is a fault here as well', async () => {
  const found = await faults(one({ host: HOST, password: 'hunter2' }), { mode: 0o644 });
  expect(found).toEqual([
    expect.stringMatching(/smtp\.password: a plain secret in a file that others can read/),
  ]);
});

test('config/mailwatchd.yaml tells every key', () => {
  const text = readFileSync(new URL('../../config/mailwatchd.yaml', import.meta.url), 'utf8');
  for (const key of [...leavesOf(smtpSchema).map(([name]) => name), 'password'])
    expect(text).toMatch(new RegExp(`^ {6}# +${key}: `, 'm'));
});
