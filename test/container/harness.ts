/** A container of the image under test: its directories, configuration, secrets, life, and Monit's page. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { onTestFailed } from 'vitest';
import { accountOn, type MailboxStatus, type Outcome } from '../dovecot/workplace.ts';
import type { Dovecot } from '../servers/dovecot.ts';
import { familyOf, type Process } from '../servers/processes.ts';
import { until } from '../servers/until.ts';
import { docker, dockerOk } from './docker.ts';
import { type MonitPage, monitPage } from './monit-page.ts';

/** scripts/test names the one that it built. */
export const IMAGE = process.env.MAILWATCHD_IMAGE ?? 'mailwatchd';

/** What scripts/test finds this run's containers by, if we die before we removed them. */
const LABEL = `mailwatchd-test=${process.env.MAILWATCHD_TEST_RUN ?? process.pid}`;

/** How often something is asked that takes another process to answer, ms. */
const ASK_EVERY = 200;

/** For `processes`. */
export const DAEMON = /^\S*node .*main\.js run /;
export const MONIT = /^monit -I /;

/** Monit's cycle is 5 s: whatever it says or does may take a few, each long where the machine has much else to do. */
export const CYCLES = 150_000;

/** Monit waits 20 s for a start that failed, and the script up to 60 s before the next, ms. */
export const SPACED = 300_000;

export interface ContainerOptions {
  accounts: object[];
  /** What else stands in the configuration. */
  settings?: object;
  /** Content by name, below /run/secrets. `monit_password` is there anyway; null leaves it out. */
  secrets?: Record<string, string | null>;
  environment?: Record<string, string>;
  /** Of the storage directory, where it is not root's. */
  storageOwner?: { uid: number; gid: number };
  /** A directory or the name of a volume in place of the container's own. */
  storage?: string;
  state?: string;
  /** Further ones of `docker run`. */
  parameters?: string[];
  image?: string;
}

export interface Container extends AsyncDisposable {
  name: string;
  /** Everything that is mounted lies here. */
  directory: string;
  /** As the host sees it, where it is a directory. */
  storage: string;
  state: string;
  configuration: string;
  page: MonitPage;
  /** Writes the configuration anew: `changes` over what it was made with, or a text as it is. */
  configure(changes: object | string): void;
  /** Writes a secret anew, in the file that is mounted. */
  setSecret(name: string, content: string): void;
  /** `docker run`: once. */
  run(): Promise<void>;
  /**
   * `docker start`, `docker stop`, `docker restart`, `docker kill`; the time that each took, ms. What has not
   * stopped after `patience` seconds is killed: Docker has 10.
   */
  start(): Promise<number>;
  stop(patience?: number): Promise<number>;
  restart(): Promise<number>;
  kill(): Promise<number>;
  /** `docker run IMAGE COMMAND`, with all that the container has. */
  command(...parameters: string[]): Promise<Outcome>;
  /** `docker exec`, as root. */
  exec(...command: string[]): Promise<Outcome>;
  /** `docker inspect` by a Go template. */
  inspect(template: string): Promise<string>;
  /** All it ever said, on both streams; `timestamps` puts the time before each line. */
  logs(options?: { timestamps?: boolean }): Promise<string>;
  /** The pid, in the container's own numbers, that its pid file holds; null where there is none. */
  daemon(): Promise<number | null>;
  /** The container's processes whose command line matches, as the host sees them. */
  processes(commandLine: RegExp): Promise<Process[]>;
  /** Sends a signal to the daemon. */
  signalDaemon(signal: string): Promise<void>;
  /** What the daemon says of its mailboxes; null where it has said nothing yet. */
  mailboxes(): MailboxStatus[] | null;
  /** `until` in a rhythm that is not a load; rejects with the container's log and page. */
  until<T>(
    what: string,
    condition: () => T | Promise<T>,
    within?: number,
  ): Promise<Exclude<T, false | null | undefined>>;
  /** Resolves once a daemon of this life of the container waits for mail in every mailbox. */
  watching(within?: number): Promise<void>;
  /** Resolves once a row of the page is as wanted; a page that does not answer is not. */
  pageSays(service: string, wanted: { status?: RegExp; output?: RegExp }, within?: number): Promise<void>;
}

/** An account on a test server, with its password in the secret of the user's name. */
export const containerAccount = (
  server: Pick<Dovecot, 'host' | 'imapPort'>,
  name: string,
  user: string,
  more: object = {},
): object => accountOn(server, name, user, '', { password: { file: `/run/secrets/${user}` }, ...more });

/** A container that runs; nothing is waited for. */
export async function startContainer(options: ContainerOptions): Promise<Container> {
  const container = createContainer(options);
  await container.run();
  return container;
}

/** A container that does not run yet. Disposing removes it with all that belonged to it. */
export function createContainer(options: ContainerOptions): Container {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-container-'));
  // Others than root look for their mail below.
  chmodSync(directory, 0o755);
  const name = basename(directory);
  const inside = (path: string) => join(directory, path);
  const storage = options.storage ?? inside('storage');
  const state = options.state ?? inside('state');
  const configuration = inside('mailwatchd.yaml');
  for (const each of ['storage', 'state', 'secrets']) mkdirSync(inside(each));
  if (options.storageOwner) chownSync(inside('storage'), options.storageOwner.uid, options.storageOwner.gid);

  const pagePassword = 'page-password';
  const setSecret = (secret: string, content: string) =>
    writeFileSync(join(directory, 'secrets', secret), `${content}\n`);
  for (const [secret, content] of Object.entries({ monit_password: pagePassword, ...options.secrets }))
    if (content !== null) setSecret(secret, content);

  // On the host's network, since the test servers listen on loopback only; so each has Monit on an address
  // of its own.
  const address = `127.${[1, 2, 3].map(() => 1 + Math.floor(Math.random() * 254)).join('.')}`;
  const environment: Record<string, string> = { MONIT_BIND: address, ...options.environment };
  const parameters = [
    ...['--network', 'host', '--label', LABEL],
    ...Object.entries(environment).flatMap(([variable, value]) => ['--env', `${variable}=${value}`]),
    ...['--volume', `${configuration}:/etc/mailwatchd/mailwatchd.yaml:ro`],
    ...['--volume', `${inside('secrets')}:/run/secrets:ro`],
    ...['--volume', `${storage}:/var/spool/mailwatchd`],
    ...['--volume', `${state}:/var/lib/mailwatchd`],
    ...(options.parameters ?? []),
    options.image ?? IMAGE,
  ];

  let bornAt = 0;
  const takesOf = async (...command: string[]): Promise<number> => {
    const begun = performance.now();
    await dockerOk(...command);
    return performance.now() - begun;
  };
  /** A daemon that is older belongs to a former life. */
  const bears = (...command: string[]) => {
    bornAt = Date.now();
    return takesOf(...command);
  };
  const readStatus = (): { startedAt: string; mailboxes: MailboxStatus[] } | null => {
    const file = join(state, 'status.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
  };
  const watched = (): number =>
    (
      JSON.parse(readFileSync(configuration, 'utf8')) as { accounts: { folders: string[] }[] }
    ).accounts.flatMap(({ folders }) => folders).length;

  /** For who has to find out why a test failed. */
  let remains = '';
  const tellAll = async () => {
    const rows = (await rowsOrNull())?.map((row) => `page: ${row.name}: ${row.status} ${row.output}`);
    return [await container.logs(), JSON.stringify(readStatus()), ...(rows ?? ['no page'])].join('\n');
  };
  const rowsOrNull = () => container.page.rows().catch(() => null);
  onTestFailed(() => console.log(`${name}, before it was removed:\n${remains}`));

  const container: Container = {
    ...{ name, directory, storage, state, configuration },
    page: monitPage(`http://${address}:2812`, environment.MONIT_USER ?? 'admin', pagePassword),
    configure(changes) {
      const text =
        typeof changes === 'string'
          ? changes
          : JSON.stringify({ accounts: options.accounts, ...options.settings, ...changes });
      writeFileSync(configuration, text);
    },
    setSecret,
    async run() {
      await bears('run', '--detach', '--name', name, ...parameters);
    },
    start: () => bears('start', name),
    stop: (patience) => takesOf('stop', ...(patience === undefined ? [] : [`--time=${patience}`]), name),
    restart: () => bears('restart', name),
    kill: () => takesOf('kill', name),
    command: (...command) => docker('run', '--rm', ...parameters, ...command),
    exec: (...command) => docker('exec', name, ...command),
    inspect: (template) => dockerOk('inspect', '--format', template, name),
    async logs({ timestamps = false } = {}) {
      const { stdout, stderr } = await docker('logs', `--timestamps=${timestamps}`, name);
      return stdout + stderr;
    },
    async daemon() {
      const { status, stdout } = await container.exec('cat', '/run/mailwatchd/mailwatchd.pid');
      return status === 0 ? Number(stdout) : null;
    },
    async processes(commandLine) {
      const first = Number(await container.inspect('{{.State.Pid}}'));
      return familyOf(first).filter(({ pid }) => commandLine.test(commandLineOf(pid)));
    },
    async signalDaemon(signal) {
      // Debian's small installations have `kill` in the shell only.
      await dockerOk('exec', name, 'sh', '-c', `kill -s ${signal} ${await container.daemon()}`);
    },
    mailboxes: () => readStatus()?.mailboxes ?? null,
    until: (what, condition, within = CYCLES) =>
      until(what, condition, within, ASK_EVERY).catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await tellAll()}`);
      }),
    async watching(within) {
      await container.until(
        'every mailbox to be watched',
        () => {
          const status = readStatus();
          if (!status || Date.parse(status.startedAt) < bornAt) return false;
          return status.mailboxes.length === watched() && status.mailboxes.every(isWatched);
        },
        within,
      );
    },
    async pageSays(service, { status = /^/, output = /^/ }, within) {
      const isAsWanted = async () => {
        const row = (await rowsOrNull())?.find((each) => each.name === service);
        return row !== undefined && status.test(row.status) && output.test(row.output);
      };
      await container.until(`the page to say of ${service}: ${status} ${output}`, isAsWanted, within);
    },
    async [Symbol.asyncDispose]() {
      remains = await tellAll();
      await docker('rm', '--force', '--volumes', name);
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  container.configure({});
  return container;
}

/** Empty where it has gone. */
function commandLineOf(pid: number): string {
  const file = `/proc/${pid}/cmdline`;
  try {
    return readFileSync(file, 'utf8').replaceAll('\0', ' ');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

const isWatched = ({ state, missing }: MailboxStatus): boolean =>
  (state === 'idle' || state === 'polling') && missing === 0;
