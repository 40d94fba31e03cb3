/** Mailbox, parsers and spool together: poison between good messages, and a storage that fails under them. */
import { hash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createBudget } from '../../src/budget.ts';
import { systemClock } from '../../src/clock.ts';
import { createIntake } from '../../src/ingest.ts';
import { watchMailbox } from '../../src/mailbox/watcher.ts';
import { startParsers } from '../../src/message/pool.ts';
import { listMessages } from '../../src/spool/reading.ts';
import { openSpool } from '../../src/spool/spool.ts';
import { startEmbeddedServer } from '../servers/embedded.ts';
import { listeningLog, makeRig, PASSWORD, type Rig, USER } from './rig.ts';

const mail = (subject: string, field = '') =>
  Buffer.from(`From: ann@example.org\r\nSubject: ${subject}\r\n${field}\r\nHello ${subject}\r\n`);

/** Everything but the daemon around it, with a parser that can be poisoned. */
async function watch(rig: Rig, limits: { parseSeconds: number; parseMemoryMb: number }) {
  const { config } = rig;
  const [account] = config.accounts;
  const log = listeningLog();
  const spool = await openSpool({ stateDirectory: config.state.directory, storage: config.storage });
  const entry = new URL('./poisoned-parser.ts', import.meta.url);
  const parsers = startParsers({ size: 1, stagingDirectory: spool.run.directory, ...limits, entry });
  await parsers.warm();
  const budget = createBudget(config.limits.inFlightBytes);
  const handled = { published: 0, quarantined: 0, filtered: 0 };
  const intake = createIntake({
    spool,
    parsers,
    budget,
    clock: systemClock,
    log,
    owesAfterAction: () => false,
    onHandled: (_mailbox, outcome) => {
      handled[outcome]++;
    },
  });
  const stopping = new AbortController();
  const watcher = watchMailbox({
    account: { ...account!, credential: async () => ({ password: PASSWORD }) },
    mailbox: { account: 'support', folder: 'INBOX' },
    mode: 'run',
    limits: config.limits,
    reconcileEvery: config.reconcileEvery,
    ledger: spool,
    intake,
    clock: systemClock,
    log,
    takeTurn: async () => undefined,
    signal: stopping.signal,
  });
  return {
    log,
    handled,
    watcher,
    async stop() {
      stopping.abort();
      await watcher.done;
      await parsers.stop();
      await spool.stop();
    },
  };
}

test.each([
  ['loop', 'PARSE_TIMED_OUT', { parseSeconds: 0.5, parseMemoryMb: 512 }],
  ['heap', 'PARSE_MEMORY', { parseSeconds: 60, parseMemoryMb: 128 }],
  ['regexp', 'PARSE_(MEMORY|TIMED_OUT)', { parseSeconds: 0.5, parseMemoryMb: 256 }],
  ['exit', 'PARSER_DIED', { parseSeconds: 60, parseMemoryMb: 512 }],
  ['abort', 'PARSER_DIED', { parseSeconds: 60, parseMemoryMb: 512 }],
  ['throw', 'PARSER_DIED', { parseSeconds: 60, parseMemoryMb: 512 }],
])('poison (%s) between good messages goes to quarantine, the mailbox goes on', async (poison, code, limits) => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  server.deliver(mail('one'));
  server.deliver(mail('two', `X-Poison: ${poison}\r\n`));
  server.deliver(mail('three'));
  const work = await watch(rig, limits);
  expect(await work.log.heard('quarantined')).toMatchObject({ id: 'INBOX-1700000000-2' });
  server.deliver(mail('four'));
  for (let published = 0; published < 3; published++) await work.log.heard('published');
  await work.stop();

  expect([...rig.documents().values()].map(({ subject }) => subject).toSorted()).toEqual([
    'four',
    'one',
    'three',
  ]);
  expect(rig.files('.quarantine')).toEqual(
    ['eml', 'error'].map((ending) => `.quarantine/support/INBOX-1700000000-2.${ending}`),
  );
  const held = join(rig.config.storage.directory, '.quarantine/support/INBOX-1700000000-2');
  expect(readFileSync(`${held}.eml`)).toEqual(mail('two', `X-Poison: ${poison}\r\n`));
  expect(JSON.parse(readFileSync(`${held}.error`, 'utf8')).code).toMatch(new RegExp(`^${code}$`));
  const listed = [...listMessages(rig.config.state.directory)].toSorted((x, y) => x.uid - y.uid);
  expect(listed.map(({ uid, state }) => `${uid} ${state}`)).toEqual([
    '1 published',
    '2 quarantined',
    '3 published',
    '4 published',
  ]);
  // By its bytes it is recognised under another UIDVALIDITY.
  expect(listed[1]).toMatchObject({ sha256: hash('sha256', readFileSync(`${held}.eml`)) });
  expect(rig.files('.staging')).toEqual([]);
  expect(work.watcher.report()).toMatchObject({ expected: 4, stored: 4, missing: 0 });
});

test("a stranger's file at a document's place holds that message alone, and it comes once the file is gone", async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  server.deliver(mail('one'));
  const work = await watch(rig, { parseSeconds: 60, parseMemoryMb: 512 });
  await work.log.heard('published');
  const stranger = join(rig.config.storage.directory, 'support', 'INBOX-1700000000-2.json');
  writeFileSync(stranger, 'mine');
  server.deliver(mail('two'));
  expect(await work.log.heard('mailbox_fault')).toMatchObject({ code: 'FILE_EXISTS' });
  expect(readFileSync(stranger, 'utf8')).toBe('mine');
  expect(work.watcher.report()).toMatchObject({ healthy: false, missing: 1 });
  renameSync(stranger, `${stranger}.theirs`);
  work.watcher.nudge();
  await work.log.heard('published');
  await work.stop();
  expect(rig.documents().get('support/INBOX-1700000000-2.json')).toMatchObject({ subject: 'two' });
});

test('a storage directory that another one took the place of is named, not what a parser missed in it', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const { directory } = rig.config.storage;
  server.deliver(mail('one'));
  const work = await watch(rig, { parseSeconds: 60, parseMemoryMb: 512 });
  await work.log.heard('published');
  renameSync(directory, `${directory}.volume`);
  mkdirSync(directory);
  server.deliver(mail('two'));
  const { code, reason } = await work.log.heard('mailbox_holding');
  expect(`${code}: ${reason}`).toMatch(/^STORAGE_MISSING: .*mount its volume/);
  expect(readdirSync(directory)).toEqual([]);
  rmdirSync(directory);
  renameSync(`${directory}.volume`, directory);
  work.watcher.nudge();
  await work.log.heard('published');
  await work.stop();
});
