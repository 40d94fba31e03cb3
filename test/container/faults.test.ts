/** What becomes of mail when what the container relies on fails: mail servers, disks, volumes; and what 50 mailboxes take. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startDovecot } from '../servers/dovecot.ts';
import { familyOf } from '../servers/processes.ts';
import { until } from '../servers/until.ts';
import { type Container, containerAccount, SPACED, startContainer } from './harness.ts';
import { type MailFlow, startMailFlow } from './mail-flow.ts';

const INBOX = [{ account: 'support', user: 'ann', folder: 'INBOX' }];

/** Waits until the mail of an outage was published, and prints how long that took since it was mended. */
async function mend(
  scenario: string,
  outage: Awaited<ReturnType<MailFlow['outage']>>,
  action: () => unknown,
): Promise<void> {
  const begun = performance.now();
  await action();
  await outage.over(SPACED);
  console.log(
    `scenario: ${scenario}: ${((performance.now() - begun) / 1000).toFixed(1)} s after it was mended`,
  );
}

test('a mail server gone and back: its mailbox says so, the other goes on', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using other = await startDovecot({ users: { bob: 'b' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann'), containerAccount(other, 'sales', 'bob')],
    secrets: { ann: 'a', bob: 'b' },
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();

  const begun = performance.now();
  await server.down();
  await container.pageSays('support INBOX', { status: /failed/, output: /ECONNREFUSED|CONNECTION/ }, SPACED);
  await container.pageSays('sales INBOX', { status: /^OK$/, output: /^watched$/ });
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  expect((await container.exec('mailwatchd', 'status', '--check')).stdout).toContain('support/INBOX');
  await container.until('half a minute without the server', () => performance.now() - begun > 30_000);

  const outage = await mail.outage('mail server gone for 30 s and back', () => server.up());
  await outage.over(SPACED);
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});

interface Disk extends AsyncDisposable {
  path: string;
  /** Takes all its space. */
  fill(): void;
  /** Gives it back. */
  empty(): void;
  remount(mode: 'ro' | 'rw'): void;
}

/** A small file system of its own. */
function mountDisk(megabytes: number): Disk {
  const path = mkdtempSync(join(tmpdir(), 'mailwatchd-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0755`, 'mailwatchd-test', path]);
  const ballast = join(path, '.ballast');
  return {
    path,
    fill() {
      const file = openSync(ballast, 'w');
      // Smaller and smaller pieces, until not one byte fits.
      for (let size = 65_536; size >= 1; ) {
        try {
          writeSync(file, Buffer.alloc(size));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
          size = Math.floor(size / 2);
        }
      }
      closeSync(file);
    },
    empty: () => rmSync(ballast),
    remount: (mode) => execFileSync('mount', ['-o', `remount,${mode}`, path]),
    async [Symbol.asyncDispose]() {
      execFileSync('umount', [path]);
      rmdirSync(path);
    },
  };
}

test('storage full, and space again', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using disk = mountDisk(4);
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    storage: disk.path,
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  await mail.flows();

  const outage = await mail.outage('storage full', async () => disk.fill());
  await container.pageSays('support INBOX', { status: /failed/, output: /STORAGE_FULL/ });
  await container.pageSays('storage', { status: /limit/i });
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  await container.pageSays('heartbeat', { status: /^OK$/ });
  expect(await container.exec('mailwatchd', 'status', '--check')).toMatchObject({ status: 1 });
  await mail.deliver();
  await mend('storage full', outage, () => disk.empty());
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await container.pageSays('storage', { status: /^OK$/ });
  await mail.expectEachOnce();
});

test('state full, and space again', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using disk = mountDisk(8);
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    state: disk.path,
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  await mail.flows();

  const outage = await mail.outage('state full', async () => disk.fill());
  await container.pageSays('state', { status: /limit/i });
  // The daemon can tell nothing of itself there any more.
  await container.pageSays('status', { status: /failed/, output: /no space left in .*mailwatchd/ }, SPACED);
  await container.pageSays('heartbeat', { status: /^OK$/ });
  await mail.deliver();
  await mend('state full', outage, () => disk.empty());
  await container.pageSays('status', { status: /^OK$/ }, SPACED);
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});

test('storage read-only, and writable again', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using disk = mountDisk(4);
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    storage: disk.path,
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  await mail.flows();

  const outage = await mail.outage('storage read-only', async () => disk.remount('ro'));
  await container.pageSays('support INBOX', { status: /failed/, output: /STORAGE_READ_ONLY/ });
  await container.pageSays('heartbeat', { status: /^OK$/ });
  await mend('storage read-only', outage, () => disk.remount('rw'));
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});

test('directories below one mount: the page tells of its space, and of that of another after a restart', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using disk = mountDisk(8);
  const below = (name: string) => join(disk.path, name);
  for (const name of ['mail', 'state', 'log of the day']) mkdirSync(below(name));
  const pair = { storage: { directory: '/srv/data/mail' }, state: { directory: '/srv/data/state' } };
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    settings: { ...pair, log: { directory: '/srv/data/log of the day' } },
    state: below('state'),
    parameters: ['--volume', `${disk.path}:/srv/data`],
  });
  const fileSystemOfLogs = async () => (await container.page.details('log'))['Filesystem type'];
  await container.watching();
  const three = ['storage', 'state', 'log'];
  for (const service of three) await container.pageSays(service, { status: /^OK$/ });
  expect(await fileSystemOfLogs()).toMatch(/^tmpfs/);
  disk.fill();
  for (const service of three) await container.pageSays(service, { status: /limit/i });

  disk.empty();
  container.configure({ log: { directory: '/var/log/mailwatchd' } });
  expect(await container.exec('/etc/init.d/mailwatchd', 'restart')).toMatchObject({ status: 0 });
  await container.until('the page to tell of another file system', async () => {
    const type = await fileSystemOfLogs().catch(() => 'tmpfs');
    return type !== undefined && !type.startsWith('tmpfs');
  });
  for (const service of three) await container.pageSays(service, { status: /^OK$/ });
});

test('two containers on one state volume: the second waits, and takes over', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  const options = { accounts: [containerAccount(server, 'support', 'ann')], secrets: { ann: 'a' } };
  await using first = await startContainer(options);
  using mail = startMailFlow(server, first, INBOX);
  await first.watching();
  const pid = await first.daemon();

  await using second = await startContainer({ ...options, storage: first.storage, state: first.state });
  await second.pageSays('heartbeat', { status: /failed/, output: /ALREADY_RUNNING/ }, SPACED);
  await second.pageSays('support INBOX', { status: /failed|not monitored|initializing/i });
  expect(await second.logs()).toContain('ALREADY_RUNNING');
  expect(await first.daemon()).toBe(pid);
  await first.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.flows();

  const outage = await mail.outage('the first of two containers stopped', () => first.stop());
  await outage.over(SPACED);
  await second.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await second.pageSays('mailwatchd', { status: /^OK$/ });
  await mail.expectEachOnce();
});

/** Every file and directory with its size and time. */
const treeOf = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const { size, mtimeMs } = statSync(join(directory, name));
      return `${name} ${size} ${mtimeMs}`;
    })
    .sort();

test('the state volume forgotten: refused with the reason, the storage untouched', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  const options = { accounts: [containerAccount(server, 'support', 'ann')], secrets: { ann: 'a' } };
  await using former = await startContainer(options);
  using mail = startMailFlow(server, former, INBOX);
  await former.watching();
  await mail.flows();
  await former.stop();
  const before = treeOf(former.storage);

  await using forgetful = await startContainer({ ...options, storage: former.storage });
  const outage = await mail.outage('the state volume forgotten', () =>
    forgetful.pageSays('heartbeat', { status: /failed/, output: /STORAGE_NOT_PAIRED/ }, SPACED),
  );
  await forgetful.pageSays('mailwatchd', { status: /does not exist|failed/i });
  expect(await forgetful.logs()).toContain('STORAGE_NOT_PAIRED');
  expect(await forgetful.exec('/etc/init.d/mailwatchd', 'start')).toMatchObject({
    status: 6,
    stderr: expect.stringContaining('STORAGE_NOT_PAIRED'),
  });
  await forgetful.stop();
  expect(treeOf(former.storage)).toEqual(before);

  await mend('the state volume forgotten', outage, () => former.start());
  await former.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});

test('a pid file that names a stranger: it is left alone, and the watcher comes back', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  const started = await container.exec('sh', '-c', 'sleep 100000 >/dev/null 2>&1 & echo $!');
  const stranger = started.stdout.trim();
  const lives = async () =>
    (await container.exec('grep', '-c', 'sleep', `/proc/${stranger}/cmdline`)).stdout.trim() === '1';
  const birth = (await container.exec('cat', `/proc/${stranger}/stat`)).stdout.split(' ')[21]!;
  const forge = (born: string) =>
    container.exec(
      'sh',
      '-c',
      `cd /run/mailwatchd && echo ${stranger} >mailwatchd.pid && echo ${born} >mailwatchd.started`,
    );

  await container.page.press('mailwatchd', 'stop');
  await container.until('the daemon to end', async () => (await container.daemon()) === null);
  for (const born of [birth, '1']) {
    await container.exec('/etc/init.d/mailwatchd', 'stop');
    await forge(born);
    expect(await container.exec('/etc/init.d/mailwatchd', 'stop')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('does not run'),
    });
    expect(await container.daemon()).toBeNull();
    await forge(born);
    expect(await container.exec('/etc/init.d/mailwatchd', 'reload')).toMatchObject({ status: 7 });
    expect(await container.exec('/etc/init.d/mailwatchd', 'restart')).toMatchObject({ status: 0 });
    expect(await lives()).toBe(true);
    expect(await container.daemon()).not.toBe(Number(stranger));
    await mail.flows();
  }

  // As Monit finds it: a pid that lives.
  await container.page.press('mailwatchd', 'monitor');
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  const outage = await mail.outage("killed, its pid a stranger's at once", async () => {
    await container.signalDaemon('KILL');
    await forge('1');
  });
  await outage.over(SPACED);
  expect(await lives()).toBe(true);
  await container.pageSays('heartbeat', { status: /^OK$/, output: /runs as process/ });
  await mail.expectEachOnce();
});

/** Of the whole container: shared pages once. */
async function megabytesOf(container: Container): Promise<number> {
  const init = Number(await container.inspect('{{.State.Pid}}'));
  return familyOf(init).reduce((sum, process) => sum + process.pss(), 0) / 1024 / 1024;
}

/** CPU time that the container took so far, seconds: of control groups' version 1 or 2. */
async function cpuSecondsOf(container: Container): Promise<number> {
  const { stdout } = await container.exec(
    ...['sh', '-c', 'cd /sys/fs/cgroup && cat cpuacct/cpuacct.usage 2>/dev/null || cat cpu.stat'],
  );
  const microseconds = /^usage_usec (\d+)/m.exec(stdout)?.[1];
  return microseconds === undefined ? Number(stdout) / 1e9 : Number(microseconds) / 1e6;
}

/** Which share of one processor it takes while nothing happens but Monit's checks. */
async function idleLoadOf(container: Container, cycles: number): Promise<number> {
  const lastCheck = async () => (await container.page.row('heartbeat')).cells['Last started'];
  const seen = new Set([await lastCheck()]);
  const begun = { at: performance.now(), cpu: await cpuSecondsOf(container) };
  await until(
    `${cycles} checks`,
    async () => seen.add(await lastCheck()).size > cycles,
    cycles * 20_000,
    1_000,
  );
  const cpu = (await cpuSecondsOf(container)) - begun.cpu;
  return cpu / ((performance.now() - begun.at) / 1000);
}

test.each([
  1, 50,
])('%i mailboxes within 512 MB: each on the page; the start, memory and load are printed', async (count) => {
  const users = Array.from({ length: count }, (_, index) => `user${index}`);
  await using server = await startDovecot({ users: Object.fromEntries(users.map((user) => [user, 'p'])) });
  const begun = performance.now();
  await using container = await startContainer({
    accounts: users.map((user) => containerAccount(server, user, user, { start: 'new' })),
    secrets: Object.fromEntries(users.map((user) => [user, 'p'])),
    parameters: ['--memory', '512m', '--pids-limit', '500'],
  });
  const folders = users.map((user) => ({ account: user, user, folder: 'INBOX' }));
  await container.watching(SPACED);
  const seconds = (performance.now() - begun) / 1000;
  using mail = startMailFlow(server, container, folders);
  await container.until('every mailbox on the page', async () => {
    const rows = await container.page.rows();
    return rows.filter(({ output }) => output === 'watched').length === count;
  });
  const megabytes = await megabytesOf(container);
  const load = await idleLoadOf(container, 6);
  console.log(
    `scenario: ${count} mailboxes: watched ${seconds.toFixed(1)} s after docker run; idle the container takes ` +
      `${megabytes.toFixed(0)} MB and ${(load * 100).toFixed(1)} % of a processor`,
  );
  await mail.flows(folders.at(-1));
  await mail.expectEachOnce();
  expect(await container.inspect('{{.State.OOMKilled}} {{.RestartCount}}')).toBe('false 0');
});

test('200 mailboxes on the hardened command line: each is looked at, though all are at once', async () => {
  const folders = Array.from({ length: 8 }, (_, index) => `folder${index}`);
  const accounts = Array.from({ length: 25 }, (_, index) =>
    containerAccount({ host: '127.0.0.1', imapPort: 1 }, `account${index}`, 'ann', { folders }),
  );
  await using container = await startContainer({
    accounts,
    secrets: { ann: 'a' },
    parameters: ['--memory', '512m', '--pids-limit', '500'],
  });
  await container.until(
    'every mailbox on the page',
    async () => {
      const rows = await container.page.rows().catch(() => []);
      return rows.filter(({ output }) => output.includes('CONNECTION_REFUSED')).length >= 8 * 25;
    },
    SPACED,
  );
  const { stdout } = await container.exec(
    ...['sh', '-c', 'cd /sys/fs/cgroup && cat pids/pids.events 2>/dev/null || cat pids.events'],
  );
  expect(stdout.trim()).toMatch(/^max 0$/m);
});
