/** What a mailbox tells of how fast it is: since when mail waits, the last push, and the delay until it is published. */
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { createHarness, mail, OPERATION_MS } from './harness.ts';

const SECOND = 1_000;
const HOUR = 3_600_000;

test('the delay is measured of what arrives while we watch, in percentiles', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  // There before: hours old, which says nothing of us.
  server.deliver('INBOX', mail('before'), { internalDate: new Date(clock.now() - 5 * HOUR) });
  await harness.watch();
  await harness.idle();
  expect(harness.report()).toMatchObject({ stored: 1, delay: null });

  for (let n = 1; n <= 40; n++) {
    await server.idle();
    server.deliver('INBOX', mail(`m${n}`), { internalDate: new Date(clock.now() - n * SECOND) });
    await harness.until(({ stored }) => stored === n + 1);
  }
  const percentiles = { p50: 20 * SECOND, p95: 38 * SECOND, p99: 40 * SECOND, max: 40 * SECOND };
  expect(harness.report().delay).toEqual({ count: 40, ...percentiles });
});

test('the last 256 messages count, and a server’s clock that is ahead gives no negative delay', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  await harness.watch();
  await server.idle();
  server.deliver('INBOX', mail('slow'), { internalDate: new Date(clock.now() - 50 * SECOND) });
  await harness.until(({ stored }) => stored === 1);
  expect(harness.report().delay).toMatchObject({ count: 1, max: 50 * SECOND });
  await server.idle();
  for (let n = 1; n <= 256; n++)
    server.deliver('INBOX', mail(`m${n}`), { internalDate: new Date(clock.now() + 30 * SECOND) });
  await harness.until(({ stored }) => stored === 257);
  expect(harness.report().delay).toEqual({ count: 256, p50: 0, p95: 0, p99: 0, max: 0 });
});

test('old mail that somebody moves here is no delay; an outage is', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  await harness.watch();
  await server.idle();
  server.deliver('INBOX', mail('moved'), { internalDate: new Date(clock.now() - 5 * HOUR) });
  await harness.until(({ stored }) => stored === 1);
  expect(harness.report().delay).toBeNull();

  await server.idle();
  const lost = [...server.sessions][0]!;
  const arrivedAt = clock.now();
  server.script = ({ name }) => name === 'LOGIN';
  lost.destroy();
  server.deliver('INBOX', mail('meanwhile'), { internalDate: new Date(arrivedAt) });
  await harness.until(() => harness.failures() === 1);
  clock.advance(10 * 60 * SECOND);
  server.script = undefined;
  await harness.survive();
  await harness.until(({ stored }) => stored === 2);
  expect(harness.report().delay).toMatchObject({ count: 1 });
  expect(harness.report().delay!.max).toBeGreaterThanOrEqual(10 * 60 * SECOND);
});

test('a push is told apart from what we found by asking', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  server.deliver('INBOX', mail('there'));
  await harness.watch();
  await server.idle();
  expect(harness.report().lastPushAt).toBeNull();
  clock.advance(7 * SECOND);
  server.deliver('INBOX', mail('pushed'));
  await harness.until(({ stored }) => stored === 2);
  expect(harness.report().lastPushAt).toBe(clock.now());
});

test('where the server does not push there is no push to tell of', async () => {
  await using harness = await createHarness({ capabilities: [] });
  const { server, clock } = harness;
  await harness.watch();
  await harness.until(({ state }) => state === 'polling');
  server.deliver('INBOX', mail('one'));
  await harness.until(() => clock.timers().length > 0);
  clock.advance(60 * SECOND);
  await harness.until(({ stored }) => stored === 1);
  expect(harness.report().lastPushAt).toBeNull();
});

test('the oldest waiting is told since when it is known, also while others come and go', async () => {
  await using harness = await createHarness();
  const { server, clock, intake } = harness;
  await harness.watch();
  await server.idle();
  expect(harness.report().oldestWaiting).toBeNull();

  // A stranger's file lies in the place of the first one.
  intake.gate = async ({ uid }) => {
    if (uid === 1) throw new MailwatchdError('FILE_EXISTS', { where: '/var/spool/mailwatchd/1.json' });
  };
  const knownAt = clock.now();
  server.deliver('INBOX', mail('stuck'));
  await harness.until(({ reason }) => reason?.startsWith('FILE_EXISTS') === true);
  expect(harness.report()).toMatchObject({ missing: 1, oldestWaiting: knownAt });

  await server.idle();
  clock.advance(30 * SECOND);
  server.deliver('INBOX', mail('well'));
  await harness.until(({ stored }) => stored === 1);
  expect(harness.report()).toMatchObject({ missing: 1, oldestWaiting: knownAt });

  intake.gate = null;
  harness.nudge();
  await harness.until(({ missing }) => missing === 0);
  expect(harness.report().oldestWaiting).toBeNull();
});

test('a server that does not answer the question for its quota keeps nothing waiting, and is asked once a day', async () => {
  await using harness = await createHarness();
  const { server, clock, ledger } = harness;
  ledger.owesAfterActions = true;
  server.capabilities.push('QUOTA');
  server.script = ({ name }) => name === 'GETQUOTAROOT';
  server.deliver('INBOX', mail('one'));
  const asked = server.seen(/^GETQUOTAROOT/);
  await harness.watch({ account: { after: { seen: true, move: null, delete: false } } });
  await asked;
  expect(server.commands.some((line) => line.startsWith('UID STORE'))).toBe(true);
  expect(harness.report()).toMatchObject({ stored: 1, missing: 0 });
  for (let look = 0; look < 4; look++) clock.advance(OPERATION_MS / 4);
  await harness.retry(1);
  await server.idle();
  server.deliver('INBOX', mail('two'));
  await harness.until(({ stored }) => stored === 2);
  expect(server.commands.filter((line) => line.startsWith('GETQUOTAROOT'))).toHaveLength(1);
});
