/** Where one life after another of the program is led: its directories, its mailbox, its consumer, and what must come of it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chownSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Consumer, startConsumer } from '../../dovecot/consumer.ts';
import type { Truth } from '../../dovecot/differences.ts';
import { accountOn, createWorkplace, PROGRAM, type Workplace } from '../../dovecot/workplace.ts';
import type { Dovecot } from '../../servers/dovecot.ts';
import type { ServerMessage } from '../../servers/imap-client.ts';
import { descendantsOf } from '../../servers/processes.ts';
import { until } from '../../servers/until.ts';
import { CHANGING, type Tracing, trace } from '../strace.ts';

/** Who makes the system calls: the spool's thread, a parser, IMAP and supervision, file operations of the latter. */
export const ACTORS = ['spool', 'parser', 'main', 'pool'] as const;
export type Actor = (typeof ACTORS)[number];

export const ACCOUNT = 'support';
export const USER = 'ann';
export const PASSWORD = 'open sesame';

const GATE = join(import.meta.dirname, 'gate.ts');

/** Any wait of an attack: long beside what the program needs, and nothing but a hang exceeds it. */
export const WITHIN = 60_000;

/** Over the configuration that every stage has; `account` over the only account's. */
export type Settings = { account?: object; storage?: object; log?: object } & Record<string, unknown>;

export interface Clothes {
  user?: number;
  environment?: Record<string, string>;
}

/** One process of the program, one of whose threads may be held until it is traced. */
export interface Life {
  pid: number;
  process: ChildProcess;
  output(): string;
  ended(): boolean;
  /** Resolves once it and all that it started are gone. */
  end: Promise<void>;
  /** Follows a thread of it; one that was held goes on. `inject` as strace knows it, for all calls or those on `path`. */
  trace(actor: Actor, inject?: string, path?: string): Promise<Tracing>;
  signal(signal: NodeJS.Signals): void;
}

export interface Stage extends AsyncDisposable {
  server: Dovecot;
  place: Workplace;
  /** The mailbox of this stage alone. */
  folder: string;
  consumer: Consumer;
  /** What was sent, and so must come. */
  truth: Truth;
  /** What the server has in a folder of this stage. */
  messages(folder: string): Promise<ServerMessage[]>;
  /** Puts a message into the folder (or another one) of the server. */
  send(raw: Buffer, options?: { into?: string; date?: Date }): Promise<number>;
  configure(changes: Settings): void;
  /** For what is started from now on: its user, who then owns everything, and more environment. */
  wear(clothes: Clothes): void;
  /** Starts a command; `held` does not get beyond its first step before `trace`. */
  live(parameters: string[], held?: Actor): Life;
  /** Whether it waits for mail in every mailbox, with so many messages stored. */
  idles(life: Life, stored: number): boolean;
  /** Waits for that; throws where it ends before. */
  untilIdle(life: Life, stored: number): Promise<void>;
}

/** The stages share a connection, on which a folder is opened, read and closed again. */
let looking: Promise<unknown> = Promise.resolve();

export async function setStage(server: Dovecot, folder: string, settings: Settings = {}): Promise<Stage> {
  await server.createFolder(USER, folder);
  const place = createWorkplace({ accounts: [] });
  const lives: Life[] = [];
  let gates = 0;
  let clothes: Clothes = {};
  const stage: Stage = {
    ...{ server, place, folder, consumer: startConsumer(place.storage), truth: [] },
    async send(raw, { into = folder, date } = {}) {
      const uid = await server.append(USER, into, raw, date ? { date } : {});
      const sha256 = createHash('sha256').update(raw).digest('hex');
      const messageId = /^Message-ID:\s*<([^>]*)>/im.exec(raw.toString('latin1'))?.[1] ?? null;
      const sent = { uid, sha256, size: raw.length, messageId, internalDate: 0, flags: [] };
      stage.truth.push({ ...sent, account: ACCOUNT, folder: into });
      return uid;
    },
    messages(of) {
      const asked = looking.then(() => server.messages(USER, of));
      looking = asked.catch(() => undefined);
      return asked;
    },
    configure(changes) {
      const { account, storage, log, ...others } = { ...settings, ...changes };
      place.configure({
        ...others,
        parsers: 1,
        storage: { directory: place.storage, ...storage },
        log: { directory: join(place.directory, 'log'), console: true, ...log },
        accounts: [accountOn(server, ACCOUNT, USER, PASSWORD, { folders: [folder], ...account })],
      });
    },
    wear(next) {
      clothes = next;
      const { user } = next;
      if (user !== undefined) execFileSync('chown', ['-R', `${user}:${user}`, place.directory]);
    },
    live(parameters, held) {
      gates += 1;
      const life = startLife(place, parameters, join(place.directory, `gate${gates}`), held, clothes);
      lives.push(life);
      return life;
    },
    idles(life, stored) {
      const mailboxes = statusOf(place, life.pid);
      if (mailboxes === null) return false;
      const rests = mailboxes.every(({ state, missing }) => state === 'idle' && missing === 0);
      return rests && mailboxes.reduce((sum, mailbox) => sum + (mailbox.stored ?? 0), 0) === stored;
    },
    async untilIdle(life, stored) {
      await until(
        `the daemon to wait for mail, with ${stored} messages stored`,
        () => {
          if (life.ended()) throw new Error('the daemon ended');
          return stage.idles(life, stored);
        },
        WITHIN,
      ).catch((error: Error) => {
        throw new Error(`${error.message}\n${life.output().slice(-3000)}`);
      });
    },
    async [Symbol.asyncDispose]() {
      stage.consumer.stop();
      for (const life of lives) {
        life.signal('SIGKILL');
        await life.end;
      }
      await place[Symbol.asyncDispose]();
    },
  };
  stage.configure({});
  return stage;
}

interface Told {
  state: string;
  healthy: boolean;
  reason: string | null;
  stored: number | null;
  missing: number | null;
}

/** What this very daemon tells of its mailboxes; null before it did. */
export function statusOf(place: Workplace, pid: number): Told[] | null {
  const file = join(place.state, 'status.json');
  if (!existsSync(file)) return null;
  const status = JSON.parse(readFileSync(file, 'utf8')) as { pid: number; mailboxes: Told[] };
  return status.pid === pid && status.mailboxes.length > 0 ? status.mailboxes : null;
}

function startLife(
  place: Workplace,
  parameters: string[],
  gate: string,
  held: Actor | undefined,
  { user, environment }: Clothes,
): Life {
  mkdirSync(gate);
  execFileSync('mkfifo', [join(gate, 'fifo')]);
  if (user !== undefined) chownSync(gate, user, user);
  const identity = user === undefined ? [] : ['--reuid', `${user}`, '--regid', `${user}`, '--clear-groups'];
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MAILWATCHD_'));
  const child = spawn(
    'setpriv',
    [
      ...[...identity, '--pdeathsig', 'KILL', process.execPath, '--import', GATE, PROGRAM],
      ...[...parameters, '--config', place.configuration],
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      // One thread for file operations, so that which call is whose does not depend on chance.
      env: {
        ...Object.fromEntries(inherited),
        TORTURE_GATE: gate,
        TORTURE_HELD: held ?? '',
        UV_THREADPOOL_SIZE: '1',
        ...environment,
      },
    },
  );
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  let family: { exists(): boolean }[] = [];
  const end = once(child, 'exit').then(async () => {
    await until('the processes of a program that ended', () => family.every((one) => !one.exists()));
  });
  const pid = child.pid!;
  let traces = 0;

  /** The thread's id, as soon as there is one. */
  const threadOf = (actor: Actor): Promise<number> =>
    until(
      `the ${actor} thread`,
      () => {
        if (ended()) throw new Error(`the program ended: ${output}`);
        if (actor === 'parser') return parserOf(pid);
        const told = join(gate, actor === 'pool' ? 'main' : actor);
        if (!existsSync(told)) return null;
        return actor === 'pool' ? poolOf(pid) : Number(readFileSync(told, 'utf8'));
      },
      WITHIN,
      5,
    );

  return {
    ...{ pid, process: child, ended, end },
    output: () => output,
    async trace(actor, inject, path) {
      traces += 1;
      const tid = await threadOf(actor);
      // Should it be killed in the next moment, these are to be waited for.
      family = descendantsOf(pid);
      const log = join(gate, `strace${traces}`);
      const tracing = await trace({
        tid,
        calls: CHANGING,
        log,
        ...(inject && { inject }),
        ...(path && { path }),
      });
      if (held === actor) await openGate(join(gate, 'fifo'), ended);
      return tracing;
    },
    signal(signal) {
      if (ended()) return;
      family = descendantsOf(pid);
      child.kill(signal);
    },
  };
}

/** Opening the end for writing fails with ENXIO where nobody waits at the other one. */
function openGate(fifo: string, ended: () => boolean): Promise<true> {
  return until('the gate to open', () => {
    try {
      closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO' || ended()) throw error;
      return null;
    }
  });
}

function poolOf(pid: number): number | null {
  const name = (tid: string) => readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').trim();
  const [tid] = readdirSync(`/proc/${pid}/task`).filter((each) => name(each) === 'libuv-worker');
  return tid === undefined ? null : Number(tid);
}

function parserOf(pid: number): number | null {
  const [parser] = descendantsOf(pid).filter(({ pid: child }) =>
    /parser-process/.test(readFileSync(`/proc/${child}/cmdline`, 'latin1')),
  );
  return parser?.pid ?? null;
}

/** What a killed daemon said last must not be taken for the next one's word. */
export function forgetStatus(place: Workplace): void {
  rmSync(join(place.state, 'status.json'), { force: true });
}
