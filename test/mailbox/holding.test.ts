/** Storage that cannot take mail: the mailbox holds, says so, and goes on with one message when it is mended. */
import { mkdirSync, rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { createHarness, mail } from './harness.ts';

const full = () => new MailwatchdError('STORAGE_FULL', { where: '/var/spool/mailwatchd' });

test('a full disk holds the mailbox; nothing is lost, and one message goes first afterwards', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  for (let uid = 1; uid <= 30; uid++) server.deliver('INBOX', mail(`m${uid}`));
  let tries = 0;
  intake.gate = async () => {
    throw new MailwatchdError('STORAGE_FULL', { where: `/var/spool/mailwatchd/${++tries}.json` });
  };
  await harness.watch();
  const report = await harness.until(({ state }) => state === 'holding');
  expect(report).toMatchObject({ healthy: false, stored: 0 });
  expect(report.reason).toMatch(/^STORAGE_FULL: \/var\/spool\/mailwatchd\//);
  const held = (times: number) =>
    harness.until(() => harness.logged.filter((line) => line.includes('mailbox_holding')).length === times);

  // Still full: one message is tried, after longer and longer waits.
  intake.mostWorking = 0;
  const waits: number[] = [];
  for (let holds = 1; holds <= 6; holds++) {
    await held(holds);
    waits.push(...clock.timers());
    clock.advance(clock.timers()[0]!);
  }
  await held(7);
  // One trouble is one warning.
  expect(harness.logged.filter((line) => line.startsWith('warn mailbox_holding'))).toHaveLength(1);
  expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  expect(intake.mostWorking).toBe(1);
  expect(server.connections()).toBe(1);

  intake.gate = null;
  const sizes: number[] = [];
  server.script = ({ name, rest }) => {
    if (name === 'UID FETCH' && /BODY/.test(rest)) sizes.push(rest.split(' ')[0] === '1' ? 1 : 2);
    return false;
  };
  clock.advance(15_000);
  await server.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
  expect(sizes).toEqual([1, 2]);
  expect(harness.report()).toMatchObject({ healthy: true, reason: null, stored: 30, missing: 0 });
});

test('a message that is tried again and again is counted once', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  server.deliver('INBOX', mail('one'));
  await harness.watch();
  await server.idle();
  let tries = 0;
  intake.gate = async () => {
    tries++;
    throw full();
  };
  server.deliver('INBOX', mail('two'));
  for (let attempt = 1; attempt <= 3; attempt++) {
    await harness.until(() => tries === attempt && clock.timers().length === 1);
    expect(harness.report()).toMatchObject({ expected: 2, stored: 1, missing: 1 });
    clock.advance(clock.timers()[0]!);
  }
});

test('one message that cannot be stored does not make the others of its range lost or twice', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  for (let uid = 1; uid <= 5; uid++) server.deliver('INBOX', mail(`m${uid}`));
  let refuse = true;
  const slow = Promise.withResolvers<void>();
  intake.gate = async ({ uid }) => {
    if (uid === 3 && refuse) throw full();
    if (uid === 5) await slow.promise;
  };
  await harness.watch();
  await harness.until(() => intake.published.length === 3);
  // Not before the last one has landed: it would be fetched a second time.
  expect(harness.report().state).not.toBe('holding');
  refuse = false;
  slow.resolve();
  await harness.until(({ state }) => state === 'holding');
  clock.advance(1_000);
  await server.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2, 4, 5, 3]);
  expect(harness.report()).toMatchObject({ expected: 5, stored: 5, missing: 0 });
});

test('a large message that can neither be stored nor removed holds the mailbox as any other', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', `${mail('large')}${'x'.repeat(5 * 1024 * 1024)}`);
  intake.gate = async ({ source }) => {
    // A directory stands for a file that a disk, read-only by now, does not give up.
    const { file } = source as { file: string };
    rmSync(file);
    mkdirSync(file);
    throw full();
  };
  await harness.watch();
  const report = await harness.until(({ state }) => state === 'holding' || state === 'failing');
  expect(report).toMatchObject({ state: 'holding', reason: `STORAGE_FULL: ${full().message}` });
});

test('a hold waits for what is in flight of other ranges', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  for (let uid = 1; uid <= 300; uid++) server.deliver('INBOX', mail(`m${uid}`));
  let refuse = true;
  const slow = Promise.withResolvers<void>();
  intake.gate = async ({ uid }) => {
    if (uid === 3 && refuse) throw full();
    if (uid === 100) await slow.promise;
  };
  await harness.watch();
  await harness.until(() => intake.published.length === 126);
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(harness.report().state).not.toBe('holding');
  refuse = false;
  slow.resolve();
  await harness.until(({ state }) => state === 'holding');
  clock.advance(1_000);
  await server.idle();
  expect(intake.published).toHaveLength(300);
  expect(harness.logged.filter((line) => line.includes('twice'))).toEqual([]);
});

test('a hold that is over is forgotten: the next one begins with a second again', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  const fail = async () => {
    throw full();
  };
  const holds = () => harness.logged.filter((line) => line.includes('mailbox_holding')).length;
  intake.gate = fail;
  server.deliver('INBOX', mail('one'));
  await harness.watch();
  await harness.until(() => holds() === 1 && clock.timers().length === 1);
  clock.advance(1_000);
  await harness.until(() => holds() === 2 && clock.timers().length === 1);
  expect(clock.timers()).toEqual([2_000]);
  intake.gate = null;
  clock.advance(2_000);
  await server.idle();
  intake.gate = fail;
  server.deliver('INBOX', mail('two'));
  await harness.until(() => holds() === 3 && clock.timers().length === 1);
  expect(clock.timers()).toEqual([1_000]);
});

test("a stranger's file in one message's place is reported and stops no other message", async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  for (let uid = 1; uid <= 5; uid++) server.deliver('INBOX', mail(`m${uid}`));
  let taken = true;
  intake.gate = async ({ uid }) => {
    if (uid === 3 && taken) throw new MailwatchdError('FILE_EXISTS', { where: '/x/3.json' });
  };
  await harness.watch();
  await server.idle();
  expect(harness.report()).toMatchObject({
    state: 'idle',
    healthy: false,
    expected: 5,
    stored: 4,
    missing: 1,
  });
  expect(harness.report().reason).toContain('/x/3.json');
  server.deliver('INBOX', mail('six'));
  await harness.until(() => intake.published.length === 5);
  await server.idle();
  expect(harness.report().healthy).toBe(false);

  taken = false;
  clock.advance(60_000);
  await harness.until(({ healthy }) => healthy);
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2, 4, 5, 6, 3]);
});

test('a hold in the middle of the day does not count messages twice', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  await harness.watch();
  await server.idle();
  intake.gate = async () => {
    throw full();
  };
  server.deliver('INBOX', mail('one'));
  await harness.until(({ state }) => state === 'holding');
  expect(harness.report()).toMatchObject({ expected: 1, stored: 0, missing: 1 });
  intake.gate = null;
  clock.advance(1_000);
  await server.idle();
  expect(harness.report()).toMatchObject({ expected: 1, stored: 1, missing: 0 });
});

test('a ledger that fails holds the mailbox before anything is fetched', async () => {
  await using harness = await createHarness();
  const { server, ledger, intake, clock } = harness;
  server.deliver('INBOX', mail('one'));
  ledger.failure = new MailwatchdError('LEDGER_FAILED', { detail: 'database disk image is malformed' });
  await harness.watch();
  const report = await harness.until(({ state }) => state === 'holding');
  expect(report.reason).toContain('malformed');
  ledger.failure = null;
  clock.advance(1_000);
  await server.idle();
  expect(intake.published).toHaveLength(1);
});

test('scannedThrough never passes a message that is not stored', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger, clock } = harness;
  await harness.watch();
  await server.idle();
  intake.gate = async ({ uid }) => {
    if (uid === 1) throw full();
  };
  server.deliver('INBOX', mail('one'));
  await harness.until(({ state }) => state === 'holding');
  server.deliver('INBOX', mail('two'));
  expect(ledger.epochs[0]!.scannedThrough).toBe(0);
  intake.gate = null;
  clock.advance(1_000);
  await harness.until(({ stored }) => stored === 2);
  await server.idle();
  expect(ledger.epochs[0]!.scannedThrough).toBe(2);
});

test('a connection lost while holding is opened again', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  server.deliver('INBOX', mail('one'));
  intake.gate = async () => {
    throw full();
  };
  await harness.watch();
  await harness.until(({ state }) => state === 'holding');
  for (const session of server.sessions) session.destroy();
  intake.gate = null;
  clock.advance(1_000);
  await harness.retry(1);
  await server.idle();
  expect(intake.published).toHaveLength(1);
  expect(server.connections()).toBe(2);
});
