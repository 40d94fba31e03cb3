/** A folder numbered anew: what is known is not published again, what is new is, and a flood waits for the operator. */
import { expect, test } from 'vitest';
import type { Harness } from './harness.ts';
import { createHarness, mail, RECONCILE_MS } from './harness.ts';

const NEW_VALIDITY = 1_800_000_000;
const before = new Date(Date.UTC(2026, 10, 20, 11));
/** After the clock's 12:00 plus a reconciliation: later than any change in these tests. */
const after = new Date(Date.UTC(2026, 10, 20, 18));

/** Changes the folder at its next SELECT: until then an open folder looks as it did (RFC 3501 §2.3.1.1). */
async function atReconciliation(
  { server, clock, ledger, until }: Harness,
  change: () => void,
): Promise<void> {
  server.script = ({ name }) => {
    if (name !== 'SELECT') return false;
    server.script = undefined;
    server.folders.get('INBOX')!.uidValidity = NEW_VALIDITY;
    change();
    return false;
  };
  clock.advance(RECONCILE_MS);
  await until(() => ledger.epochs.length === 2);
}

/** Gives the folder a new UIDVALIDITY and other UIDs, and lets the mailbox notice. */
const renumber = (harness: Harness, offset = 100) =>
  atReconciliation(harness, () => {
    const folder = harness.server.folders.get('INBOX')!;
    for (const message of folder.messages) message.uid += offset;
    folder.uidNext = (folder.messages.at(-1)?.uid ?? 0) + 1;
  });

const subjects = ({ intake }: Harness) =>
  intake.published.map(({ source }) => /Subject: (.*)\r/.exec(source)![1]);

test('messages that are known by Message-ID and size are carried over, not published again', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  for (const name of ['one', 'two', 'three']) server.deliver('INBOX', mail(name), { internalDate: before });
  await harness.watch();
  await server.idle();
  await renumber(harness);
  await harness.until(({ state, stored }) => state === 'idle' && stored === 3);
  expect(ledger.states()).toEqual({ 101: 'carried', 102: 'carried', 103: 'carried' });
  expect(subjects(harness)).toEqual(['one', 'two', 'three']);
  expect(server.commands.filter((command) => /BODY\.PEEK\[\]/.test(command))).toHaveLength(1);
  expect(harness.report()).toMatchObject({ expected: 3, stored: 3, missing: 0 });
});

test('what arrived while the folder was numbered anew is published', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', mail('one'), { internalDate: before });
  await harness.watch();
  await server.idle();
  await harness.stop();
  server.deliver('INBOX', mail('meanwhile'), { internalDate: before });
  const folder = server.folders.get('INBOX')!;
  folder.uidValidity = NEW_VALIDITY;
  await harness.watch();
  await server.idle();
  expect(subjects(harness)).toEqual(['one', 'meanwhile']);
  expect(ledger.states()).toEqual({ 1: 'carried', 2: 'published' });
});

test('a message that really came twice stays twice; twins are told apart by their bytes', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  const twin = mail('twin', null);
  const other = mail('twin', null).replace('Hello', 'Hallo');
  for (const source of [twin, twin, other]) server.deliver('INBOX', source, { internalDate: before });
  await harness.watch();
  await server.idle();
  await harness.stop();
  // One of the twins is gone, a third one came: of three equal ones two are known.
  const folder = server.folders.get('INBOX')!;
  folder.uidValidity = NEW_VALIDITY;
  server.deliver('INBOX', twin, { internalDate: before });
  await harness.watch();
  await server.idle();
  expect(harness.intake.published).toHaveLength(4);
  expect(ledger.states()).toEqual({ 1: 'carried', 2: 'carried', 3: 'carried', 4: 'published' });
});

test('a Message-ID that ledger and server read differently does not publish a message twice', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', mail('one'), { internalDate: before });
  await harness.watch();
  await server.idle();
  ledger.rows.get(1)!.get(1)!.messageId = 'something else';
  await renumber(harness);
  await harness.until(() => ledger.states()[101] === 'carried');
  await server.idle();
  expect(subjects(harness)).toEqual(['one']);
});

test('start: new takes only candidates since the mailbox is watched', async () => {
  await using harness = await createHarness();
  const { server } = harness;
  server.deliver('INBOX', mail('old'), { internalDate: before });
  await harness.watch({ account: { start: { kind: 'new' } } });
  await server.idle();
  const during = new Date(harness.clock.now() + 60_000);
  server.deliver('INBOX', mail('during'), { internalDate: during });
  await harness.until(({ stored }) => stored === 1);
  await server.idle();
  await renumber(harness);
  await harness.until(({ state }) => state === 'idle');
  expect(subjects(harness)).toEqual(['during']);
  expect(harness.report()).toMatchObject({ expected: 1, stored: 1 });
});

test('an old message that comes after the change is compared before it is published', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', mail('one'), { internalDate: before });
  server.deliver('INBOX', mail('two'), { internalDate: before });
  await harness.watch();
  await server.idle();
  // The server's restore is still going on: first one message is back, then the other, then new mail comes.
  await atReconciliation(harness, () => {
    const folder = server.folders.get('INBOX')!;
    folder.messages.length = 1;
    folder.messages[0]!.uid = 101;
    folder.uidNext = 102;
  });
  await harness.until(({ state }) => state === 'idle');
  await server.idle();
  server.deliver('INBOX', mail('two'), { internalDate: before });
  await harness.until(() => ledger.states()[102] === 'carried');
  await server.idle();
  server.deliver('INBOX', mail('three'), { internalDate: after });
  await harness.until(() => ledger.states()[103] === 'published');
  expect(subjects(harness)).toEqual(['one', 'two', 'three']);
});

test('more than a hundred old messages that match nothing wait for the operator', async () => {
  await using harness = await createHarness();
  const { server, ledger, clock } = harness;
  server.deliver('INBOX', mail('known'), { internalDate: before });
  await harness.watch();
  await server.idle();
  await atReconciliation(harness, () => {
    for (let number = 1; number <= 101; number++)
      server.deliver('INBOX', mail(`strange${number}`), { internalDate: before });
  });
  const report = await harness.until(({ state }) => state === 'holding');
  expect(report.healthy).toBe(false);
  expect(report.reason).toContain('mailwatchd adopt support/INBOX');
  expect(ledger.epochs[1]).toMatchObject({ held: 101, compared: false });
  expect(subjects(harness).filter((subject) => subject!.startsWith('strange'))).toEqual([]);

  // Looked at again each minute; then the operator decides, and the daemon is nudged.
  const looked = server.seen(/^SELECT/);
  clock.advance(60_000);
  await looked;
  await harness.until(() => clock.timers().includes(60_000));
  Object.assign(ledger.epochs[1]!, { held: null, compared: true });
  harness.nudge();
  await harness.until(({ state }) => state === 'idle');
  expect(harness.intake.published).toHaveLength(102);
  expect(harness.report()).toMatchObject({ healthy: true, reason: null });
});

test('a hundred are published unasked', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', mail('known'), { internalDate: before });
  await harness.watch();
  await server.idle();
  await harness.stop();
  for (let number = 1; number <= 100; number++)
    server.deliver('INBOX', mail(`strange${number}`), { internalDate: before });
  server.folders.get('INBOX')!.uidValidity = NEW_VALIDITY;
  await harness.watch();
  await server.idle();
  expect(ledger.epochs[1]!.compared).toBe(true);
  expect(harness.intake.published).toHaveLength(101);
});
