/** A folder in which nothing moved is not searched again; one in which something did, or may have, is. */
import { expect, test } from 'vitest';
import { createHarness, type Harness, mail, RECONCILE_MS } from './harness.ts';

const DAY = 86_400_000;

/** Moves the clock on until the folder is compared again, and waits until that is done. */
async function compare({ server, clock }: Harness, milliseconds = RECONCILE_MS): Promise<void> {
  await server.idle();
  server.commands.length = 0;
  const selected = server.seen(/^SELECT/);
  clock.advance(milliseconds);
  await selected;
  await server.seen(/^IDLE/);
}

/** How often all of the folder was searched since the last comparison began. */
const searches = ({ server }: Harness) =>
  server.commands.filter((line) => line === 'UID SEARCH UID 1:*' || line === 'UID SEARCH UID 1:2').length;

/** A folder with two messages that has been compared since they were fetched. */
async function quietFolder(): Promise<Harness> {
  const harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  harness.server.deliver('INBOX', mail('two'));
  await harness.watch({ account: { idleRenewEvery: 2 * DAY } });
  await harness.server.idle();
  await compare(harness);
  expect(searches(harness)).toBe(1);
  return harness;
}

test('once it was compared, SELECT is all that it costs, also at a reconnect', async () => {
  await using harness = await quietFolder();
  const { server } = harness;
  await compare(harness);
  expect(server.commands).toEqual(['DONE', 'SELECT INBOX', 'IDLE']);
  for (const session of server.sessions) session.destroy();
  await harness.retry(1);
  await harness.idle();
  await server.idle();
  expect(server.commands.filter((line) => line.startsWith('UID'))).toEqual([]);
  expect(harness.report()).toMatchObject({ expected: 2, stored: 2, missing: 0, healthy: true });
});

test('what is removed is noticed, and compared', async () => {
  await using harness = await quietFolder();
  harness.server.folders.get('INBOX')!.messages.shift();
  await compare(harness);
  expect(searches(harness)).toBe(1);
  expect(harness.report()).toMatchObject({ expected: 1, stored: 1 });
});

test('what SEARCH leaves out is looked for again and again, however often it did', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  server.deliver('INBOX', mail('two'));
  server.script = ({ name, tag, session }) => {
    if (name !== 'UID SEARCH') return undefined;
    session.send('* SEARCH 2', `${tag} OK found`);
    return true;
  };
  await harness.watch({ account: { idleRenewEvery: 2 * DAY } });
  for (let comparison = 0; comparison < 3; comparison++) await compare(harness);
  expect(intake.published.map(({ uid }) => uid)).toEqual([2]);
  server.script = undefined;
  harness.clock.advance(RECONCILE_MS);
  await harness.until(({ stored }) => stored === 2);
});

test('where only some of its mail is wanted that is searched each time', async () => {
  await using harness = await createHarness();
  const { server } = harness;
  server.deliver('INBOX', mail('one'));
  await harness.watch({ account: { start: { kind: 'new' }, idleRenewEvery: 2 * DAY } });
  await server.idle();
  server.deliver('INBOX', mail('two'));
  await harness.until(({ stored }) => stored === 1);
  for (let comparison = 0; comparison < 3; comparison++) {
    await compare(harness);
    expect(server.commands.filter((line) => line.startsWith('UID SEARCH UID 2:'))).not.toEqual([]);
  }
});

test('once a day everything is compared all the same', async () => {
  await using harness = await quietFolder();
  const folder = harness.server.folders.get('INBOX')!;
  const [first] = folder.messages;
  folder.messages[0] = { ...first!, uid: 0 };
  await compare(harness);
  expect(searches(harness)).toBe(0);
  folder.messages[0] = first!;
  await compare(harness, DAY);
  expect(searches(harness)).toBe(1);
});

test('somebody who asks for a look gets a comparison', async () => {
  await using harness = await quietFolder();
  const { server } = harness;
  server.commands.length = 0;
  const again = server.seen(/^IDLE/);
  harness.nudge();
  await again;
  expect(searches(harness)).toBe(1);
});
