/** Servers that never stop sending: the connection ends, the cause has a name, and others have their turn. */
import { expect, test } from 'vitest';
import type { Command } from '../servers/scripted.ts';
import { createHarness, mail, OPERATION_MS } from './harness.ts';

const answering = (name: string, answer: (command: Command) => void) => (command: Command) => {
  if (command.name !== name) return false;
  answer(command);
  return true;
};

const ROW = '* 9 FETCH (UID 4000 FLAGS () BODY[]<0> {1}\r\nx)';

test.each([
  ['SELECT', '* OK and another thing'],
  ['SELECT', 'X123 OK whose is this'],
  ['SELECT', '+ go on'],
  ['UID SEARCH', '* SEARCH 5 6 7 8'],
  ['UID FETCH', '* 9 FETCH (UID 4000 FLAGS ())'],
  ['UID FETCH', ROW],
  ['IDLE', '* OK still here'],
])('%s answered without end by %s', async (name, line) => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  const lines = `${line}\r\n`.repeat(1000);
  server.script = answering(name, ({ session }) => {
    if (name === 'IDLE') session.send('+ idling');
    session.pour(() => lines);
  });
  await harness.watch();
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report.reason).toMatch(/^SERVER_PROTOCOL: .*more than 5000 responses/);
  // Before the system's own watchdogs had anything to do with it.
  expect(harness.clock.monotonic()).toBe(0);

  server.script = undefined;
  await harness.survive();
  expect(intake.published).toHaveLength(1);
});

test('few responses, but each as long as a line may be', async () => {
  await using harness = await createHarness();
  const line = `* SEARCH ${'4000000000 '.repeat(100_000)}\r\n`;
  harness.server.script = answering('UID SEARCH', ({ session }) => session.pour(() => line));
  await harness.watch();
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report.reason).toMatch(/^SERVER_PROTOCOL: .*more than \d+ bytes/);
});

test.each([
  ['SELECT', 'X OK'],
  ['UID FETCH', ROW],
])('a flood in answer to %s leaves other connections their turn', async (name, line) => {
  await using flooded = await createHarness();
  flooded.server.deliver('INBOX', mail('one'));
  await using quiet = await createHarness();
  const lines = `${line}\r\n`.repeat(100_000);
  const begun = new Promise<void>((resolve) => {
    flooded.server.script = answering(name, ({ session }) => {
      // Everything is on its way before the first of it is read.
      session.write(lines);
      resolve();
    });
  });
  await quiet.watch();
  await quiet.idle();
  await flooded.watch();
  await begun;
  let turns = 0;
  const count = () => {
    if (flooded.report().reason === null) turns++;
    setImmediate(count);
  };
  count();
  await flooded.until(({ reason }) => reason !== null);
  // 5,000 of them are read, a hundred a turn; imapflow alone takes 640 KB in one.
  expect(turns).toBeGreaterThanOrEqual(40);
});

test('an answer that never ends and is never silent either', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  let last: Command | undefined;
  server.script = answering('UID SEARCH', (command) => {
    last = command;
  });
  await harness.watch();
  while (last === undefined) await new Promise((resolve) => setImmediate(resolve));
  while (harness.report().reason === null && clock.monotonic() < 20 * OPERATION_MS) {
    last.session.send('* OK still searching');
    // Four looks that found nothing new would be a silence: a few turns are enough for one to find something.
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(OPERATION_MS / 4);
  }
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report.reason).toMatch(/^OPERATION_TIMED_OUT: .*SEARCH: not done within 600 s/);
});
