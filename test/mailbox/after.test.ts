/** After-actions: owed until the server has confirmed them, in UID commands, never by a fallback. */
import { expect, test } from 'vitest';
import { createHarness, IDLE_RENEW_MS, mail, type WatchChanges } from './harness.ts';

type After = NonNullable<NonNullable<WatchChanges['account']>['after']>;
const after = (changes: Partial<After>): WatchChanges => ({
  account: { after: { seen: false, move: null, delete: false, ...changes } },
});

test('move: into the folder as people write it, with UID MOVE', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  ledger.owesAfterActions = true;
  server.delimiter = '.';
  server.createFolder('Archive.2026');
  for (const name of ['one', 'two']) server.deliver('INBOX', mail(name));
  await harness.watch(after({ seen: true, move: 'Archive/2026' }));
  await server.idle();
  expect(server.folders.get('INBOX')!.messages).toEqual([]);
  expect(server.folders.get('Archive.2026')!.messages).toHaveLength(2);
  expect(server.commands).toContain('UID STORE 1:2 +FLAGS.SILENT (\\Seen)');
  expect(server.commands).toContain('UID MOVE 1:2 Archive.2026');
  expect(await ledger.owedAfterActions(1, 10)).toEqual([]);
});

test('delete: UID EXPUNGE of ours only; what others have marked stays', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  ledger.owesAfterActions = true;
  server.deliver('INBOX', mail('marked by somebody'), {
    flags: new Set(['\\Deleted']),
    internalDate: new Date('2020-01-01'),
  });
  server.deliver('INBOX', mail('two'));
  await harness.watch({
    account: {
      start: { kind: 'date', at: Date.UTC(2026, 0, 1) },
      after: { seen: false, move: null, delete: true },
    },
  });
  await server.idle();
  expect(server.folders.get('INBOX')!.messages.map(({ uid }) => uid)).toEqual([1]);
  expect(server.commands).toContain('UID EXPUNGE 2');
  expect(server.commands).not.toContain('EXPUNGE');
});

test('once: an after-action that cannot be done is a failure, though every message is published', async () => {
  await using harness = await createHarness();
  const { server, ledger, intake } = harness;
  ledger.owesAfterActions = true;
  server.deliver('INBOX', mail('one'));
  await harness.watch({ ...after({ move: 'Nowhere' }), mode: 'once' });
  await expect(harness.done()).rejects.toMatchObject({ code: 'FOLDER_MISSING' });
  expect(intake.published).toHaveLength(1);
  expect(await ledger.owedAfterActions(1, 10)).toEqual([1]);
});

test.each([
  ['MOVE', { move: 'Archive' }, 'after.move'],
  ['UIDPLUS', { delete: true }, 'after.delete'],
] as const)('without %s reading goes on and the report says why', async (capability, changes, remedy) => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  ledger.owesAfterActions = true;
  server.createFolder('Archive');
  server.capabilities = ['IDLE', 'MOVE', 'UIDPLUS'].filter((each) => each !== capability);
  server.deliver('INBOX', mail('one'));
  await harness.watch(after(changes));
  await server.idle();
  expect(harness.report()).toMatchObject({ state: 'idle', healthy: false, stored: 1 });
  expect(harness.report().reason).toContain(remedy);
  expect(server.commands.filter((command) => /STORE|COPY|EXPUNGE|MOVE/.test(command))).toEqual([]);
  expect(await ledger.owedAfterActions(1, 10)).toEqual([1]);
  server.deliver('INBOX', mail('two'));
  await harness.until(({ stored }) => stored === 2);
});

test('a folder to move to that does not exist is named, and the move is owed until it does', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  ledger.owesAfterActions = true;
  server.createFolder('Archive');
  server.deliver('INBOX', mail('one'));
  await harness.watch(after({ move: 'Archiv' }));
  await server.idle();
  expect(harness.report().reason).toContain('did you mean "Archive"');
  server.createFolder('Archiv');
  harness.clock.advance(IDLE_RENEW_MS);
  await harness.until(({ healthy }) => healthy);
  expect(server.folders.get('Archiv')!.messages).toHaveLength(1);
});

test('a connection lost between the command and its answer leaves the action owed', async () => {
  await using harness = await createHarness();
  const { server, ledger, intake } = harness;
  ledger.owesAfterActions = true;
  server.createFolder('Archive');
  server.deliver('INBOX', mail('one'));
  let lose = true;
  server.script = (command) => {
    if (command.name !== 'UID MOVE' || !lose) return false;
    lose = false;
    expect(intake.published).toHaveLength(1);
    command.session.answer({ ...command, session: { ...command.session, send: () => undefined } });
    command.session.destroy();
    return true;
  };
  await harness.watch(after({ move: 'Archive' }));
  await harness.survive();
  expect(server.folders.get('Archive')!.messages).toHaveLength(1);
  expect(await ledger.owedAfterActions(1, 10)).toEqual([]);
  expect(intake.published).toHaveLength(1);
});

test('messages that are gone count as settled', async () => {
  await using harness = await createHarness();
  const { server, ledger, intake } = harness;
  ledger.owesAfterActions = true;
  server.deliver('INBOX', mail('one'));
  intake.gate = async () => {
    server.expunge('INBOX', 1);
  };
  await harness.watch(after({ seen: true }));
  await server.idle();
  expect(await ledger.owedAfterActions(1, 10)).toEqual([]);
  expect(harness.report().healthy).toBe(true);
});

test('a folder that opens read-only is not written to', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  ledger.owesAfterActions = true;
  server.deliver('INBOX', mail('one'));
  server.script = (command) => {
    if (command.name !== 'SELECT') return false;
    const { session } = command;
    session.folder = server.folders.get('INBOX')!;
    session.send(
      '* 1 EXISTS',
      '* OK [UIDVALIDITY 7] ok',
      '* OK [UIDNEXT 2] ok',
      `${command.tag} OK [READ-ONLY] ok`,
    );
    return true;
  };
  await harness.watch(after({ seen: true }));
  await server.idle();
  expect(harness.report().reason).toContain('read-only');
  expect(harness.report().stored).toBe(1);
});

test('a server that drops us at each after-action delays mail by no more than 16 s', async () => {
  await using harness = await createHarness();
  const { server, clock, ledger, intake } = harness;
  ledger.owesAfterActions = true;
  server.deliver('INBOX', mail('one'));
  server.script = ({ name, session }) => {
    if (name !== 'UID STORE') return false;
    session.end('* BYE overloaded');
    return true;
  };
  await harness.watch(after({ seen: true }));
  for (let count = 1; count <= 8; count++) {
    await harness.until(() => harness.failures() === count && clock.timers().length === 1);
    expect(clock.timers()[0]).toBeLessThanOrEqual(16_000);
    await harness.retry(count);
  }
  server.deliver('INBOX', mail('two'));
  await harness.until(() => harness.failures() === 9 && clock.timers().length === 1);
  await harness.retry(9);
  await harness.until(() => intake.published.length === 2);
});
