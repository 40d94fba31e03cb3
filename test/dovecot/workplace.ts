/** A place to run the built daemon in: its directories, its configuration, its processes and its commands. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Dovecot } from '../servers/dovecot.ts';
import { descendantsOf } from '../servers/processes.ts';
import { until } from '../servers/until.ts';

/** The built program; another one, such as an installed copy, can be named. */
export const PROGRAM = process.env.MAILWATCHD_MAIN ?? resolve(import.meta.dirname, '../../dist/main.js');

/** What a command said. */
export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A line of `list --json` (the Contract). */
export interface ListedMessage {
  account: string;
  folder: string;
  uid: number;
  id: string;
  state: string;
  messageId: string | null;
  size: number;
  sha256: string;
  path: string | null;
  receivedAt: string;
  publishedAt: string | null;
  reason: string | null;
}

/** A mailbox of `status --json` (the Contract). */
export interface MailboxStatus {
  account: string;
  folder: string;
  state: string;
  healthy: boolean;
  reason: string | null;
  lastHeardAt: string | null;
  lastPushAt: string | null;
  oldestWaiting: string | null;
  delay: { count: number; p50: number } | null;
  credentialChangedAt: string | null;
  quota: { resource: string; used: number; limit: number } | null;
  warnings: { what: string; text: string }[];
  expected: number;
  stored: number;
  missing: number;
  quarantined: number;
  filtered: number;
}

export interface RunningDaemon {
  pid: number;
  process: ChildProcess;
  /** What it wrote on stderr so far. */
  output(): string;
  /** `until`, but rejects with what the daemon wrote as soon as it ended or the time is over. */
  until<T>(
    what: string,
    condition: () => T | Promise<T>,
    within?: number,
  ): Promise<Exclude<T, false | null | undefined>>;
  /** SIGKILL, and resolves once it and every process it started are gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with its exit status. */
  stop(): Promise<number | null>;
}

export interface Workplace extends AsyncDisposable {
  directory: string;
  storage: string;
  state: string;
  configuration: string;
  /** Writes the configuration anew, `changes` over what it was made with. */
  configure(changes: object): void;
  /** Runs a command to its end, with `input` on stdin. */
  command(parameters: string[], input?: string): Promise<Outcome>;
  /** Starts a command, to be watched while it runs. */
  launch(parameters: string[], input?: string): { pid: number; finished: Promise<Outcome> };
  /** Starts the daemon; does not wait for anything. */
  start(): RunningDaemon;
  /** status.json of the running daemon; null before its first. */
  mailboxes(): MailboxStatus[] | null;
  /** Resolves once the daemon `pid` waits for mail in every mailbox, with nothing missing. */
  settled(daemon: RunningDaemon, within?: number): Promise<void>;
  list(...parameters: string[]): Promise<ListedMessage[]>;
}

/** An account on a test server without TLS, with its defaults short enough for tests. */
export function accountOn(
  server: Pick<Dovecot, 'host' | 'imapPort'>,
  name: string,
  user: string,
  password: string,
  more: object = {},
): object {
  return {
    ...{ name, host: server.host, port: server.imapPort, security: 'none', user, password },
    ...{ folders: ['INBOX'], start: 'all' },
    ...more,
  };
}

/**
 * A temporary directory with everything in it; disposing kills what still runs and removes it. `within`:
 * a command that the daemon's command line is given to, such as `unshare`. `program`: another entry than PROGRAM.
 */
export function createWorkplace(
  settings: { accounts: object[] } & Record<string, unknown>,
  { within = [], program = PROGRAM }: { within?: string[]; program?: string } = {},
): Workplace {
  if (!existsSync(program)) throw new Error(`${program} is missing: run scripts/prepare`);
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-work-'));
  const storage = join(directory, 'storage');
  const state = join(directory, 'state');
  const configuration = join(directory, 'mailwatchd.yaml');
  for (const name of ['storage', 'state', 'log']) mkdirSync(join(directory, name));
  const running = new Set<ChildProcess>();

  /** JSON is YAML; it holds plain passwords, so nobody else may read it. */
  const configure = (changes: object) =>
    writeFileSync(
      configuration,
      JSON.stringify({
        ...{ storage: { directory: storage }, state: { directory: state } },
        ...{ log: { directory: join(directory, 'log'), console: true } },
        ...settings,
        ...changes,
      }),
      { mode: 0o600 },
    );
  configure({});
  /** Its mailboxes appear in status.json one after another. */
  const watched = (): number =>
    (
      JSON.parse(readFileSync(configuration, 'utf8')) as { accounts: { folders: string[] }[] }
    ).accounts.flatMap(({ folders }) => folders).length;

  function spawnProgram(parameters: string[], stdin: 'ignore' | 'pipe' = 'ignore'): ChildProcess {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('MAILWATCHD_'));
    const child = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', ...within, process.execPath, program, ...parameters, '--config', configuration],
      {
        stdio: [stdin, 'pipe', 'pipe'],
        env: Object.fromEntries(environment),
      },
    );
    running.add(child);
    child.once('exit', () => running.delete(child));
    return child;
  }

  function readStatus(): { pid: number; mailboxes: MailboxStatus[] } | null {
    const file = join(state, 'status.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
  }

  const place: Workplace = {
    directory,
    storage,
    state,
    configuration,
    configure,
    launch(parameters, input) {
      const child = spawnProgram(parameters, input === undefined ? 'ignore' : 'pipe');
      child.stdin?.end(input);
      const said = Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
      const finished = said.then(([stdout, stderr]) => ({ status: child.exitCode, stdout, stderr }));
      return { pid: child.pid!, finished };
    },
    command: (parameters, input) => place.launch(parameters, input).finished,
    start() {
      const child = spawnProgram(['run']);
      let output = '';
      child.stderr!.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      child.stdout!.resume();
      const ended = once(child, 'close');
      return {
        pid: child.pid!,
        process: child,
        output: () => output,
        async until(what, condition, within) {
          const unlessEnded = () => {
            if (child.exitCode !== null || child.signalCode !== null)
              throw new Error(`${what}: the daemon ended`);
            return condition();
          };
          return until(what, unlessEnded, within).catch((error: Error) => {
            throw new Error(
              `${error.message}\n${JSON.stringify(readStatus()?.mailboxes)}\n${output.slice(-5000)}`,
            );
          });
        },
        async kill() {
          const family = descendantsOf(child.pid!);
          child.kill('SIGKILL');
          await ended;
          await until('the processes of a killed daemon to end', () => family.every((one) => !one.exists()));
        },
        async stop() {
          child.kill('SIGTERM');
          await ended;
          return child.exitCode;
        },
      };
    },
    mailboxes: () => readStatus()?.mailboxes ?? null,
    async settled(daemon, within = 60_000) {
      await daemon.until(
        'the daemon to settle',
        () => {
          const status = readStatus();
          if (status?.pid !== daemon.pid || status.mailboxes.length !== watched()) return false;
          return status.mailboxes.every(
            ({ state, missing }) => (state === 'idle' || state === 'polling') && missing === 0,
          );
        },
        within,
      );
    },
    async list(...parameters) {
      const { status, stdout, stderr } = await place.command(['list', '--json', ...parameters]);
      if (status !== 0) throw new Error(`list: exit ${status}: ${stderr}`);
      return stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as ListedMessage);
    },
    async [Symbol.asyncDispose]() {
      for (const child of running) {
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      }
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return place;
}
