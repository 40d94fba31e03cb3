/** Proves that the commands tell and do on a real Dovecot what the Contract says of them. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { publishedFiles } from '../servers/published.ts';
import { type Document, readDocument } from './documents.ts';
import { accountOn, createWorkplace, type Workplace } from './workplace.ts';

let server: Dovecot;
let users = 0;

/** Each test has a user, and so a mailbox, of its own. */
const NAMES = Array.from({ length: 40 }, (_, index) => `user${index}`);

beforeAll(async () => {
  server = await startDovecot({ users: Object.fromEntries(NAMES.map((name) => [name, name])) });
});
afterAll(() => server?.stop());

function setUp(
  more: object = {},
  settings: object = {},
): { user: string; account: object; place: Workplace } {
  const user = NAMES[users++]!;
  const account = accountOn(server, 'support', user, user, more);
  return { user, account, place: createWorkplace({ accounts: [account], ...settings }) };
}

const message = (subject: string, body = 'Hello.') =>
  Buffer.from(
    `From: Ann <ann@example.org>\r\nSubject: ${subject}\r\nMessage-ID: <${subject}@example.org>\r\n\r\n${body}\r\n`,
  );

/** Published documents by file name. */
function published(place: Workplace): Map<string, Document> {
  return new Map(publishedFiles(place.storage).map((file) => [basename(file), readDocument(file)]));
}
const subjects = (place: Workplace) => [...published(place).values()].map(({ subject }) => subject).sort();

test('once publishes what is there, and nothing the second time', async () => {
  const { user, place } = setUp();
  await using _place = place;
  for (const subject of ['one', 'two', 'three']) await server.append(user, 'INBOX', message(subject));

  expect(await place.command(['once'])).toMatchObject({ status: 0, stdout: '' });
  expect(subjects(place)).toEqual(['one', 'three', 'two']);
  rmSync(join(place.storage, 'support'), { recursive: true });

  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(subjects(place)).toEqual([]);
});

test('once says which mailbox could not catch up, and serves the others', async () => {
  const { user, place } = setUp({ folders: ['INBOX', 'Nowhere'] });
  await using _place = place;
  await server.append(user, 'INBOX', message('one'));
  const { status, stderr } = await place.command(['once']);
  expect(status).toBe(1);
  expect(stderr).toMatch(/FOLDER_MISSING: support\/Nowhere/);
  expect(subjects(place)).toEqual(['one']);
});

test('start: new leaves what is there, and publishes what comes', async () => {
  const { user, place } = setUp({ start: 'new' });
  await using _place = place;
  await server.append(user, 'INBOX', message('old'));
  const daemon = place.start();
  await place.settled(daemon);
  await server.append(user, 'INBOX', message('new'));
  await daemon.until('the document', () => subjects(place).length > 0);
  expect(subjects(place)).toEqual(['new']);
  expect(await daemon.stop()).toBe(0);
});

test('start: a date means INTERNALDATE at or after its 00:00 UTC', async () => {
  const { user, place } = setUp({ start: '2026-10-02' });
  await using _place = place;
  await server.append(user, 'INBOX', message('before'), { date: new Date('2026-10-01T23:59:59Z') });
  await server.append(user, 'INBOX', message('at'), { date: new Date('2026-10-02T00:00:00Z') });
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(subjects(place)).toEqual(['at']);
});

test('list filters, and tells each message in a line of JSON', async () => {
  const { user, place } = setUp({ folders: ['INBOX', 'Other'] });
  await using _place = place;
  await server.createFolder(user, 'Other');
  await server.append(user, 'INBOX', message('one'), { date: new Date('2026-10-01T10:00:00Z') });
  await server.append(user, 'INBOX', message('two'), { date: new Date('2026-10-02T10:00:00Z') });
  await server.append(user, 'Other', message('three'), { date: new Date('2026-10-03T10:00:00Z') });
  await place.command(['once']);

  const ids = async (...parameters: string[]) =>
    (await place.list(...parameters)).map(({ messageId }) => messageId?.replace('@example.org', '')).sort();
  expect(await ids()).toEqual(['one', 'three', 'two']);
  expect(await ids('--folder', 'Other')).toEqual(['three']);
  const today = new Date().toISOString().slice(0, 10);
  expect(await ids('--since', today)).toEqual(['one', 'three', 'two']);
  expect(await ids('--since', '2100-01-01')).toEqual([]);
  expect(await ids('--state', 'quarantined')).toEqual([]);
  expect(await ids('--account', 'nobody')).toEqual([]);
  expect(await place.list('--limit', '2')).toHaveLength(2);

  const [row] = await place.list('--folder', 'Other');
  const [truth] = await server.messages(user, 'Other');
  expect(row).toEqual({
    account: 'support',
    folder: 'Other',
    uid: 1,
    id: expect.stringMatching(/^Other-\d+-1$/),
    state: 'published',
    messageId: 'three@example.org',
    size: truth!.size,
    sha256: truth!.sha256,
    path: expect.stringContaining(`support/2026/10/03/${row!.id}.json`),
    receivedAt: '2026-10-03T10:00:00Z',
    publishedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    reason: null,
  });
  const table = await place.command(['list']);
  expect(table.status).toBe(0);
  expect(table.stdout).toContain(row!.id);
});

test('status tells the mailboxes while the daemon runs, and DOWN after', async () => {
  const { user, place } = setUp();
  await using _place = place;
  await server.append(user, 'INBOX', message('one'));
  expect(await place.command(['status'])).toMatchObject({
    status: 1,
    stdout: expect.stringContaining('DOWN'),
  });

  const daemon = place.start();
  await place.settled(daemon);
  const { status, stdout } = await place.command(['status', '--json']);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    pid: daemon.pid,
    mailboxes: [
      {
        account: 'support',
        folder: 'INBOX',
        state: 'idle',
        healthy: true,
        reason: null,
        expected: 1,
        stored: 1,
        missing: 0,
      },
    ],
  });
  expect(await place.command(['status', '--check'])).toMatchObject({ status: 0 });
  expect(readFileSync(join(place.state, 'mailboxes'), 'utf8')).toMatch(/^support\/INBOX\tok/);

  expect(await daemon.stop()).toBe(0);
  expect(await place.command(['status', '--check'])).toMatchObject({
    status: 1,
    stdout: expect.stringContaining('DOWN'),
  });
});

test('status tells of one mailbox how fast its mail comes, and when the server pushed it', async () => {
  const { user, place } = setUp();
  await using _place = place;
  await server.append(user, 'INBOX', message('before'));
  const daemon = place.start();
  await place.settled(daemon);
  expect(place.mailboxes()).toMatchObject([{ lastPushAt: null, delay: null, oldestWaiting: null }]);

  await server.append(user, 'INBOX', message('pushed'));
  const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/);
  await daemon.until('the figures', () => place.mailboxes()?.[0]?.delay?.count === 1);
  const { status, stdout } = await place.command(['status', 'support/INBOX', '--json']);
  expect(status).toBe(0);
  expect(JSON.parse(stdout).mailboxes).toMatchObject([{ lastPushAt: time, oldestWaiting: null }]);

  const details = await place.command(['status', 'support/INBOX']);
  expect(details.status).toBe(0);
  expect(details.stdout).toMatch(/^last push +\S+Z \(\S+ s ago\)$/m);
  expect(details.stdout).toMatch(/^delay +50 % within \S+ s, .* \(the last 1 messages\)$/m);
  expect((await place.command(['status'])).stdout).toMatch(/^support\/INBOX +idle +2 +2 +0 +0 .* s +–$/m);
  expect(await place.command(['status', 'support/Inbocks'])).toMatchObject({
    status: 64,
    stderr: expect.stringContaining('no mailbox "support/Inbocks"'),
  });
});

test('status --check names the mailbox whose password is wrong, and why', async () => {
  const { user, account, place } = setUp();
  await using _place = place;
  place.configure({ accounts: [account, accountOn(server, 'sales', user, 'wrong')] });
  const daemon = place.start();
  await daemon.until('the refusal', () => place.mailboxes()?.some(({ state }) => state === 'failing'));
  const { status, stdout } = await place.command(['status', '--check']);
  expect(status).toBe(1);
  expect(stdout).toMatch(/^sales\/INBOX: .*password/);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  expect(stdout).not.toContain('support');
  expect(daemon.output()).not.toContain('"wrong"');
});

test('a second daemon on the same state fails with ALREADY_RUNNING', async () => {
  const { place } = setUp();
  await using _place = place;
  const daemon = place.start();
  await place.settled(daemon);
  const { status, stderr } = await place.command(['run']);
  expect(status).toBe(75);
  expect(stderr).toMatch(/mailwatchd: ALREADY_RUNNING: /);
  expect(await daemon.stop()).toBe(0);
});

test('SIGHUP takes a folder in, and refuses a faulty configuration', async () => {
  const { user, account, place } = setUp();
  await using _place = place;
  await server.createFolder(user, 'Other');
  await server.append(user, 'Other', message('other'));
  const daemon = place.start();
  await place.settled(daemon);

  place.configure({ accounts: [{ ...account, folders: [] }] });
  daemon.process.kill('SIGHUP');
  await daemon.until('the refusal', () => daemon.output().includes('CONFIG_INVALID'));
  expect(place.mailboxes()).toHaveLength(1);

  place.configure({ accounts: [{ ...account, folders: ['INBOX', 'Other'] }] });
  daemon.process.kill('SIGHUP');
  await daemon.until('the document', () => subjects(place).length > 0);
  expect(subjects(place)).toEqual(['other']);
  expect(await daemon.stop()).toBe(0);
});

test('too large a message waits in quarantine with its header, and comes when the limit is raised', async () => {
  const { user, place } = setUp({}, { limits: { messageBytes: '10kb' } });
  await using _place = place;
  await server.append(user, 'INBOX', message('large', 'x'.repeat(20_000)));
  await server.append(user, 'INBOX', message('small'));
  await place.command(['once']);
  expect(subjects(place)).toEqual(['small']);
  expect(await place.list('--state', 'quarantined')).toMatchObject([
    { uid: 1, reason: expect.stringContaining('TOO_LARGE') },
  ]);
  const held = join(place.storage, '.quarantine/support');
  expect(
    readdirSync(held)
      .map((name) => name.replace(/^.*\./, ''))
      .sort(),
  ).toEqual(['eml', 'error']);

  place.configure({ limits: { messageBytes: '1mb' } });
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(subjects(place)).toEqual(['large', 'small']);
  expect(readdirSync(held)).toEqual([]);
});

test('replay publishes a kept message again only when asked, under its id', async () => {
  const { user, place } = setUp({}, {});
  await using _place = place;
  place.configure({ storage: { directory: place.storage, source: 'keep' } });
  await server.append(user, 'INBOX', message('one'));
  await place.command(['once']);
  const { id } = (await place.list())[0]!;

  const refused = await place.command(['replay', id]);
  expect(refused.status).not.toBe(0);
  expect(refused.stderr).toContain('ALREADY_PUBLISHED');

  expect(await place.command(['replay', id, '--again'])).toMatchObject({ status: 0 });
  expect([...published(place).keys()].sort()).toEqual([`${id}.json`, `${id}~2.json`].sort());
  expect([...published(place).values()].map((document) => document.id)).toEqual([id, id]);
});

test('replay is served by the running daemon', async () => {
  const { user, place } = setUp();
  await using _place = place;
  place.configure({ storage: { directory: place.storage, source: 'keep' } });
  await server.append(user, 'INBOX', message('one'));
  const daemon = place.start();
  await place.settled(daemon);
  const { id } = (await place.list())[0]!;
  expect(await place.command(['replay', id, '--again'])).toMatchObject({ status: 0 });
  await daemon.until('the document', () => published(place).has(`${id}~2.json`));
  expect(await daemon.stop()).toBe(0);
});

test('a storage that was replaced is refused until adopt says so', async () => {
  const { user, place } = setUp();
  await using _place = place;
  await server.append(user, 'INBOX', message('one'));
  await place.command(['once']);
  rmSync(place.storage, { recursive: true });
  mkdirSync(place.storage);

  const refused = await place.command(['once']);
  expect(refused).toMatchObject({ status: 78, stderr: expect.stringContaining('STORAGE_NOT_PAIRED') });

  expect(await place.command(['adopt', '--yes'])).toMatchObject({ status: 0 });
  await server.append(user, 'INBOX', message('two'));
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(subjects(place)).toEqual(['two']);
});

test('a forgotten state directory is refused, so that nothing comes twice', async () => {
  const { user, place } = setUp();
  await using _place = place;
  await server.append(user, 'INBOX', message('one'));
  await place.command(['once']);
  renameSync(place.state, `${place.state}.lost`);
  mkdirSync(place.state);
  expect(await place.command(['once'])).toMatchObject({
    status: 78,
    stderr: expect.stringContaining('STORAGE_NOT_PAIRED'),
  });
});

test.each([
  ['--skip', []],
  ['--publish', Array.from({ length: 120 }, (_, index) => `old${index}`).sort()],
])('a new UIDVALIDITY over unknown old mail holds the mailbox until adopt %s', async (decision, expected) => {
  const { user, place } = setUp();
  await using _place = place;
  await place.command(['once']);
  // Restored from a backup, as it seems: older than the change, but never seen.
  const date = new Date('2026-10-01T10:00:00Z');
  for (let index = 0; index < 120; index++) {
    await server.append(user, 'INBOX', message(`old${index}`), { date });
  }
  await server.changeUidValidity(user, 'INBOX');

  const daemon = place.start();
  await daemon.until('the mailbox to hold', () =>
    place.mailboxes()?.some(({ state }) => state === 'holding'),
  );
  expect(await place.command(['status', '--check'])).toMatchObject({
    status: 1,
    stdout: expect.stringMatching(/^support\/INBOX: .*adopt/),
  });
  expect(subjects(place)).toEqual([]);

  expect(await place.command(['adopt', 'support/INBOX', decision, '--yes'])).toMatchObject({ status: 0 });
  // The running daemon hears of it within a second, not at its next look a minute later.
  await server.append(user, 'INBOX', message('new'));
  await daemon.until('the mailbox to go on', () => subjects(place).length === expected.length + 1, 20_000);
  expect(subjects(place)).toEqual(['new', ...expected]);
  expect(await daemon.stop()).toBe(0);
});

test('a folder made anew under the same UIDVALIDITY: its mail comes, none twice', async () => {
  const { user, place } = setUp({ folders: ['Other'] });
  await using _place = place;
  await server.createFolder(user, 'Other');
  const again = message('again');
  // What comes after the folder was made anew is new, whatever it resembles.
  const date = new Date('2026-10-01T10:00:00Z');
  for (const raw of [message('one'), again, message('three')]) {
    await server.append(user, 'Other', raw, { date });
  }
  await place.command(['once']);
  await server.resetUids(user, 'Other');
  // UIDNEXT is lower than it was. The first is known from before; the second has a UID that was another's.
  for (const raw of [again, message('two')]) await server.append(user, 'Other', raw, { date });
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(subjects(place)).toEqual(['again', 'one', 'three', 'two']);
});

test.each([
  ['seen', { seen: true }],
  ['move', { move: 'Done' }],
  ['delete', { delete: true }],
])('after: %s is done on the server once published, and to nothing else', async (what, after) => {
  const { user, place } = setUp({ after, start: '2026-10-02' });
  await using _place = place;
  await server.createFolder(user, 'Done');
  // Before the start point and marked by somebody else: a plain EXPUNGE would take it away.
  const before = { flags: ['\\Deleted'], date: new Date('2026-10-01T10:00:00Z') };
  await server.append(user, 'INBOX', message('marked'), before);
  await server.append(user, 'INBOX', message('one'));
  const left = async (folder: string) =>
    (await server.messages(user, folder)).map(
      ({ messageId, flags }) => `${messageId}${flags.includes('\\Seen') ? ' seen' : ''}`,
    );
  const untouched = 'marked@example.org';
  const [inbox, done] = {
    seen: [[untouched, 'one@example.org seen'], []],
    move: [[untouched], ['one@example.org']],
    delete: [[untouched], []],
  }[what]!;

  const daemon = place.start();
  await daemon.until('the after-action', async () => (await left('INBOX')).join() === inbox?.join());
  expect(await left('Done')).toEqual(done);
  await place.settled(daemon);
  expect(await daemon.stop()).toBe(0);
  expect(subjects(place)).toEqual(['one']);
});

test("a message's files carry the configured modes", async () => {
  const { user, place } = setUp();
  await using _place = place;
  place.configure({ storage: { directory: place.storage, fileMode: '0660', directoryMode: '2750' } });
  await server.append(user, 'INBOX', message('one'));
  await place.command(['once']);
  const file = join(place.storage, (await place.list())[0]!.path!.replace(`${place.storage}/`, ''));
  expect(existsSync(file)).toBe(true);
  expect(statSync(file).mode & 0o7777).toBe(0o660);
  expect(statSync(join(place.storage, 'support')).mode & 0o7777).toBe(0o2750);
});

test("a stranger's file where a document belongs is left as it is, and reported until it is gone", async () => {
  const { user, place } = setUp({}, { reconcileEvery: '1s' });
  await using _place = place;
  await server.append(user, 'INBOX', message('one'), { date: new Date('2026-10-01T10:00:00Z') });
  const { uidValidity } = await server.status(user, 'INBOX');
  const directory = join(place.storage, 'support/2026/10/01');
  const file = join(directory, `INBOX-${uidValidity}-1.json`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(file, 'mine');

  const daemon = place.start();
  await daemon.until('the report', () =>
    place.mailboxes()?.some(({ healthy, reason }) => !healthy && reason?.includes(file)),
  );
  expect(readFileSync(file, 'utf8')).toBe('mine');
  rmSync(file);
  await daemon.until('the document', () => existsSync(file), 60_000);
  expect(readDocument(file).subject).toBe('one');
  expect(await daemon.stop()).toBe(0);
});
