/** The servers of providers as they are: how they are talked to, and what their refusals are taken for. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { MailwatchdError } from '../../src/errors.ts';
import type { ConnectAccountOptions } from '../../src/mailbox/account.ts';
import { PROVIDERS, type ProviderName } from '../../src/providers/index.ts';
import { MANNERS, type Manners, REFUSALS, type RefusalSeen } from '../servers/providers.ts';
import { type Script, startScriptedServer } from '../servers/scripted.ts';
import { collectLog, createHarness, mail, PASSWORD, probeAlone } from './harness.ts';

const TOKEN = 'ya29.access-canary';

const settings = (port: number, provider: ProviderName | null, credential: object) => ({
  name: 'support',
  host: '127.0.0.1',
  port,
  security: 'none' as const,
  provider,
  ca: null,
  user: 'ann@example.org',
  credential: async () => credential as { password: string },
  start: { kind: 'all' } as const,
  filter: null,
  after: { seen: false, move: null, delete: false },
  pollEvery: 60_000,
  idleRenewEvery: 300_000,
});

const options = (): ConnectAccountOptions => ({
  limits: { messageBytes: 1024 * 1024, operationSeconds: 60 },
  clock: systemClock,
  log: collectLog([]),
  takeTurn: async () => undefined,
  signal: new AbortController().signal,
});

describe.each(Object.entries(MANNERS) as [ProviderName, Manners][])('%s', (provider, manners) => {
  test.each(['password', 'token'])('is logged in to by %s, and pushes new mail', async (kind) => {
    const { greeting, capabilities } = manners;
    await using server = await startScriptedServer({ greeting, capabilities });
    server.accessTokens.add(TOKEN);
    server.deliver('INBOX', mail('one'));
    const takesTokens = capabilities.some((capability) => capability === 'AUTH=XOAUTH2');
    if (kind === 'token' && !takesTokens) return;
    const credential = kind === 'token' ? { accessToken: TOKEN } : { password: PASSWORD };
    const probe = await probeAlone(settings(server.port, provider, credential), 'INBOX', options());
    expect(probe).toMatchObject({ messages: 1, idle: true });
  });
});

/** Answers as the refusal has it, and says goodbye as Exchange does. */
const script =
  ({ at, answer }: RefusalSeen): Script =>
  ({ name, tag, session }) => {
    if (!(at === 'folder' ? ['SELECT', 'EXAMINE'] : ['LOGIN', 'AUTHENTICATE']).includes(name)) return false;
    session.send(`${tag} ${answer}`);
    return true;
  };

async function refused(seen: RefusalSeen): Promise<MailwatchdError> {
  const capabilities = ['IDLE', 'SASL-IR', ...(seen.at === 'token' ? ['AUTH=XOAUTH2'] : [])];
  await using server = await startScriptedServer({ capabilities, script: script(seen) });
  server.accessTokens.add(TOKEN);
  const credential = seen.at === 'token' ? { accessToken: TOKEN } : { password: PASSWORD };
  return await probeAlone(settings(server.port, seen.provider, credential), 'INBOX', options()).then(
    () => {
      throw new Error('the probe did not fail');
    },
    (error) => error,
  );
}

test.each(REFUSALS)('$provider: $answer', async (seen) => {
  const error = await refused(seen);
  expect(error).toMatchObject({ code: seen.code, retryAfter: seen.retryAfter });
  const said = seen.answer.replace(/^(NO|BAD) (\[\w+\] )?/, '').replace(/\.$/, '');
  expect(error.message).toContain(said);
  if (seen.provider !== null) expect(error.remedy).toBeDefined();
});

test('each refusal that a provider has words for has been seen', () => {
  for (const [provider, { refusals }] of Object.entries(PROVIDERS)) {
    // Outlook.com and AOL have those of the servers that they are on.
    if (provider === 'outlook' || provider === 'aol') continue;
    const seen = REFUSALS.filter((each) => each.provider === provider).map(({ answer }) => answer);
    for (const { words } of refusals)
      expect([provider, words, seen.some((answer) => words.test(answer))]).toEqual([provider, words, true]);
  }
});

test('a password is not what a server lacks that offers no login by password', async () => {
  // https://github.com/jstedfast/MailKit/issues/2016
  await using server = await startScriptedServer({ capabilities: ['AUTH=XOAUTH2', 'LOGINDISABLED', 'IDLE'] });
  const probe = probeAlone(settings(server.port, 'microsoft365', { password: PASSWORD }), 'INBOX', options());
  await expect(probe).rejects.toMatchObject({ code: 'AUTH_BASIC_DISABLED' });
});

test.each([
  ['Suggested Backoff Time: 299961 milliseconds', 299_961],
  ['Suggested Backoff Time: 3000000 milliseconds', 3_000_000],
  // Ten years: no server keeps a mailbox away for that long.
  ['Suggested Backoff Time: 315360000000 milliseconds', 3_600_000],
])('a mailbox that is told «%s» waits so long, then comes back', async (told, wait) => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  let throttled = true;
  server.script = ({ name, tag, session }) => {
    if (name !== 'SELECT' || !throttled) return false;
    session.send(`${tag} BAD Request is throttled. ${told}`, '* BYE Connection closed. 14');
    return true;
  };
  await harness.watch({ account: { provider: 'microsoft365' } });
  const { reason } = await harness.until(() => harness.failures() === 1 && clock.timers().length === 1);
  expect(reason).toMatch(/^SERVER_UNAVAILABLE: .*Request is throttled.*Exchange throttles this account/);
  // The jitter comes on top.
  expect(clock.timers()).toEqual([wait + 750]);
  clock.advance(wait);
  expect(server.connections()).toBe(1);
  throttled = false;
  clock.advance(750);
  expect(await harness.idle()).toMatchObject({ healthy: true });
});

test('another server that names a wait is left alone as well', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  server.script = ({ name, tag, session }) => {
    if (name !== 'LOGIN') return false;
    session.send(`${tag} NO [LIMIT] Too many logins, try again in 2 minutes`);
    return true;
  };
  await harness.watch();
  await harness.until(() => harness.failures() === 1 && clock.timers().length === 1);
  expect(clock.timers()).toEqual([120_750]);
});
