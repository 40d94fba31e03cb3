/** One parser process as the pool sees it: what it is on, since when, how much memory, and how it ended. */
import { readFileSync } from 'node:fs';
import type { Clock } from '../clock.ts';
import { type ErrorCode, MailwatchdError, reviveError } from '../errors.ts';
import { discard } from '../memory.ts';
import { encodeRequest, replyReader } from './parser-channel.ts';
import {
  isAnswer,
  isDocumentJob,
  isStageJob,
  type Job,
  MAX_DOCUMENT_BYTES,
  MAX_ROW_BYTES,
  type Reply,
} from './parser-protocol.ts';
import { spawnSandboxed } from './sandbox.ts';

export interface Task {
  number: number;
  job: Job;
  /** Attempts that ended with the process. */
  failures: number;
  /** The message is with the process as a whole: the system no longer reads it from our memory. */
  sent: boolean;
  resolve(result: unknown): void;
  reject(error: MailwatchdError): void;
}

/** How a process ended. */
export interface Ending {
  /** The message that it was on; null where it was on none, or we ended it for no fault of a message. */
  culprit: Task | null;
  code: ErrorCode;
  detail: string;
  /** What it had been given beside the culprit. */
  innocent: Task[];
  /** It ended before it was ready. */
  cold: boolean;
}

export interface ParserOptions {
  entry: URL;
  stagingDirectory: string | null;
  /** From the moment a message is started, seconds. */
  parseSeconds: number;
  /** Resident memory, MiB. */
  parseMemoryMb: number;
  clock: Clock;
  onReady(): void;
  /** The parser refused a task, and lives. */
  onFailure(task: Task, error: MailwatchdError): void;
  /** A task was answered; there is room for another. */
  onFree(): void;
  onEnd(ending: Ending): void;
}

export interface Parser {
  readonly pid: number | undefined;
  readonly ready: boolean;
  /** Tasks it was given and has not answered. */
  readonly load: number;
  /** Of their messages, as far as they come through the channel. */
  readonly loadBytes: number;
  give(task: Task): void;
  /** Ends it without blaming the message it is on. Resolves when it is gone. */
  end(): Promise<void>;
}

/** Resident memory is looked at this often while a message is being parsed, milliseconds. */
const WATCH_EVERY = 100;

/** A process that is not ready, or has not begun a message, by then never will; a loaded machine needs a few seconds. */
const START_SECONDS = 30;

/** What of stderr is kept to tell why a process ended: V8's last words are shorter. */
const KEPT_STDERR = 4000;

/**
 * A process that holds more than this part of its memory after a message is replaced: what Node keeps
 * for later would count against the next message.
 */
const WORN = 0.5;

/** Memory is looked at again after so many bytes of messages: a look takes as long as a small message does. */
const LOOK_AFTER_BYTES = 1024 * 1024;

/** Whoever may say anything at any time has its deadline begin anew as often as it likes. */
const OUT_OF_TURN = { code: 'PARSER_DIED', detail: 'what it says is out of turn' } as const;

export function startParser(options: ParserOptions): Parser {
  const { clock, parseMemoryMb } = options;
  const { child, requests, replies } = spawnSandboxed({
    entry: options.entry,
    writable: options.stagingDirectory,
    heapMb: parseMemoryMb,
  });
  const tasks: Task[] = [];
  const gone = Promise.withResolvers<void>();
  let ready = false;
  let current: Task | null = null;
  let bytesSinceLook = 0;
  let stderr = '';
  /** Why we ended it ourselves; `retired` blames nobody. */
  let reason: { code: ErrorCode; detail: string } | 'retired' | null = null;
  let cancelDeadline = clock.after(START_SECONDS * 1000, () => {
    kill({ code: 'PARSER_UNAVAILABLE', detail: `not ready within ${START_SECONDS} s` });
  });
  let cancelWatch: () => void = () => undefined;

  function kill(why: { code: ErrorCode; detail: string } | 'retired'): void {
    reason ??= why;
    child.kill('SIGKILL');
  }

  function watch(): void {
    cancelWatch = clock.after(WATCH_EVERY, () => {
      const used = residentMb(child.pid);
      if (used > parseMemoryMb) kill({ code: 'PARSE_MEMORY', detail: `${used} MiB resident` });
      else watch();
    });
  }

  /** A process that was stopped between two messages says nothing for ever, and no message is to blame. */
  function awaitStart(): void {
    cancelDeadline();
    if (tasks.length > 0) cancelDeadline = clock.after(START_SECONDS * 1000, () => kill('retired'));
  }

  function begin(number: number): void {
    const task = tasks.find((given) => given.number === number);
    if (current !== null || task === undefined) return void kill(OUT_OF_TURN);
    cancelDeadline();
    current = task;
    const { parseSeconds } = options;
    cancelDeadline = clock.after(parseSeconds * 1000, () =>
      kill({ code: 'PARSE_TIMED_OUT', detail: `longer than ${parseSeconds} s` }),
    );
    watch();
  }

  function finish(number: number, answer: (task: Task) => void): void {
    const task = current;
    if (task?.number !== number) return void kill(OUT_OF_TURN);
    cancelWatch();
    current = null;
    tasks.splice(tasks.indexOf(task), 1);
    awaitStart();
    bytesSinceLook += sizeOf(task);
    answer(task);
    if (isWorn()) kill('retired');
    else options.onFree();
  }

  function isWorn(): boolean {
    if (bytesSinceLook < LOOK_AFTER_BYTES) return false;
    bytesSinceLook = 0;
    return residentMb(child.pid) > parseMemoryMb * WORN;
  }

  function answer(reply: Reply): void {
    switch (reply.kind) {
      case 'ready':
        if (ready) return void kill(OUT_OF_TURN);
        cancelDeadline();
        ready = true;
        options.onReady();
        break;
      case 'started':
        begin(reply.number);
        break;
      case 'done':
        finish(reply.number, (task) => {
          const { job } = task;
          if (!isAnswer(job, reply.result)) {
            options.onFailure(task, new MailwatchdError('PARSE_FAILED', { detail: 'the reply is no row' }));
            return;
          }
          // One that says so before it has read the message must not get what comes to lie in its place; nor must
          // another process, which was given a candidate's to judge.
          const isFree = isStageJob(job) && job.candidate === undefined && task.sent;
          if (isFree && Buffer.isBuffer(job.source)) discard(job.source);
          task.resolve(reply.result);
        });
        break;
      case 'failed':
        finish(reply.number, (task) => options.onFailure(task, reviveError(reply.error)));
        break;
    }
  }

  const read = replyReader(() =>
    tasks.some(({ job }) => isDocumentJob(job)) ? MAX_DOCUMENT_BYTES : MAX_ROW_BYTES,
  );
  replies?.on('data', (chunk: Buffer) => {
    if (reason !== null) return;
    let complete: Reply[];
    try {
      complete = read(chunk);
    } catch (error) {
      kill({ code: 'PARSER_DIED', detail: `what it says is no reply: ${String(error)}` });
      return;
    }
    for (const reply of complete) if (reason === null) answer(reply);
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-KEPT_STDERR);
  });
  // The exit says all, and gives back what it was sent; a channel that breaks as the process dies is no news.
  for (const end of [requests, replies]) end?.on('error', () => undefined);
  child.on('error', (error) => {
    stderr = `${stderr}${error.message}`;
    if (child.pid === undefined) ended(`cannot be started: ${error.message}`);
  });
  child.on('close', (code, signal) => ended(signal === null ? `exit status ${code}` : `signal ${signal}`));

  let over = false;
  function ended(how: string): void {
    if (over) return;
    over = true;
    cancelDeadline();
    cancelWatch();
    gone.resolve();
    // One that died before it announced a message died of the first one it was given, if of any.
    const given = tasks.splice(0);
    const culprit = reason === 'retired' || !ready ? null : (current ?? given[0] ?? null);
    const outOfMemory = /heap out of memory|Allocation failed/i.test(stderr);
    const own = reason === 'retired' ? null : reason;
    options.onEnd({
      culprit,
      code: own?.code ?? (ready ? (outOfMemory ? 'PARSE_MEMORY' : 'PARSER_DIED') : 'PARSER_UNAVAILABLE'),
      detail: own?.detail ?? [how, lastWords(stderr)].filter(Boolean).join(': '),
      innocent: given.filter((task) => task !== culprit),
      cold: !ready,
    });
  }

  return {
    get pid() {
      return child.pid;
    },
    get ready() {
      return ready && reason === null;
    },
    get load() {
      return tasks.length;
    },
    get loadBytes() {
      return tasks.reduce((sum, task) => sum + sizeOf(task), 0);
    },
    give(task) {
      tasks.push(task);
      if (tasks.length === 1) awaitStart();
      const [head, message] = encodeRequest(task);
      task.sent = false;
      requests?.cork();
      requests?.write(head);
      requests?.write(message, (error) => {
        // Once this process has ended, another one may have it.
        if (tasks.includes(task)) task.sent = !error;
      });
      requests?.uncork();
    },
    end() {
      kill('retired');
      return gone.promise;
    },
  };
}

/** Bytes; of a file it is not known, and may be as large as any. */
function sizeOf({ job: { source } }: Task): number {
  return source instanceof Uint8Array ? source.length : Number.POSITIVE_INFINITY;
}

/** From /proc, in MiB; 0 where there is none, or the process is gone: then only V8's own limit holds. */
function residentMb(pid: number | undefined): number {
  if (pid === undefined) return 0;
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return Math.round(Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}

/** The line that tells what went wrong, of what Node prints around it. */
function lastWords(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  return (lines.find((line) => /error|fatal/i.test(line)) ?? lines.find((line) => line !== '') ?? '').slice(
    0,
    300,
  );
}
