/** Logging in by an access token: by what the server offers, once more with another one, and never in a storm. */
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { fault } from '../../src/mailbox/faults.ts';
import { PROVIDERS } from '../../src/providers/index.ts';
import { createHarness } from './harness.ts';

const TOKEN = 'ya29.access-canary';
const credential = async () => ({ accessToken: TOKEN });

test.each([
  [['AUTH=XOAUTH2', 'SASL-IR'], 'XOAUTH2'],
  [['AUTH=XOAUTH2'], 'XOAUTH2'],
  [['AUTH=PLAIN', 'AUTH=OAUTHBEARER', 'AUTH=XOAUTH2', 'SASL-IR'], 'OAUTHBEARER'],
  [['AUTH=OAUTHBEARER'], 'OAUTHBEARER'],
])('%j: %s', async (capabilities, mechanism) => {
  await using harness = await createHarness({ capabilities: ['IDLE', ...capabilities] });
  harness.server.accessTokens.add(TOKEN);
  await harness.watch({ account: { credential } });
  await harness.idle();
  expect(harness.server.commands).toContain(`AUTHENTICATE ${mechanism}`);
});

test('a server that offers neither is told as such, and the token is not sent', async () => {
  await using harness = await createHarness({ capabilities: ['AUTH=PLAIN'] });
  await harness.watch({ account: { credential } });
  const { reason } = await harness.until(({ state }) => state === 'failing');
  expect(reason).toMatch(/^AUTH_LOGIN_DISABLED: .*neither OAUTHBEARER nor XOAUTH2/);
  expect(harness.server.commands.filter((command) => /AUTHENTICATE|LOGIN/.test(command))).toEqual([]);
});

test('a refused token is replaced at once; nobody hears of it', async () => {
  await using harness = await createHarness({ capabilities: ['IDLE', 'AUTH=XOAUTH2', 'SASL-IR'] });
  harness.server.accessTokens.add('another');
  const refused: (string | undefined)[] = [];
  await harness.watch({
    account: {
      credential: async (token) => {
        refused.push(token);
        return { accessToken: token === undefined ? TOKEN : 'another' };
      },
    },
  });
  await harness.idle();
  expect(refused).toEqual([undefined, TOKEN]);
  expect(harness.failures()).toBe(0);
});

test('a token that is refused for good: some logins an hour, and its reason without the token', async () => {
  await using harness = await createHarness({ capabilities: ['AUTH=OAUTHBEARER', 'SASL-IR'] });
  let count = 0;
  // The worst case: each time there is another one.
  await harness.watch({ account: { credential: async () => ({ accessToken: `${TOKEN}${count++}` }) } });
  const begun = harness.clock.now();
  const until = begun + 3_600_000;
  for (let failures = 1; harness.clock.now() < until; failures++) {
    const { reason } = await harness.retry(failures);
    expect(reason).toMatch(/^AUTH_FAILED: .*\(invalid_token\): check `user` and `scope`/);
  }
  // 15 s to 15 min between two tries, at half of the jitter; two logins each.
  expect(harness.server.connections()).toBeLessThanOrEqual(24);
  expect(harness.logged.join()).not.toContain(TOKEN);
});

test('a login that is needed is looked for, and nothing is asked of the server', async () => {
  await using harness = await createHarness({ capabilities: ['IDLE', 'AUTH=XOAUTH2'] });
  harness.server.accessTokens.add(TOKEN);
  let loggedIn = false;
  await harness.watch({
    account: {
      credential: async () => {
        if (!loggedIn)
          throw new MailwatchdError('OAUTH_LOGIN_NEEDED', { remedy: 'mailwatchd login support' });
        return { accessToken: TOKEN };
      },
    },
  });
  for (let failures = 1; failures <= 5; failures++) {
    const report = await harness.retry(failures);
    expect(report).toMatchObject({ state: 'failing', healthy: false });
    expect(report.reason).toMatch(/^OAUTH_LOGIN_NEEDED: .*mailwatchd login support/);
  }
  expect(harness.server.connections()).toBe(0);
  loggedIn = true;
  harness.nudge();
  expect(await harness.idle()).toMatchObject({ healthy: true });
});

const decoded = (run: string) => Buffer.from(run, 'base64').toString('latin1');

test.each(
  ['AUTH=XOAUTH2', 'AUTH=OAUTHBEARER'].flatMap((mechanism) =>
    // The token stands at each alignment of base64.
    ['a@example.org', 'an@example.org', 'ann=,@example.org'].map((user) => [mechanism, user] as const),
  ),
)('%s of %s: no answer brings the token into an error or a log', async (mechanism, user) => {
  await using harness = await createHarness({ capabilities: [mechanism, 'SASL-IR'] });
  harness.server.script = ({ name, tag, rest, session }) => {
    if (name !== 'AUTHENTICATE') return false;
    const sent = rest.split(' ')[1]!;
    session.send(`${tag} NO you sent ${sent} and ${decoded(sent)}`);
    return true;
  };
  await harness.watch({ account: { credential, user } });
  const { reason } = await harness.until(({ state }) => state === 'failing');
  const told = `${reason}${harness.logged.join()}`;
  expect(told).toContain('[secret]');
  const runs = told.match(/[A-Za-z0-9+/=]{8,}/g) ?? [];
  for (const text of [told, ...runs.map(decoded)]) expect(text).not.toMatch(/ccess-cana/);
});

test('Microsoft’s refusal of a token does not ask for OAuth2', () => {
  const refused = { authenticationFailed: true, responseText: 'AUTHENTICATE failed.', responseStatus: 'NO' };
  const host = 'outlook.office365.com';
  const provider = PROVIDERS.microsoft365;
  const context = { where: host, host, provider, bye: undefined, secrets: [], byToken: true };
  expect(fault(refused, context)).toMatchObject({ code: 'AUTH_FAILED' });
  expect(fault(refused, { ...context, byToken: false })).toMatchObject({ code: 'AUTH_BASIC_DISABLED' });
});
