/** Whose the files are, who may run what, and who may see the page. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { Outcome } from '../dovecot/workplace.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { publishedFiles } from '../servers/published.ts';
import { docker, dockerOk } from './docker.ts';
import {
  type Container,
  type ContainerOptions,
  containerAccount,
  createContainer,
  IMAGE,
} from './harness.ts';
import { startMailFlow } from './mail-flow.ts';
import { monitPage } from './monit-page.ts';

const INBOX = [{ account: 'support', user: 'ann', folder: 'INBOX' }];

/** The image's own user and group. */
const MAILWATCHD = 900;
const STRANGER = 65_534;

/** A failed start is tried again within 60 s. */
const NEXT_START = 120_000;

const supportOn = (server: Dovecot, options: Partial<ContainerOptions> = {}): Container =>
  createContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    ...options,
  });

/** Whether a process of that user and group, without any other right, can do it. */
const can = (uid: number, gid: number, ...command: string[]): Promise<boolean> =>
  new Promise((resolve) => {
    const who = ['--reuid', String(uid), '--regid', String(gid), '--clear-groups'];
    execFile('setpriv', [...who, ...command], (error) => resolve(error === null));
  });

const ownerOf = (path: string): { uid: number; gid: number } => {
  const { uid, gid } = statSync(path);
  return { uid, gid };
};

const MESSAGE = Buffer.from(
  'From: a@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n',
);

/** Whose the storage directory is, what the container is told, and whose the documents then are. */
const STORAGES = [
  { name: 'of user 1000', owner: { uid: 1000, gid: 1000 }, environment: {}, files: { uid: 1000, gid: 1000 } },
  {
    name: 'of user 1000, of group 100',
    owner: { uid: 1000, gid: 100 },
    environment: {},
    files: { uid: 1000, gid: 100 },
  },
  { name: 'made by docker', owner: null, environment: {}, files: { uid: MAILWATCHD, gid: MAILWATCHD } },
  {
    name: "of root, of consumers' group",
    owner: { uid: 0, gid: 2345 },
    environment: {},
    files: { uid: MAILWATCHD, gid: 2345 },
  },
  {
    name: 'made by docker, with PUID and PGID',
    owner: null,
    environment: { PUID: '1234', PGID: '2345' },
    files: { uid: 1234, gid: 2345 },
  },
];

test.each(STORAGES)('storage $name: who reads and deletes the documents', async ({
  owner,
  environment,
  files,
}) => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = supportOn(server, { environment, ...(owner && { storageOwner: owner }) });
  // As docker finds it where nobody made it.
  if (owner === null) rmSync(container.storage, { recursive: true });
  await container.run();
  await container.watching();
  await server.deliver('ann', MESSAGE);
  await server.deliver('ann', MESSAGE);
  const [first, second] = await container.until('two documents', () => {
    const published = publishedFiles(container.storage);
    return published.length === 2 && published;
  });
  expect(ownerOf(first!)).toEqual(files);
  expect(ownerOf(container.state).uid).toBe(files.uid);
  expect(ownerOf(container.storage)).toEqual({ ...files, ...(owner?.uid === 0 && { gid: owner.gid }) });

  expect(await can(STRANGER, STRANGER, 'cat', first!)).toBe(false);
  expect(await can(STRANGER, STRANGER, 'rm', '-f', first!)).toBe(false);
  expect(await can(files.uid, STRANGER, 'cat', first!)).toBe(true);
  expect(await can(files.uid, STRANGER, 'rm', '-f', first!)).toBe(true);
  // A consumer of the group: directories that the service made are its to work in.
  expect(await can(STRANGER, files.gid, 'cat', second!)).toBe(true);
  expect(await can(STRANGER, files.gid, 'rm', '-f', second!)).toBe(true);
  expect(publishedFiles(container.storage)).toEqual([]);
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
});

test.each([
  { environment: { PUID: '0' }, says: /WRONG_USER: PUID and PGID must not be 0/ },
  { environment: { PUID: '1000', PGID: '0' }, says: /WRONG_USER: PUID and PGID must not be 0/ },
  { environment: { PUID: '99999999999999999999' }, says: /WRONG_USER: PUID and PGID must be numbers/ },
  { environment: { PUID: 'ann' }, says: /WRONG_USER: PUID and PGID must be numbers/ },
  { environment: { PUID: '1000', PGID: '-1' }, says: /WRONG_USER: PUID and PGID must be numbers/ },
])('refused: $environment', async ({ environment, says }) => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = supportOn(server, { environment });
  await container.run();
  await container.until(`the log to say ${says}`, async () => says.test(await container.logs()));
  expect(await container.daemon()).toBeNull();
  expect(await container.command('list')).toMatchObject({ status: 78, stderr: expect.stringMatching(says) });
});

test('a directory of somebody else than PUID: the chown that it takes is told, and is enough', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = supportOn(server, {
    storageOwner: { uid: 1000, gid: 1000 },
    environment: { PUID: '1234', PGID: '1234' },
  });
  chmodSync(container.storage, 0o750);
  await container.run();
  const told = /STORAGE_DENIED: user 1234 may not write to .*: (chown -R 1234:1234) what is mounted/;
  await container.pageSays('heartbeat', { status: /failed/, output: told });
  await container.pageSays('mailwatchd', { status: /does not exist|failed/i });
  expect(ownerOf(container.storage)).toEqual({ uid: 1000, gid: 1000 });

  using mail = startMailFlow(server, container, INBOX);
  const outage = await mail.outage('a directory of another user: chown', async () =>
    chownSync(container.storage, 1234, 1234),
  );
  await outage.over(NEXT_START);
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});

test('a file system that gives nothing away (NFS): each chown that it takes is told, and they are enough', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = supportOn(server, {
    storageOwner: { uid: 1000, gid: 1000 },
    parameters: ['--cap-drop', 'CHOWN'],
  });
  await container.run();
  // Before it is up, what is done in it meets a container that is still being laid out.
  await container.until('the page', () => container.page.rows().catch(() => null));
  const log = await container.inspect(
    '{{range .Mounts}}{{if eq .Destination "/var/log/mailwatchd"}}{{.Source}}{{end}}{{end}}',
  );
  for (const [directory, source] of [
    ['/var/lib/mailwatchd', container.state],
    ['/var/log/mailwatchd', log],
  ] as const) {
    expect(await container.exec('/etc/init.d/mailwatchd', 'start')).toMatchObject({
      status: 6,
      stderr: expect.stringContaining(
        `STORAGE_DENIED: ${directory} must belong to user 1000: chown -R 1000:1000 what is mounted there`,
      ),
    });
    chownSync(source, 1000, 1000);
  }
  expect(await container.exec('/etc/init.d/mailwatchd', 'start')).toMatchObject({ status: 0 });
  using mail = startMailFlow(server, container, INBOX);
  await mail.flows();
  await mail.expectEachOnce();
});

test("a named volume, which docker makes the image's user's, follows PUID", async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using volume = await createVolume();
  await using container = supportOn(server, {
    storage: volume.name,
    environment: { PUID: '1234', PGID: '2345' },
  });
  await container.run();
  await container.watching();
  await server.deliver('ann', MESSAGE);
  const spool = '/var/spool/mailwatchd';
  const published = () => container.exec('find', spool, '-name', '*.json', '-printf', '%U:%G %m\n');
  await container.until('a document', async () => (await published()).stdout !== '');
  expect((await published()).stdout).toBe('1234:2345 640\n');
  expect((await container.exec('stat', '-c', '%u:%g', spool)).stdout.trim()).toBe('1234:2345');
});

/** Removed with all that is in it. */
async function createVolume(): Promise<AsyncDisposable & { name: string }> {
  const name = await dockerOk('volume', 'create');
  return {
    name,
    async [Symbol.asyncDispose]() {
      await docker('volume', 'rm', '--force', name);
    },
  };
}

test('PUID changed between two lives: the ledger goes with it, and nothing is published again', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using place = sharedPlace();
  const inPlace = { storage: join(place.directory, 'mail'), state: join(place.directory, 'state') };
  {
    await using container = supportOn(server, { ...inPlace, environment: { PUID: '1234', PGID: '2345' } });
    await container.run();
    await container.watching();
    await server.deliver('ann', MESSAGE);
    await container.until('a document', () => publishedFiles(inPlace.storage).length === 1);
    await container.stop();
  }
  expect(ownerOf(join(inPlace.state, 'ledger.db')).uid).toBe(1234);

  chownSync(inPlace.storage, 4321, 2345);
  await using container = supportOn(server, { ...inPlace, environment: { PUID: '4321', PGID: '2345' } });
  await container.run();
  await container.watching();
  expect(ownerOf(join(inPlace.state, 'ledger.db'))).toEqual({ uid: 4321, gid: 2345 });
  expect(ownerOf(join(inPlace.storage, '.mailwatchd')).uid).toBe(4321);
  await server.deliver('ann', MESSAGE);
  await container.until('the second document', () => publishedFiles(inPlace.storage).length === 2);
  const owners = publishedFiles(inPlace.storage).map((file) => ownerOf(file).uid);
  expect(owners.sort()).toEqual([1234, 4321]);
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
});

interface Place extends AsyncDisposable {
  directory: string;
}

/** A directory that outlives a container. */
function sharedPlace(): Place {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-place-'));
  chmodSync(directory, 0o755);
  for (const name of ['mail', 'state']) mkdirSync(join(directory, name));
  return {
    directory,
    [Symbol.asyncDispose]: async () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** `docker run IMAGE COMMAND` with nothing mounted, and `input` for it. */
async function runImage(command: string[], input = ''): Promise<Outcome> {
  const child = spawn('docker', ['run', '--rm', '--interactive', '--network', 'none', IMAGE, ...command]);
  child.stdin.on('error', () => undefined).end(input);
  const said = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const [stdout, stderr] = await said;
  return { status: child.exitCode, stdout, stderr };
}

test('docker run IMAGE COMMAND without a configuration: what needs none works, the rest says so', async () => {
  expect(await runImage(['--help'])).toMatchObject({ status: 0, stdout: expect.stringContaining('Usage:') });
  const schema = await runImage(['schema']);
  expect(schema.status).toBe(0);
  expect(JSON.parse(schema.stdout)).toMatchObject({ $schema: expect.any(String) });
  const parsed = await runImage(['parse', '-'], MESSAGE.toString());
  expect(parsed.status).toBe(0);
  expect(JSON.parse(parsed.stdout)).toMatchObject({ subject: 'hello', account: null });
  expect((await runImage(['parse', '/nowhere.eml'])).status).toBe(65);
  expect((await runImage(['nonsense'])).status).toBe(64);
  for (const command of ['check', 'plan', 'list']) {
    expect(await runImage([command])).toMatchObject({
      status: 78,
      stderr: expect.stringContaining('CONFIG_UNREADABLE'),
    });
  }
});

test("docker run IMAGE COMMAND with a configuration: as the service's user, with the Contract's statuses", async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = supportOn(server, { storageOwner: { uid: 1000, gid: 1000 } });
  await server.deliver('ann', MESSAGE);
  const password = join(container.directory, 'secrets', 'ann');
  chmodSync(password, 0o400);
  const refused = await container.command('check');
  expect(refused.status).toBe(1);
  expect(refused.stdout + refused.stderr).toContain('SECRET_UNAVAILABLE');
  chownSync(password, 1000, 1000);
  expect(await container.command('check')).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('support/INBOX'),
  });
  expect(await container.command('plan')).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('support/INBOX'),
  });
  expect(await container.command('status')).toMatchObject({ status: 1 });
  expect(await container.command('once')).toMatchObject({ status: 0 });
  const [document] = publishedFiles(container.storage);
  expect(ownerOf(document!)).toEqual({ uid: 1000, gid: 1000 });
  expect(ownerOf(join(container.state, 'ledger.db')).uid).toBe(1000);
  expect(await container.command('list', '--json')).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('"published"'),
  });
  container.configure({ accounts: [{ name: 'Not A Name' }] });
  expect(await container.command('check')).toMatchObject({
    status: 78,
    stderr: expect.stringContaining('CONFIG_INVALID'),
  });
});

test("docker exec as root: its commands are the service's user's, and leave no file of root's", async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = supportOn(server);
  await container.run();
  await container.watching();
  expect(await container.exec('mailwatchd', 'status')).toMatchObject({
    status: 0,
    stdout: expect.stringContaining('RUNNING'),
  });
  expect(await container.exec('mailwatchd', 'list')).toMatchObject({ status: 0 });
  expect(await container.exec('mailwatchd', 'once')).toMatchObject({
    status: 75,
    stderr: expect.stringContaining('ALREADY_RUNNING'),
  });
  await container.page.press('mailwatchd', 'stop');
  await container.until('the daemon to end', async () => (await container.daemon()) === null);
  await server.deliver('ann', MESSAGE);
  expect(await container.exec('mailwatchd', 'once')).toMatchObject({ status: 0 });
  expect(publishedFiles(container.storage)).toHaveLength(1);
  const { stdout } = await container.exec(
    ...[
      'find',
      '/var/lib/mailwatchd',
      '/var/spool/mailwatchd',
      '/var/log/mailwatchd',
      '!',
      '-user',
      'mailwatchd',
    ],
  );
  expect(stdout).toBe('');
});

// --- Monit's page --------------------------------------------------------------------------------------

const answers = (page: { url: string }, user: string, password: string) =>
  monitPage(page.url, user, password).rows();

/** A container without any account to watch needs no mail server. */
const pageOnly = (options: Partial<ContainerOptions>): Container =>
  createContainer({
    accounts: [containerAccount({ host: '127.0.0.1', imapPort: 1 }, 'support', 'ann')],
    secrets: { ann: 'a', ...options.secrets },
    environment: options.environment ?? {},
    parameters: options.parameters ?? [],
  });

async function expectRefused(container: Container, says: RegExp): Promise<void> {
  await container.until(
    'the container to end',
    async () => (await container.inspect('{{.State.Status}}')) === 'exited',
  );
  expect(await container.inspect('{{.State.ExitCode}}')).toBe('78');
  expect(await container.logs()).toMatch(says);
}

test("the page's password from a file; from a variable; a random one, whose place is told", async () => {
  const accepted = /Monit's page: .*, user (\S+), password (.*)/;
  const say = (container: Container) =>
    container.until('the page to be announced', async () => accepted.exec(await container.logs()));

  await using file = pageOnly({ environment: { MONIT_USER: 'ann.b_c@d-e', MONIT_PASSWORD: 'not this one' } });
  await file.run();
  expect((await say(file)).slice(1)).toEqual(['ann.b_c@d-e', 'in /run/secrets/monit_password']);
  await file.until('the page', () => file.page.rows().catch(() => null));
  await expect(answers(file.page, 'ann.b_c@d-e', 'not this one')).rejects.toThrow(/401/);

  const odd = 'a b#{}$(id);&<>%!;';
  await using variable = pageOnly({
    secrets: { monit_password: null },
    environment: { MONIT_PASSWORD: odd },
  });
  await variable.run();
  expect((await say(variable)).slice(1)).toEqual(['admin', 'in MONIT_PASSWORD']);
  await variable.until('the page', () => answers(variable.page, 'admin', odd).catch(() => null));
  await expect(answers(variable.page, 'admin', 'other')).rejects.toThrow(/401/);

  await using random = pageOnly({ secrets: { monit_password: null } });
  await random.run();
  const [, user, place] = await say(random);
  const [, path] = /^a random one: docker exec CONTAINER cat (\S+)$/.exec(place!)!;
  const password = (await random.exec('cat', path!)).stdout.trim();
  expect(password).toMatch(/^[0-9a-f]{32}$/);
  expect((await random.exec('stat', '-c', '%a %U', path!)).stdout.trim()).toBe('600 root');
  await random.until('the page', () => answers(random.page, user!, password).catch(() => null));
  expect(await random.logs()).not.toContain(password);
});

test.each([
  {
    name: 'admin:monit by variable',
    options: { secrets: { monit_password: null }, environment: { MONIT_PASSWORD: 'monit' } },
  },
  { name: 'admin:monit by file', options: { secrets: { monit_password: 'monit' } } },
  { name: 'a quote', options: { secrets: { monit_password: 'before"after' } } },
  { name: 'an apostrophe', options: { secrets: { monit_password: "before'after" } } },
  { name: 'a backslash', options: { secrets: { monit_password: 'before\\after' } } },
  { name: 'a line break', options: { secrets: { monit_password: 'before\nafter' } } },
  {
    name: 'a tab',
    options: { secrets: { monit_password: null }, environment: { MONIT_PASSWORD: 'before\tafter' } },
  },
  { name: 'another alphabet', options: { secrets: { monit_password: 'beföreafter' } } },
  // Monit would print it, as it is.
  { name: 'a long one', options: { secrets: { monit_password: `${'x'.repeat(59)}before` } } },
  { name: 'a space at its end', options: { secrets: { monit_password: 'before ' } } },
  { name: 'nothing in the file', options: { secrets: { monit_password: '' } } },
  { name: 'a user with a colon', options: { environment: { MONIT_USER: 'before:after' } } },
  { name: 'a user with a quote', options: { environment: { MONIT_USER: 'before"after' } } },
  { name: 'an address that is none', options: { environment: { MONIT_BIND: 'before after' } } },
])('refused for the page: $name', async ({ options }) => {
  await using container = pageOnly(options);
  await container.run();
  await expectRefused(container, /^mailwatchd: .*(password|MONIT_USER|MONIT_BIND)/m);
  expect(await container.logs()).not.toMatch(/before|after/);
});

test('the longest password is one that Monit takes', async () => {
  const longest = `${'x'.repeat(58)}before`;
  await using container = pageOnly({ secrets: { monit_password: longest } });
  await container.run();
  await container.until('the page', () => answers(container.page, 'admin', longest).catch(() => null));
});

test('a page that cannot be had is told; the watcher runs', async () => {
  await using first = pageOnly({});
  await first.run();
  await first.until('the page', () => first.page.rows().catch(() => null));
  const address = new URL(first.page.url).hostname;
  await using second = pageOnly({ environment: { MONIT_BIND: address } });
  await second.run();
  await second.until('the watcher', async () => (await second.logs()).includes(' info started '));
  expect(await second.logs()).toMatch(/^mailwatchd: Monit will have no page: .*EADDRINUSE.*:2812$/m);
  expect(await first.logs()).not.toContain('no page');
});

test('a read-only container without a place for its files ends with what it needs', async () => {
  await using container = pageOnly({ parameters: ['--read-only'] });
  await container.run();
  await expectRefused(container, /^mailwatchd: STORAGE_DENIED: \/run .*: mount a tmpfs there$/m);
});

test('MONIT_BIND narrows the page; without it every address of the container has it', async () => {
  await using container = pageOnly({});
  await container.run();
  await container.until('the page', () => container.page.rows().catch(() => null));
  // Not 127.0.0.1, where a container of somebody's may be published.
  const elsewhere = monitPage('http://127.255.0.1:2812', 'admin', container.page.password);
  await expect(elsewhere.rows()).rejects.toThrow(/fetch failed/);

  // On a network of its own, as users run it.
  const name = `${container.name}-everywhere`;
  try {
    const parameters = [
      '--detach',
      '--name',
      name,
      '--publish',
      '127.0.0.1::2812',
      '--env',
      'MONIT_PASSWORD=p',
    ];
    expect(await docker('run', ...parameters, IMAGE)).toMatchObject({ status: 0 });
    const published = await docker('port', name, '2812/tcp');
    const page = monitPage(`http://${published.stdout.trim()}`, 'admin', 'p');
    const rows = await container.until('the published page', () => page.rows().catch(() => null));
    expect(rows.map((row) => row.name)).toContain('mailwatchd');
  } finally {
    await docker('rm', '--force', '--volumes', name);
  }
});
