/** The spool thread's entry: one queue, everything synchronous; a batch is what came while the last one was synced. */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { systemClock } from '../clock.ts';
import { MailwatchdError, type PlainError, plainError } from '../errors.ts';
import { diskFiles } from './files.ts';
import type { Answers, Arrival } from './handover.ts';
import { openLedger } from './ledger.ts';
import {
  type Calls,
  openService,
  type Riding,
  type Run,
  type Service,
  type SpoolOptions,
} from './service.ts';

/** So many messages share one commit at most: a bound on the time until the first of them is answered. */
const BATCH_MESSAGES = 512;

/** "published" is committed within this, also where no next batch comes. */
const MARK_MILLISECONDS = 1_000;

/**
 * What is stuck is tried again, and the run's directory made again where somebody removed it, also
 * where no mailbox asks for it: parsers fail without that directory before anything comes here.
 */
const TEND_MILLISECONDS = 15_000;

/** How often another process's commits are looked for. */
const WATCH_MILLISECONDS = 1_000;

/** What main sends. */
export type Request = { number: number } & (
  | { kind: 'arrival'; arrival: Arrival }
  | { kind: 'riding'; write: Riding }
  | { kind: 'call'; name: keyof Calls; args: unknown[] }
  | { kind: 'stop' }
);

/** What main gets. */
export type Report =
  | { kind: 'ready'; run: Run }
  | { kind: 'refused'; error: PlainError }
  | { kind: 'answers'; answers: Answer[] }
  | { kind: 'changed-outside' };

export type Answer = { number: number; value?: unknown; error?: PlainError };

if (parentPort !== null) serve(parentPort, workerData as SpoolOptions);

function serve(port: MessagePort, options: SpoolOptions): void {
  const report = (message: Report) => port.postMessage(message);
  let service: Service;
  try {
    service = openService(options, { files: diskFiles, openLedger, now: () => systemClock.now() });
  } catch (error) {
    report({ kind: 'refused', error: ours(error) });
    port.close();
    return;
  }
  let queue: Request[] = [];
  let cancelMarks: (() => void) | null = null;
  let packing: NodeJS.Immediate | null = null;
  let cancelTend: () => void = () => undefined;
  let cancelWatch: () => void = () => undefined;

  const receive = (request: Request) => {
    // The event loop brings all that has come before it gets to the immediate.
    if (queue.length === 0) setImmediate(turn);
    queue.push(request);
  };
  port.on('message', receive);
  watch();
  tend();
  packSoon();
  report({ kind: 'ready', run: service.run });

  function turn(): void {
    const requests = queue;
    queue = [];
    for (const request of requests) if (request.kind === 'call') answerCall(request);
    const riding = requests.filter((request) => request.kind === 'riding');
    const arrivals = requests.filter((request) => request.kind === 'arrival');
    const waits = () => arrivals.length > 0 || haveArrived();
    if (riding.length > 0 || arrivals.length > 0)
      answerBatch(arrivals.splice(0, BATCH_MESSAGES), riding, waits);
    while (arrivals.length > 0) answerBatch(arrivals.splice(0, BATCH_MESSAGES), [], waits);
    const stop = requests.find((request) => request.kind === 'stop');
    if (stop !== undefined) answerStop(stop.number);
    else {
      schedule();
      packSoon();
    }
  }

  function answerCall(request: Extract<Request, { kind: 'call' }>): void {
    const { number, name, args } = request;
    try {
      // An answer must not be older than what was published before it.
      service.flush();
      const call = service.calls[name] as (...args: unknown[]) => unknown;
      report({ kind: 'answers', answers: [{ number, value: call(...args) }] });
    } catch (error) {
      report({ kind: 'answers', answers: [{ number, error: ours(error) }] });
    }
  }

  function answerBatch(
    arrivals: Extract<Request, { kind: 'arrival' }>[],
    riding: Extract<Request, { kind: 'riding' }>[],
    waits: () => boolean,
  ): void {
    const answered = (answers: Answers) =>
      arrivals.flatMap(({ number }, index) => {
        const error = answers[index];
        return error === undefined ? [] : [answer(number, error)];
      });
    const { answers, ledger } = service.batch(
      arrivals.map(({ arrival }) => arrival),
      riding.map(({ write }) => write),
      { waits, answer: (late) => report({ kind: 'answers', answers: answered(late) }) },
    );
    const told = [...answered(answers), ...riding.map(({ number }) => answer(number, ledger))];
    if (told.length > 0) report({ kind: 'answers', answers: told });
  }

  /** Whether arrivals wait for the next turn, those included that the event loop has not brought yet. */
  function haveArrived(): boolean {
    for (let come = receiveMessageOnPort(port); come !== undefined; come = receiveMessageOnPort(port))
      receive(come.message as Request);
    return queue.some(({ kind }) => kind === 'arrival');
  }

  function answerStop(number: number): void {
    cancelMarks?.();
    cancelTend();
    cancelWatch();
    if (packing !== null) clearImmediate(packing);
    try {
      service.stop();
      report({ kind: 'answers', answers: [{ number }] });
    } catch (error) {
      report({ kind: 'answers', answers: [{ number, error: ours(error) }] });
    }
    port.close();
  }

  function schedule(): void {
    if (service.due()) {
      cancelMarks ??= systemClock.after(MARK_MILLISECONDS, () => {
        cancelMarks = null;
        quietly(service.flush);
      });
    }
  }

  function tend(): void {
    cancelTend = systemClock.after(TEND_MILLISECONDS, () => {
      quietly(service.calls.settle);
      packSoon();
      tend();
    });
  }

  /** One step between two turns, so that a batch waits for no more than that. One that fails is tried again later. */
  function packSoon(): void {
    if (packing !== null || !service.packer.due()) return;
    packing = setImmediate(() => {
      packing = null;
      try {
        service.packer.step();
        packSoon();
      } catch (error) {
        ours(error);
      }
    });
  }

  /** What fails here stays to be done, and whoever needs it next is told why. */
  function quietly(work: () => void): void {
    try {
      work();
    } catch (error) {
      ours(error);
    }
    schedule();
  }

  function watch(): void {
    cancelWatch = systemClock.after(WATCH_MILLISECONDS, () => {
      watch();
      try {
        if (service.changedOutside()) report({ kind: 'changed-outside' });
      } catch (error) {
        // A ledger that cannot be read is reported by those who need it; this only looks again.
        ours(error);
      }
    });
  }
}

function answer(number: number, error: MailwatchdError | null): Answer {
  return error === null ? { number } : { number, error: plainError(error) };
}

/** Ours crosses as it is. Anything else is a defect and ends the thread, which main reports. */
function ours(error: unknown): PlainError {
  if (error instanceof MailwatchdError) return plainError(error);
  throw error;
}
