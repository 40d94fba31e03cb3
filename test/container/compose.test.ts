/** compose.yaml: the demo, from mail to documents, and the watcher of one's own mailboxes, each as locked in as written. */
import { execFile } from 'node:child_process';
import { chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Document, readDocument } from '../dovecot/documents.ts';
import { publishedFiles } from '../servers/published.ts';
import { until } from '../servers/until.ts';
import { docker, dockerOk } from './docker.ts';
import { type MonitPage, monitPage } from './monit-page.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const IMAGE = process.env.MAILWATCHD_IMAGE ?? 'mailwatchd';
const BASE_IMAGE = process.env.MAILWATCHD_BASE_IMAGE ?? 'ubuntu:24.04';
const DEMO_IMAGE = `mailwatchd-compose-demo:${process.pid}`;

/** Packages may come from far away. */
const BUILT_WITHIN = 300_000;
const UP_WITHIN = 120_000;
/** A few of Monit's cycles of 5 s, on a machine that has much else to do. */
const SHOWN_WITHIN = 150_000;
const ASK_EVERY = 200;

const run = promisify(execFile);

interface Project {
  directory: string;
  compose(...parameters: string[]): Promise<string>;
  /** The id of a service's container. */
  container(service: string): Promise<string>;
  page(service: string, password: string): Promise<MonitPage>;
  /** Takes it down with its volumes; rejects where Docker still knows a container, volume or network of it. */
  remove(): Promise<void>;
}

/** The project as a user has it: a directory with compose.yaml and what belongs to that. */
function createProject(profile?: string): Project {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-compose-'));
  for (const path of ['compose.yaml', '.env', 'scripts/demo'])
    cpSync(join(REPOSITORY, path), join(directory, path), { recursive: true });
  const name = basename(directory).toLowerCase();
  const settings = {
    ...process.env,
    COMPOSE_PROJECT_NAME: name,
    MAILWATCHD_IMAGE: IMAGE,
    MAILWATCHD_DEMO_IMAGE: DEMO_IMAGE,
    // Any that is free.
    MAILWATCHD_PORT: '',
    DEMO_EVERY: '1',
  };
  const project: Project = {
    directory,
    async compose(...parameters) {
      const [program, ...words] = await composeCommand();
      const profiles = profile ? ['--profile', profile] : [];
      const { stdout } = await run(program!, [...words, ...profiles, ...parameters], {
        cwd: directory,
        env: settings,
      });
      return stdout.trim();
    },
    container: (service) => project.compose('ps', '--quiet', service),
    async page(service, password) {
      const address = await dockerOk('port', await project.container(service), '2812/tcp');
      return monitPage(`http://${address}`, 'admin', password);
    },
    async remove() {
      await project.compose('down', '--volumes');
      rmSync(directory, { recursive: true, force: true });
      const ours = ['--quiet', '--filter', `label=com.docker.compose.project=${name}`];
      for (const list of [
        ['ps', '--all'],
        ['volume', 'ls'],
        ['network', 'ls'],
      ])
        expect(await dockerOk(...list, ...ours)).toBe('');
    },
  };
  return project;
}

/** The plug-in, or else the program that Debian has. */
const composeCommand = async (): Promise<string[]> =>
  (await docker('compose', 'version')).status === 0 ? ['docker', 'compose'] : ['docker-compose'];

/** How Docker holds a service's container, and what the kernel says of its privileges. */
async function confinement(project: Project, service: string): Promise<object> {
  const container = await project.container(service);
  const [{ HostConfig, NetworkSettings }] = JSON.parse(await dockerOk('inspect', container));
  const { stdout } = await docker(
    'exec',
    container,
    'sh',
    '-c',
    'grep -E "NoNewPrivs|CapBnd" /proc/1/status',
  );
  return {
    readOnly: HostConfig.ReadonlyRootfs,
    privileged: HostConfig.Privileged,
    memory: HostConfig.Memory,
    pids: HostConfig.PidsLimit,
    temporary: Object.keys(HostConfig.Tmpfs ?? {}).sort(),
    privileges: stdout.replace(/\s+/g, ' ').trim(),
    published: Object.values(NetworkSettings.Ports as Record<string, { HostIp: string }[] | null>).flatMap(
      (ports) => (ports ?? []).map(({ HostIp }) => HostIp),
    ),
  };
}

const privileges = (capabilities: string): string =>
  `CapBnd: ${capabilities.padStart(16, '0')} NoNewPrivs: 1`;

/** Its capabilities are CHOWN, DAC_OVERRIDE, KILL, SETGID and SETUID: bits 0, 1, 5, 6 and 7 (capability.h). */
const WATCHER = {
  readOnly: true,
  privileged: false,
  memory: 512 * 1024 * 1024,
  pids: 500,
  temporary: ['/run', '/tmp'],
  privileges: privileges('e3'),
  published: ['127.0.0.1'],
};

beforeAll(async () => {
  const demo = join(REPOSITORY, 'scripts/demo');
  await dockerOk(
    ...['build', '--quiet', '--network', 'host', '--build-arg', `BASE_IMAGE=${BASE_IMAGE}`],
    ...['--tag', DEMO_IMAGE, demo],
  );
}, BUILT_WITHIN);

afterAll(() => docker('rmi', DEMO_IMAGE));

describe('the demo', () => {
  let project: Project;

  beforeAll(async () => {
    project = createProject('demo');
    await project.compose('up', '--detach', '--no-build');
  }, UP_WITHIN);
  beforeEach(({ onTestFailed }) => onTestFailed(async () => console.log(await project.compose('logs'))));
  afterAll(() => project.remove(), UP_WITHIN);

  /** What is published, with the attachments: only what was there before the copy began is sure to be whole in it. */
  async function published(): Promise<Document[]> {
    const container = await project.container('demo');
    const spool = '/var/spool/mailwatchd';
    const { stdout } = await docker('exec', container, 'find', `${spool}/demo`, '-name', '*.json');
    const before = stdout.split('\n').map((path) => basename(path));
    if (stdout === '') return [];
    const copy = mkdtempSync(join(tmpdir(), 'mailwatchd-compose-'));
    try {
      await dockerOk('cp', `${container}:${spool}/demo`, copy);
      return publishedFiles(copy)
        .filter((file) => before.includes(basename(file)))
        .map(readDocument);
    } finally {
      rmSync(copy, { recursive: true });
    }
  }

  test('turns mail of every kind into valid documents', async () => {
    const documents = await until(
      'a document of each kind',
      async () => {
        const all = await published();
        return all.length >= 4 && all;
      },
      UP_WITHIN,
      ASK_EVERY,
    );
    const subjects = documents.map(({ subject }) => subject);
    expect(subjects).toContainEqual(expect.stringMatching(/^Bestellung \d+: 2 × Käsefondue 🫕$/));
    expect(subjects).toContainEqual(expect.stringContaining('DiskAlmostFull'));
    expect(subjects).toContainEqual(expect.stringContaining('what ripens this week'));
    const invoice = documents.find(({ subject }) => subject?.startsWith('Invoice '));
    expect(invoice?.attachments[0]?.filename).toMatch(/^invoice-\d+\.pdf$/);
    expect(documents.flatMap(({ warnings }) => warnings)).toEqual([]);
  });

  test('shows each document in its log', async () => {
    const wanted = [
      /^sent invoice \d+$/m,
      / published mailbox=demo\/INBOX /,
      /"filename": "invoice-\d+\.pdf"/,
    ];
    await until(
      'the log to show what was sent, published and consumed',
      async () => {
        const containers = await Promise.all(['sender', 'demo', 'consumer'].map(project.container));
        const logs = await Promise.all(containers.map((container) => docker('logs', container)));
        return wanted.every((pattern, index) => pattern.test(logs[index]!.stdout + logs[index]!.stderr));
      },
      SHOWN_WITHIN,
      ASK_EVERY,
    );
  });

  test('has the mailbox on its page', async () => {
    const page = await project.page('demo', 'demo');
    await until(
      'the page to say that the mailbox is watched',
      async () => {
        const rows = await page.rows().catch(() => []);
        return rows.some(({ name, status }) => name === 'demo INBOX' && status === 'OK');
      },
      SHOWN_WITHIN,
      ASK_EVERY,
    );
  });

  test('is locked in as the watcher of real mailboxes is, and publishes nothing but the page', async () => {
    expect(await confinement(project, 'demo')).toEqual(WATCHER);
    const others = { ...WATCHER, memory: 256 * 1024 * 1024, pids: 100, published: [] };
    // CHOWN, KILL, SETGID and SETUID; none; DAC_READ_SEARCH.
    const capabilities = { mailserver: 'e1', sender: '00', consumer: '04' };
    for (const [service, set] of Object.entries(capabilities))
      expect(await confinement(project, service)).toEqual({ ...others, privileges: privileges(set) });
  });
});

describe('without a profile', () => {
  /** Neither root nor the service's own user. */
  const owner = 12_345;
  let project: Project;

  beforeAll(async () => {
    project = createProject();
    const account = {
      name: 'support',
      host: 'mail.invalid',
      user: 'ann',
      password: { file: '/run/secrets/ann' },
      folders: ['INBOX'],
      start: 'new',
    };
    const write = (path: string, text: string) => writeFileSync(join(project.directory, path), text);
    for (const directory of ['etc', 'mail', 'secrets']) mkdirSync(join(project.directory, directory));
    write('etc/mailwatchd.yaml', JSON.stringify({ accounts: [account] }));
    write('secrets/ann', 'a\n');
    write('secrets/monit_password', 'page-password\n');
    chownSync(join(project.directory, 'mail'), owner, owner);
    await project.compose('up', '--detach', '--no-build');
  }, UP_WITHIN);
  afterAll(() => project.remove(), UP_WITHIN);
  beforeEach(({ onTestFailed }) => onTestFailed(async () => console.log(await project.compose('logs'))));

  test('the watcher comes up alone, locked in', async () => {
    expect(await project.compose('ps', '--quiet')).toBe(await project.container('mailwatchd'));
    expect(await confinement(project, 'mailwatchd')).toEqual(WATCHER);
  });

  test("the watcher takes one's own configuration and secrets, and runs as the owner of ./mail", async () => {
    const page = await project.page('mailwatchd', 'page-password');
    await until(
      'the page to show the mailbox and its trouble',
      async () => {
        const rows = await page.rows().catch(() => []);
        return rows.some(({ name, output }) => name === 'support INBOX' && output.includes('mail.invalid'));
      },
      SHOWN_WITHIN,
      ASK_EVERY,
    );
    const ledger = '/var/lib/mailwatchd/ledger.db';
    const container = await project.container('mailwatchd');
    expect(await dockerOk('exec', container, 'stat', '-c', '%u', ledger)).toBe(String(owner));
  });
});
