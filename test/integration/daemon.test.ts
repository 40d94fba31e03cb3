/** The whole daemon in one process, on an embedded server: publish, reload, replay, stop, catch up once. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secrets.ts';
import type { Config } from '../../src/config/types.ts';
import { startDaemon } from '../../src/daemon.ts';
import { requestReplays } from '../../src/spool/adopt.ts';
import { listMessages } from '../../src/spool/reading.ts';
import { isLocked } from '../../src/supervision/lock.ts';
import type { DaemonStatus } from '../../src/supervision/status.ts';
import { createManualClock } from '../clock.ts';
import { startEmbeddedServer } from '../servers/embedded.ts';
import { until } from '../servers/until.ts';
import { listeningLog, makeRig, PASSWORD, USER } from './rig.ts';

const mail = (subject: string) =>
  Buffer.from(
    `From: Ann <ann@example.org>\r\nSubject: ${subject}\r\nMessage-ID: <${subject}@x>\r\n\r\nHello\r\n`,
  );

const statusOf = ({ state }: Config): DaemonStatus =>
  JSON.parse(readFileSync(join(state.directory, 'status.json'), 'utf8'));

const start = (
  config: Config,
  log: ReturnType<typeof listeningLog>,
  mode: 'run' | 'once' = 'run',
  clock: Clock = systemClock,
) => startDaemon({ config, environment: {}, log, clock, version: '1.2.3', mode });

test('a message that was there and one that arrives are published, and the stop leaves nothing in staging', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const log = listeningLog();
  server.deliver(mail('before'));
  const daemon = await start(rig.config, log);
  await log.heard('published');
  server.deliver(mail('after'));
  await log.heard('published');
  await daemon.stop();

  expect([...rig.documents().values()].map(({ subject }) => subject)).toEqual(['before', 'after']);
  expect(rig.files('.staging')).toEqual([]);
  expect(isLocked(rig.config.state.directory)).toBe(false);
  expect([...listMessages(rig.config.state.directory)].map(({ state }) => state)).toEqual([
    'published',
    'published',
  ]);
  expect(statusOf(rig.config)).toMatchObject({
    state: 'STOPPING',
    version: '1.2.3',
    mailboxes: [{ account: 'support', folder: 'INBOX', expected: 2, stored: 2, missing: 0, quarantined: 0 }],
  });
  expect(existsSync(join(rig.config.state.directory, 'heartbeat'))).toBe(true);
});

test('the status follows what happens to a mailbox', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const config = { ...rig.config, limits: { ...rig.config.limits, messageBytes: 1000 } };
  const daemon = await start(config, listeningLog());
  const tells = (what: Partial<DaemonStatus['mailboxes'][number]>) =>
    until(`the status to tell ${JSON.stringify(what)}`, () =>
      Object.entries(what).every(
        ([key, value]) =>
          Object.entries(statusOf(config).mailboxes[0]!).find(([name]) => name === key)?.[1] === value,
      ),
    );
  await tells({ state: 'idle', stored: 0 });
  server.deliver(mail('one'));
  await tells({ stored: 1, quarantined: 0 });
  server.deliver(mail('two'));
  await tells({ stored: 2 });
  server.deliver(mail('x'.repeat(2000)));
  await tells({ stored: 3, quarantined: 1 });
  await daemon.stop();
});

test('whoever waited for the start finds every mailbox in the status', async () => {
  using rig = await makeRig(1, [{ folders: ['INBOX', 'A', 'B', 'C'] }]);
  const daemon = await start(rig.config, listeningLog());
  expect(statusOf(rig.config).mailboxes.map(({ folder }) => folder)).toEqual(['INBOX', 'A', 'B', 'C']);
  await daemon.stop();
});

test('once tells of a mailbox that failed before the last one was started', async () => {
  const folders = ['INBOX', 'A', 'B', 'C', 'D', 'E'];
  using rig = await makeRig(1, [{ auth: { password: { env: 'UNSET' } }, folders }]);
  const daemon = await start(rig.config, listeningLog(), 'once');
  const failures = await daemon.finished;
  expect(failures.map(({ mailbox }) => mailbox).toSorted()).toEqual(
    folders.map((folder) => `support/${folder}`).toSorted(),
  );
  for (const { error } of failures) expect(error.code).toBe('SECRET_UNAVAILABLE');
  await daemon.stop();
});

test('a second daemon on the same state fails, and the first goes on', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  await expect(start(rig.config, listeningLog())).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  server.deliver(mail('still'));
  await log.heard('published');
  await daemon.stop();
});

test('reload: a new mailbox is watched, a removed one is not, one that did not change keeps its connection', async () => {
  await using server = await startEmbeddedServer({
    user: USER,
    password: PASSWORD,
    folders: ['Other', 'Third'],
  });
  using rig = await makeRig(server.port, [{ folders: ['INBOX', 'Other'] }]);
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  await log.heard('connected');
  await log.heard('connected');
  const [account] = rig.config.accounts;
  await daemon.reload({ ...rig.config, accounts: [{ ...account!, folders: ['INBOX', 'Third'] }] });
  await log.heard('connected');
  server.deliver(mail('third'), 'Third');
  await log.heard('published');
  server.deliver(mail('inbox'));
  await log.heard('published');
  await daemon.stop();

  expect(log.events.filter((event) => event === 'connected')).toHaveLength(3);
  expect([...rig.documents().values()].map(({ folder }) => folder).toSorted()).toEqual(['INBOX', 'Third']);
});

test('two reloads at once: a mailbox that one of them removed and the other brings back is watched', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD, folders: ['Other'] });
  using rig = await makeRig(server.port, [{ folders: ['INBOX', 'Other'] }]);
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  await log.heard('connected');
  await log.heard('connected');
  const [account] = rig.config.accounts;
  const without = { ...rig.config, accounts: [{ ...account!, folders: ['INBOX'] }] };
  await Promise.all([daemon.reload(without), daemon.reload(rig.config)]);
  server.deliver(mail('other'), 'Other');
  await log.heard('published');
  await daemon.stop();
  expect(statusOf(rig.config).mailboxes.map(({ folder }) => folder)).toEqual(['INBOX', 'Other']);
});

test('a stop that the ledger cannot take down releases everything, and leaves the rest to the next start', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  server.deliver(mail('here'));
  await log.heard('published');
  // Stands for a full disk.
  using ledger = new DatabaseSync(join(rig.config.state.directory, 'ledger.db'));
  ledger.exec('ALTER TABLE setting RENAME TO elsewhere');
  await daemon.stop();
  expect(await log.heard('stop_incomplete')).toMatchObject({ error: { code: 'LEDGER_FAILED' } });
  expect(isLocked(rig.config.state.directory)).toBe(false);
});

test('reload takes over a changed password', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port, [{ auth: { password: { plain: new Secret('wrong') } } }]);
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  expect(await log.heard('mailbox_failing')).toMatchObject({ code: 'AUTH_FAILED' });
  const [account] = rig.config.accounts;
  await daemon.reload({
    ...rig.config,
    accounts: [{ ...account!, auth: { password: { plain: new Secret(PASSWORD) } } }],
  });
  server.deliver(mail('now'));
  await log.heard('published');
  await daemon.stop();
});

test('reload tries a mailbox in trouble at once, though its configuration is the same', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const file = join(rig.config.state.directory, 'password');
  writeFileSync(file, 'wrong');
  rig.config.accounts[0]!.auth = { password: { file } };
  const log = listeningLog();
  const clock = createManualClock();
  const daemon = await start(rig.config, log, 'run', clock);
  expect(await log.heard('mailbox_failing')).toMatchObject({ code: 'AUTH_FAILED' });
  writeFileSync(file, PASSWORD);
  await daemon.reload(rig.config);
  // Time for a new connection's turn, and less than there is between two tries by themselves.
  clock.advance(1_000);
  await log.heard('recovered');
  await daemon.stop();
});

test('a replay that was asked for while the daemon runs is served by it', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port, [{ authservIds: ['mx.example.org'] }]);
  rig.config.storage.source = 'keep';
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  const results = Buffer.from('Authentication-Results: mx.example.org; dmarc=pass\r\n');
  server.deliver(Buffer.concat([results, mail('again')]));
  const { id } = await log.heard('published');
  // The mark rides in the next transaction, a second later at most (docs/reliability.md).
  await until(
    'the ledger to say so',
    () => [...listMessages(rig.config.state.directory)][0]?.state === 'published',
  );
  const [asked] = requestReplays(rig.config.state.directory, [String(id)], { again: true, now: Date.now() });
  expect(asked).toMatchObject({ replay: { id } });
  await log.heard('replayed');
  await daemon.stop();

  const documents = rig.documents();
  expect([...documents.keys()]).toEqual([`support/${id}.json`, `support/${id}~2.json`]);
  expect(new Set([...documents.values()].map((document) => document.id))).toEqual(new Set([id]));
  for (const { authentication } of documents.values())
    expect(authentication).toMatchObject({ authservId: 'mx.example.org', dmarc: { result: 'pass' } });
});

test("a replay whose place is taken by a stranger's file waits; those behind it do not", async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const { state, storage } = rig.config;
  storage.source = 'keep';
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  const ids: string[] = [];
  for (const subject of ['first', 'second']) {
    server.deliver(mail(subject));
    ids.push(String((await log.heard('published')).id));
  }
  const [first, second] = ids as [string, string];
  writeFileSync(join(storage.directory, 'support', `${first}~2.json`), '{}');
  await until('the ledger to say so', () =>
    [...listMessages(state.directory)].every((message) => message.state === 'published'),
  );
  requestReplays(state.directory, ids, { again: true, now: Date.now() });
  expect(await log.heard('replayed')).toMatchObject({ name: `${second}~2` });
  expect(await log.heard('replay_waits')).toMatchObject({ error: { code: 'FILE_EXISTS' } });
  await daemon.stop();
});

test('once: catches up and ends; a mailbox that cannot is named, the others are done', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port, [
    {},
    { name: 'other', auth: { password: { plain: new Secret('wrong') } } },
    { name: 'third', folders: ['Inbux'] },
  ]);
  server.deliver(mail('one'));
  server.deliver(mail('two'));
  const daemon = await start(rig.config, listeningLog(), 'once');
  expect(await daemon.finished).toMatchObject([
    { mailbox: 'other/INBOX', error: { code: 'AUTH_FAILED' } },
    { mailbox: 'third/Inbux', error: { code: 'FOLDER_MISSING', remedy: 'did you mean "INBOX"?' } },
  ]);
  await daemon.stop();
  expect(rig.documents().size).toBe(2);
});

test('a password stands in no file of ours', async () => {
  await using server = await startEmbeddedServer({ user: USER, password: PASSWORD });
  using rig = await makeRig(server.port);
  const log = listeningLog();
  const daemon = await start(rig.config, log);
  server.deliver(mail('secret'));
  await log.heard('published');
  await daemon.stop();
  const { state } = rig.config;
  for (const name of ['status.json', 'mailboxes', 'ledger.db']) {
    expect(readFileSync(join(state.directory, name), 'latin1')).not.toContain(PASSWORD);
  }
});
