/** What comparing a folder again costs, and when all of it is compared: by what SELECT tells and a comparison proved. */
import { expect, test } from 'vitest';
import { WINDOW } from '../../src/mailbox/windows.ts';
import type { Start } from '../../src/model.ts';
import type { ScriptedMessage } from '../servers/scripted.ts';
import { createHarness, type Harness, mail, RECONCILE_MS } from './harness.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const day = (date: string) => new Date(`${date}T00:00:00Z`);

const NO_ACTIONS = { seen: false, move: null, delete: false };

const NEW: Start = { kind: 'new' };
const ALL: Start = { kind: 'all' };
const DATE: Start = { kind: 'date', at: day('2026-11-02').getTime() };

/** Moves the clock on until the folder is compared again, and waits until that is done. Returns what it asked. */
async function compare({ server, clock }: Harness, milliseconds = RECONCILE_MS): Promise<string[]> {
  await server.idle();
  server.commands.length = 0;
  const selected = server.seen(/^SELECT/);
  clock.advance(milliseconds);
  await selected;
  await server.seen(/^IDLE/);
  return questions(server);
}

const questions = ({ commands }: Harness['server']) =>
  commands
    .filter((line) => /SEARCH|FETCH/.test(line))
    .map((line) => line.replace('UID SEARCH UID', 'SEARCH'));

/** Adds a message of which nobody is told. */
function slip({ server }: Harness, name: string): void {
  server.pushes = false;
  server.deliver('INBOX', mail(name));
  server.pushes = true;
}

function remove({ server }: Harness, uid: number): ScriptedMessage {
  const { messages } = server.folders.get('INBOX')!;
  const [removed] = messages.splice(
    messages.findIndex((message) => message.uid === uid),
    1,
  );
  return removed!;
}

/** Watches a folder with three messages, one of them from before `DATE`, to which two come. */
async function fill(harness: Harness, start: Start, after = NO_ACTIONS): Promise<void> {
  const { server } = harness;
  for (const date of ['2026-10-01', '2026-11-03', '2026-11-04'])
    server.deliver('INBOX', mail(date), { internalDate: day(date) });
  await harness.watch({ account: { start, after, idleRenewEvery: 2 * DAY } });
  await server.idle();
  slip(harness, 'four');
  const again = server.seen(/^IDLE/);
  server.deliver('INBOX', mail('five'));
  await again;
}

/** Such a folder, after a comparison that missed nothing. */
async function compared(start: Start): Promise<Harness> {
  const harness = await createHarness();
  await fill(harness, start);
  await compare(harness);
  return harness;
}

/** Leaves messages out of what SEARCH lists. */
function leaveOut({ server }: Harness, ...uids: number[]): void {
  server.script = (command) => {
    if (command.name !== 'UID SEARCH') return undefined;
    const { session } = command;
    const send = session.send;
    session.send = (...lines) =>
      send(
        ...lines.map((line) =>
          typeof line === 'string' && line.startsWith('* SEARCH')
            ? line
                .split(' ')
                .filter((word) => !uids.includes(Number(word)))
                .join(' ')
            : line,
        ),
      );
    session.answer(command);
    session.send = send;
    return true;
  };
}

const FIRST: [string, Start, string[]][] = [
  ['all', ALL, ['SEARCH 6:*', 'SEARCH 1:3', 'SEARCH 4:5']],
  ['new', NEW, ['SEARCH 6:*', 'SEARCH 4:5', 'FETCH 3 UID']],
  [
    'a date',
    DATE,
    ['SEARCH 6:*', 'SEARCH 1:3 SINCE 01-Nov-2026', 'SEARCH 4:5', 'SEARCH 1:3 NOT SINCE 01-Nov-2026'],
  ],
];
test.each(
  FIRST,
)('start %s: once all was compared, SELECT is all that it costs, also at a reconnect', async (_, start, asked) => {
  await using harness = await createHarness();
  await fill(harness, start);
  const { server } = harness;
  const { expected } = harness.report();
  expect(await compare(harness)).toEqual(asked);
  await compare(harness);
  expect(server.commands).toEqual(['DONE', 'SELECT INBOX', 'IDLE']);
  for (const session of server.sessions) session.destroy();
  await harness.retry(1);
  await harness.idle();
  await server.idle();
  expect(questions(server)).toEqual([]);
  expect(harness.report()).toMatchObject({ expected, stored: expected, missing: 0, healthy: true });
});

const REMOVED: [string, Start, number[], string[]][] = [
  ['all', ALL, [2], ['FETCH 4 UID']],
  ['new: one that came since', NEW, [4], ['FETCH 4 UID', 'FETCH 3 UID']],
  ['new: one from before', NEW, [2], ['FETCH 4 UID', 'FETCH 3 UID']],
  ['new: some of both', NEW, [1, 2, 5], ['FETCH 2 UID', 'FETCH 2 UID', 'FETCH 1 UID']],
  ['new: all', NEW, [1, 2, 3, 4, 5], []],
  ['a date', DATE, [2], ['FETCH 4 UID', 'SEARCH 1:3 SINCE 01-Nov-2026', 'SEARCH 4:5']],
  ['a date: one from before it', DATE, [1], ['FETCH 4 UID', 'SEARCH 1:3 SINCE 01-Nov-2026', 'SEARCH 4:5']],
];
test.each(
  REMOVED,
)('start %s: what is removed is counted, and little is listed for it', async (_, start, uids, asked) => {
  await using harness = await compared(start);
  const { server, intake } = harness;
  const { expected } = harness.report();
  const wanted = intake.published.filter(({ uid }) => uids.includes(uid)).length;
  for (const uid of uids) remove(harness, uid);
  expect(await compare(harness)).toEqual(['SEARCH 6:*', ...asked]);
  const left = expected! - wanted;
  expect(harness.report()).toMatchObject({ expected: left, stored: left, missing: 0 });
  await compare(harness);
  expect(server.commands).toEqual(['DONE', 'SELECT INBOX', 'IDLE']);
});

test.each(FIRST)('start %s: of new mail only that is listed', async (_, start) => {
  await using harness = await compared(start);
  const { server } = harness;
  const { expected } = harness.report();
  server.deliver('INBOX', mail('six'));
  await harness.until(({ stored }) => stored === expected! + 1);
  await server.idle();
  slip(harness, 'seven');
  expect(await compare(harness)).toEqual([
    'SEARCH 7:*',
    expect.stringContaining('UID FETCH 7 '),
    'SEARCH 6:7',
    'FETCH 5 UID',
  ]);
  expect(harness.report()).toMatchObject({ expected: expected! + 2, stored: expected! + 2, missing: 0 });
  expect(await compare(harness)).toEqual([]);
});

test.each(
  FIRST,
)('start %s: new mail that SEARCH leaves out is looked for again and again', async (_, start) => {
  await using harness = await compared(start);
  const { server, intake } = harness;
  const published = intake.published.length;
  slip(harness, 'six');
  slip(harness, 'seven');
  // As many are removed as are left out: EXISTS does not tell.
  remove(harness, 5);
  leaveOut(harness, 6);
  expect(await compare(harness)).toContain('SEARCH 4:7');
  for (let comparison = 0; comparison < 2; comparison++) {
    const asked = await compare(harness);
    expect(asked).toContain('SEARCH 4:7');
    expect(asked).not.toContain('SEARCH 6:7');
  }
  expect(intake.published).toHaveLength(published + 1);
  server.script = undefined;
  await compare(harness);
  expect(intake.published).toHaveLength(published + 2);
});

const LEFT_OUT: [string, Start, number[]][] = [
  ['all', ALL, [2, 4]],
  ['new', NEW, [4]],
  ['a date', DATE, [2, 4]],
];
test.each(
  LEFT_OUT,
)('start %s: so is what it leaves out from the first, however often it did', async (_, start, uids) => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  leaveOut(harness, ...uids);
  await fill(harness, start);
  for (let comparison = 0; comparison < 3; comparison++)
    expect(await compare(harness)).toContain('SEARCH 4:5');
  const published = intake.published.length;
  server.script = undefined;
  await compare(harness);
  expect(intake.published).toHaveLength(published + uids.length);
});

test('where the server does not show which message stands at a place, nothing is believed', async () => {
  await using harness = await createHarness();
  const { server } = harness;
  server.script = ({ name, tag, session }) => {
    if (name !== 'FETCH') return undefined;
    session.send(`${tag} NO not by number`);
    return true;
  };
  await fill(harness, NEW);
  await compare(harness);
  for (let comparison = 0; comparison < 3; comparison++)
    expect(await compare(harness)).toEqual(['SEARCH 6:*', 'SEARCH 4:5', 'FETCH 3 UID']);
});

/** Adds a message right after the next SELECT was answered, whose EXISTS does not count it. */
function slipAfterSelect(harness: Harness, name: string): void {
  const { server } = harness;
  const { script } = server;
  server.script = (command) => {
    if (command.name !== 'SELECT') return script?.(command);
    command.session.answer(command);
    server.script = script;
    slip(harness, name);
    return true;
  };
}

test('what comes between SELECT and SEARCH is counted, and compared the next time', async () => {
  await using harness = await compared(ALL);
  slipAfterSelect(harness, 'six');
  remove(harness, 1);
  expect(await compare(harness)).not.toContain('SEARCH 1:3');
  expect(harness.report()).toMatchObject({ expected: 5, stored: 5, missing: 0 });
  expect(await compare(harness)).toEqual(['SEARCH 7:*', 'SEARCH 6:6', 'FETCH 4 UID']);
  expect(harness.report()).toMatchObject({ expected: 5, stored: 5, missing: 0 });
});

test('nor does it make up for what SEARCH leaves out', async () => {
  await using harness = await compared(ALL);
  leaveOut(harness, 6);
  slip(harness, 'six');
  remove(harness, 1);
  slipAfterSelect(harness, 'seven');
  expect(await compare(harness)).toContain('SEARCH 4:7');
});

test('an old message that is there again without a new UID: everything is compared', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  await fill(harness, ALL);
  const { messages } = server.folders.get('INBOX')!;
  const [first] = messages.splice(0, 1);
  harness.ledger.rows.get(1)!.delete(1);
  await compare(harness);
  messages.unshift(first!);
  const published = intake.published.length;
  expect(await compare(harness)).toContain('SEARCH 1:3');
  expect(intake.published).toHaveLength(published + 1);
});

test.each(
  FIRST,
)('start %s: what after-actions remove does not make up for what the server shows late', async (_, start) => {
  await using harness = await createHarness();
  const { server, ledger, intake } = harness;
  ledger.owesAfterActions = true;
  await fill(harness, start, { ...NO_ACTIONS, delete: true });
  await compare(harness);
  slip(harness, 'six');
  slip(harness, 'seven');
  const late = remove(harness, 6);
  expect(await compare(harness)).not.toContain('SEARCH 4:7');
  expect(ledger.states()[7]).toBe('published');
  // As many are there as before seven was removed.
  server.folders.get('INBOX')!.messages.push(late);
  const published = intake.published.length;
  expect(await compare(harness)).toContain('SEARCH 4:7');
  expect(intake.published).toHaveLength(published + 1);
});

test.each(
  FIRST,
)('start %s: what after-actions remove is counted, and nothing is listed for it', async (_, start) => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  ledger.owesAfterActions = true;
  await fill(harness, start, { ...NO_ACTIONS, delete: true });
  await compare(harness);
  slip(harness, 'six');
  await compare(harness);
  const asked = await compare(harness);
  expect(asked.filter((line) => !/^FETCH . UID$/.test(line))).toEqual(['SEARCH 7:*']);
  expect(harness.report()).toMatchObject({ expected: 0, stored: 0, missing: 0 });
  await compare(harness);
  expect(server.commands).toEqual(['DONE', 'SELECT INBOX', 'IDLE']);
});

test('where the connection ends when it is asked for a place, that is not asked again at once', async () => {
  await using harness = await compared(NEW);
  const { server, intake } = harness;
  slip(harness, 'six');
  server.script = ({ name, session }) => {
    if (name !== 'FETCH') return undefined;
    session.destroy();
    return true;
  };
  await server.idle();
  harness.clock.advance(RECONCILE_MS);
  await harness.retry(1);
  await harness.idle();
  expect(harness.report()).toMatchObject({ healthy: true, expected: 3, stored: 3, missing: 0 });
  expect(await compare(harness)).toEqual(['SEARCH 7:*', 'SEARCH 4:6']);
  expect(intake.published).toHaveLength(3);
  server.script = undefined;
  expect(await compare(harness, DAY)).toContain('FETCH 3 UID');
});

test('where the server tells no UIDNEXT, as many messages as before prove nothing', async () => {
  await using harness = await createHarness();
  const { server } = harness;
  server.createFolder('INBOX', { uidNext: null });
  for (const name of ['one', 'two']) server.deliver('INBOX', mail(name));
  await harness.watch({ account: { start: NEW, idleRenewEvery: 2 * DAY } });
  await compare(harness);
  remove(harness, 1);
  slip(harness, 'three');
  await compare(harness);
  expect(harness.report()).toMatchObject({ expected: 1, stored: 1 });
});

test('one that cannot be fetched is asked for again, and no others for it', async () => {
  await using harness = await compared(ALL);
  const { server } = harness;
  server.script = ({ name, rest, tag, session }) => {
    if (name !== 'UID FETCH' || !rest.startsWith('6 ')) return undefined;
    session.send(`${tag} OK nothing to see`);
    return true;
  };
  server.deliver('INBOX', mail('six'));
  await harness.until(({ missing }) => missing === 1);
  const asked = await compare(harness);
  expect(asked).toContain('SEARCH 6:6');
  expect(asked).not.toContain('SEARCH 1:3');
  server.script = undefined;
  await compare(harness);
  expect(harness.report()).toMatchObject({ expected: 6, stored: 6, missing: 0 });
});

test('what is to be judged anew is looked for wherever it is', async () => {
  await using harness = await compared(ALL);
  const { ledger } = harness;
  ledger.rows.get(1)!.get(2)!.state = 'filtered';
  ledger.toJudge.add(2);
  slip(harness, 'six');
  expect(await compare(harness)).toContain('SEARCH 1:3');
  expect(ledger.gone).toEqual([]);
  expect(ledger.states()[2]).toBe('published');
});

test.each([
  ['two hours', 3, 2 * HOUR],
  ['a day where one SEARCH could not list all', WINDOW + 1, DAY],
])('a comparison is believed for %s', async (_, count, period) => {
  await using harness = await createHarness();
  const { server } = harness;
  for (let number = 1; number <= count; number++) server.deliver('INBOX', mail('old'));
  await harness.watch({ account: { start: NEW, idleRenewEvery: 2 * DAY } });
  const proof = `FETCH ${count} UID`;
  await server.seen(new RegExp(proof));
  expect(await compare(harness, period - 1)).toEqual([]);
  expect(await compare(harness)).toContain(proof);
});

test('every two hours everything is compared all the same, however much is new', async () => {
  await using harness = await compared(ALL);
  const folder = harness.server.folders.get('INBOX')!;
  const [first] = folder.messages;
  folder.messages[0] = { ...first!, uid: 0 };
  slip(harness, 'six');
  expect(await compare(harness)).not.toContain('SEARCH 1:3');
  folder.messages[0] = first!;
  expect(await compare(harness, 2 * HOUR)).toContain('SEARCH 1:3');
});

test('somebody who asks for a look gets a comparison', async () => {
  await using harness = await compared(ALL);
  const { server } = harness;
  await compare(harness);
  const again = server.seen(/^IDLE/);
  harness.nudge();
  await again;
  expect(questions(server)).toContain('SEARCH 1:3');
});
