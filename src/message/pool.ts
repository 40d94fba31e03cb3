/** The parser processes: one always warm, more under load, and for each death or time-out the one message to blame. */
import { type Clock, systemClock } from '../clock.ts';
import { type ErrorCode, MailwatchdError } from '../errors.ts';
import type { Log } from '../logging.ts';
import type { LeftOut, StagedDocument } from '../model.ts';
import { programEntry } from '../program.ts';
import type { MessageDocument } from './document.ts';
import { type Ending, type Parser, startParser, type Task } from './parser.ts';
import {
  type DocumentJob,
  type Job,
  type JudgeJob,
  type Judgement,
  nameOf,
  type StageJob,
} from './parser-protocol.ts';

export interface ParserPoolOptions {
  /** Processes at most, 1 or more. One more may run for a message that is tried alone. */
  size: number;
  /** The only directory that parsers may write; null: none. */
  stagingDirectory: string | null;
  parseSeconds: number;
  parseMemoryMb: number;
  /** Servers whose Authentication-Results are trusted in an account's mail (`ParseOptions`); none where absent. */
  authservIds?: (account: string) => readonly string[];
  clock?: Clock;
  log?: Log;
  /** How often a message is tried that ends its process or cannot be parsed; three times where absent. */
  attempts?: number;
  /** Another entry for tests: a script that loops, allocates or exits on command. */
  entry?: URL;
}

export interface ParserPool {
  /**
   * Parses and stages a message, whose bytes may be gone once it resolves. Rejects with PARSE_FAILED, or after three attempts with
   * PARSE_TIMED_OUT, PARSE_MEMORY or PARSER_DIED; with a storage error at once; with PARSER_UNAVAILABLE
   * where no process can be started, or the pool was stopped.
   */
  parse(job: Pick<StageJob, 'identity' | 'source' | 'target'>): Promise<StagedDocument>;
  /** Parses a message, and stages it unless a rule leaves it out. Rejects as `parse`. */
  parseCandidate(job: Required<Omit<StageJob, 'authservIds'>>): Promise<StagedDocument | LeftOut>;
  /**
   * Judges a message by its first bytes; what cannot be read is undecided. Rejects with PARSER_UNAVAILABLE where no process
   * can be started, or the pool was stopped.
   */
  judge(job: JudgeJob): Promise<Judgement>;
  /** Parses a message and gives the document. Rejects as `parse`. */
  parseToDocument(job: DocumentJob): Promise<MessageDocument>;
  /** Resolves when the first process is ready. */
  warm(): Promise<void>;
  /** Ends every process; what is unfinished rejects with PARSER_UNAVAILABLE. */
  stop(): Promise<void>;
}

/** A message that ends its process once may have been unlucky (the OOM killer); three times it was the message. */
const ATTEMPTS = 3;

/**
 * What a process is given ahead: it takes small messages faster than we may come to give it more. Nothing waits
 * behind a large one, which may come from a file and take seconds.
 */
const PIPELINE = { messages: 16, bytes: 256 * 1024 };

/** A process beyond the warm one ends after so long without work, milliseconds. */
const IDLE = 30_000;

/** Processes in a row that never became ready, after which waiting messages are given back. */
const COLD_FAILURES = 3;

export function startParsers(options: ParserPoolOptions): ParserPool {
  const { size, authservIds = () => [], clock = systemClock, log, attempts = ATTEMPTS } = options;
  const entry = options.entry ?? programEntry('message/parser-process');
  /** Every process, with the cancel function of its idle time. */
  const parsers = new Map<Parser, { cancelIdle: () => void; alone: Task | null }>();
  const waiting: Task[] = [];
  /** Messages that a process died of: each is tried alone, in a process of its own. */
  const suspects: Task[] = [];
  const warm = Promise.withResolvers<void>();
  // Whoever does not wait for it must not die of it.
  warm.promise.catch(() => undefined);
  let numbers = 0;
  let coldFailures = 0;
  let stopped = false;

  const general = () => [...parsers].filter(([, { alone }]) => alone === null).map(([parser]) => parser);

  function start(alone: Task | null): void {
    const parser = startParser({
      entry,
      stagingDirectory: options.stagingDirectory,
      parseSeconds: options.parseSeconds,
      parseMemoryMb: options.parseMemoryMb,
      clock,
      onReady() {
        coldFailures = 0;
        warm.resolve();
        if (alone) parser.give(alone);
        else dispatch();
      },
      onFailure(task, error) {
        // Storage errors are no fault of the message. A parse that failed may have lacked memory.
        if (error.code === 'PARSE_FAILED') blame(task, error.code, error.message);
        else task.reject(error);
      },
      onFree() {
        if (alone) void parser.end();
        else dispatch();
      },
      onEnd: (ending) => settle(parser, alone, ending),
    });
    parsers.set(parser, { cancelIdle: () => undefined, alone });
  }

  /** Gives work to processes that have room, starts more where there is work, ends those that have none. */
  function dispatch(): void {
    if (stopped) return;
    const isAlone = [...parsers.values()].some(({ alone }) => alone !== null);
    const suspect = isAlone ? undefined : suspects.shift();
    if (suspect) start(suspect);
    while (waiting.length > 0) {
      const parser = freest(general());
      // An idle process is better than a second message in a busy one, a busy one better than waiting.
      const starting = general().filter((one) => !one.ready).length;
      if ((parser === undefined || parser.load > 0) && general().length < size && starting < waiting.length) {
        start(null);
      }
      if (!parser) break;
      parser.give(waiting.shift() as Task);
    }
    if (general().length === 0 && coldFailures < COLD_FAILURES) start(null);
    for (const parser of general()) rest(parser);
  }

  /** The one with the least to do of those that have room. */
  function freest(all: readonly Parser[]): Parser | undefined {
    let best: Parser | undefined;
    for (const one of all) {
      if (!one.ready || !hasRoom(one)) continue;
      if (best === undefined || one.load < best.load) best = one;
    }
    return best;
  }

  function rest(parser: Parser): void {
    const state = parsers.get(parser);
    if (!state) return;
    state.cancelIdle();
    state.cancelIdle = () => undefined;
    if (!parser.ready || parser.load > 0) return;
    state.cancelIdle = clock.after(IDLE, () => {
      if (parser.load === 0 && general().filter((one) => one.ready).length > 1) void parser.end();
    });
  }

  function settle(parser: Parser, alone: Task | null, ending: Ending): void {
    parsers.get(parser)?.cancelIdle();
    parsers.delete(parser);
    if (stopped) {
      for (const task of [ending.culprit, ...ending.innocent]) task?.reject(unavailable('stopped'));
      return;
    }
    waiting.unshift(...ending.innocent);
    if (ending.culprit) blame(ending.culprit, ending.code, ending.detail);
    else if (ending.cold) coldStart(alone, ending);
    dispatch();
  }

  function blame(task: Task, code: ErrorCode, detail: string): void {
    task.failures += 1;
    const { job } = task;
    const id = nameOf(job);
    log?.warn('parse_attempt_failed', { id, code, attempt: task.failures, reason: detail });
    if (task.failures < attempts) suspects.push(task);
    else task.reject(new MailwatchdError(code, { detail, ...(id !== undefined && { where: id }) }));
  }

  function coldStart(alone: Task | null, { detail }: Ending): void {
    coldFailures += 1;
    log?.error('parser_unavailable', { attempt: coldFailures, reason: detail });
    if (alone) suspects.unshift(alone);
    if (coldFailures < COLD_FAILURES) return;
    const error = unavailable(detail);
    warm.reject(error);
    for (const task of [...waiting.splice(0), ...suspects.splice(0)]) task.reject(error);
  }

  function submit<Result>(job: Job): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (stopped) return reject(unavailable('stopped'));
      numbers += 1;
      waiting.push({
        number: numbers,
        job,
        failures: 0,
        sent: false,
        resolve: resolve as Task['resolve'],
        reject,
      });
      dispatch();
    });
  }

  const withIds = (job: StageJob): StageJob => ({ ...job, authservIds: authservIds(job.identity.account) });

  start(null);
  return {
    parse: (job) => submit<StagedDocument>(withIds(job)),
    parseCandidate: (job) => submit<StagedDocument | LeftOut>(withIds(job)),
    judge: (job) =>
      submit<Judgement>(job).catch((error: MailwatchdError) => {
        if (error.code === 'PARSER_UNAVAILABLE') throw error;
        return { verdict: { kind: 'undecided' }, takenBy: null, messageId: null };
      }),
    parseToDocument: (job) => submit<MessageDocument>(job),
    warm: () => warm.promise,
    async stop() {
      if (!stopped) {
        stopped = true;
        for (const task of [...waiting.splice(0), ...suspects.splice(0)]) task.reject(unavailable('stopped'));
        warm.reject(unavailable('stopped'));
      }
      await Promise.all([...parsers.keys()].map((parser) => parser.end()));
    },
  };
}

const hasRoom = ({ load, loadBytes }: Parser): boolean =>
  load === 0 || (load < PIPELINE.messages && loadBytes < PIPELINE.bytes);

const unavailable = (detail: string) => new MailwatchdError('PARSER_UNAVAILABLE', { detail });
