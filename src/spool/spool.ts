/** The spool as the main thread sees it: every method is a message to the spool thread and its answer. */
import { Worker } from 'node:worker_threads';
import { MailwatchdError, type PlainError, plainError, reviveError } from '../errors.ts';
import type { Epoch, Mailbox, MessageIdentity, MessageMetadata, StageTarget } from '../model.ts';
import type { MailboxLedger } from '../ports.ts';
import { programEntry } from '../program.ts';
import type { AcceptItem } from './handover.ts';
import type { FilteredItem } from './messages.ts';
import { messageIdentity, stagedStem } from './names.ts';
import type { QuarantineItem } from './quarantine.ts';
import type { MailboxCounts } from './reading.ts';
import type { Replay, ReplaySource } from './replays.ts';
import type { Calls, Run, SpoolOptions } from './service.ts';
import type { Report, Request } from './thread.ts';

export type { AcceptItem } from './handover.ts';
export type { QuarantineItem } from './quarantine.ts';
export type { MailboxCounts } from './reading.ts';
export type { Replay } from './replays.ts';
export type { Run, SpoolOptions } from './service.ts';
export type { StorageSettings } from './storage.ts';

/** A replay that has begun. */
export interface BegunReplay extends ReplaySource {
  target: StageTarget;
}

/**
 * Ledger and storage. Everything that waits for the disk happens in the spool thread; every promise
 * rejects with INTERNAL once that thread has died.
 */
export interface Spool extends MailboxLedger {
  run: Run;
  identity(epoch: Epoch, message: MessageMetadata): MessageIdentity;
  /**
   * Where a parser stages a message: other names at each call, since what was staged before may still be needed.
   * `many`: others are in work beside it, with which it can be synced.
   */
  target(identity: MessageIdentity, options: { many: boolean }): StageTarget;
  /** Where a large message is downloaded to, in the run's directory; another path at each call. */
  downloadPath(epoch: Epoch, uid: number): string;
  /**
   * Hands over a staged document. Resolves once it is published durably, also where it was before;
   * rejects with STORAGE_*, FILE_EXISTS, STAGED_MISSING, LEDGER_FAILED, all to be fetched again.
   */
  accept(item: AcceptItem): Promise<void>;
  /** Hands a message over to quarantine, like `accept`. A file as `source` is taken over. */
  quarantine(item: QuarantineItem): Promise<void>;
  /** Records a message that a rule leaves out: resolves after the commit. LEDGER_FAILED, STORAGE_*. */
  leaveOut(item: FilteredItem): Promise<void>;
  /**
   * Finishes what is staged and failed to be published, and makes the run's directory again where
   * somebody removed it; rejects with what is still in the way. `accept` does the former by itself
   * for its own mailbox.
   */
  settle(): Promise<void>;
  /**
   * The attempt that `beginAlone` announced ended with an error before it came here, and nobody died
   * of it. (`accept`, `quarantine` and a new `openEpoch` do this by themselves.)
   */
  endAlone(epochId: number, uid: number): Promise<void>;
  /** Requests left by `mailwatchd replay`, oldest first. */
  pendingReplays(): Promise<Replay[]>;
  /** Calls back within a second after another process has changed the ledger: `replay` or `adopt`. */
  onChangedOutside(callback: () => void): void;
  /** SOURCE_MISSING, ALREADY_PUBLISHED, UNKNOWN_MESSAGE, DAEMON_KILLED, STORAGE_*. Its `accept` carries `replay: number`. */
  beginReplay(replay: Replay): Promise<BegunReplay>;
  /** The request failed for good: it is kept with its reason. */
  failReplay(replay: Replay, error: PlainError): Promise<void>;
  /** The mailboxes with filtered messages that are to be judged anew, by `toJudgeAnew`. */
  mailboxesToJudge(): Promise<Mailbox[]>;
  counts(mailbox: Mailbox): Promise<MailboxCounts>;
  /** Calls back once if the thread dies. */
  onFatal(callback: (error: MailwatchdError) => void): void;
  /** Commits what is owed, removes the run's directory, marks the end as clean. Later calls reject. */
  stop(): Promise<void>;
}

type Unnumbered<T> = T extends { number: number } ? Omit<T, 'number'> : never;

/**
 * Starts the spool thread and settles what former runs left. STORAGE_MISSING, STORAGE_NOT_PAIRED,
 * STORAGE_*, LEDGER_FAILED. `entry` is for tests that need a thread that dies.
 */
export async function openSpool(
  options: SpoolOptions,
  entry: URL = programEntry('spool/thread'),
): Promise<Spool> {
  const worker = new Worker(entry, { workerData: options });
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: MailwatchdError): void }>();
  const outsideListeners: (() => void)[] = [];
  const fatalListeners: ((error: MailwatchdError) => void)[] = [];
  let numbers = 0;
  let names = 0;
  let dead: MailwatchdError | null = null;
  let stopping = false;

  const end = (error: MailwatchdError) => {
    if (dead !== null) return;
    dead = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    if (!stopping) for (const callback of fatalListeners) callback(error);
  };
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      end(new MailwatchdError('INTERNAL', { detail: 'the spool thread has ended' }));
      resolve();
    });
  });
  const run = await new Promise<Run>((resolve, reject) => {
    worker.on('error', (cause) => {
      const detail = `the spool thread died: ${cause instanceof Error ? cause.message : String(cause)}`;
      end(new MailwatchdError('INTERNAL', { detail, cause }));
      reject(dead);
    });
    worker.on('exit', () => reject(dead));
    worker.on('message', (report: Report) => {
      if (report.kind === 'ready') resolve(report.run);
      else if (report.kind === 'refused') reject(reviveError(report.error));
      else if (report.kind === 'changed-outside') for (const callback of outsideListeners) callback();
      else {
        for (const { number, value, error } of report.answers) {
          const waiter = waiting.get(number);
          waiting.delete(number);
          if (error === undefined) waiter?.resolve(value);
          else waiter?.reject(reviveError(error));
        }
      }
    });
  }).catch(async (error: unknown) => {
    stopping = true;
    await exited;
    throw error;
  });

  const send = <T>(request: Unnumbered<Request>): Promise<T> =>
    new Promise((resolve, reject) => {
      if (dead !== null) return reject(dead);
      if (stopping && request.kind !== 'stop') {
        return reject(new MailwatchdError('INTERNAL', { detail: 'the spool is stopping' }));
      }
      numbers += 1;
      waiting.set(numbers, { resolve: resolve as (value: unknown) => void, reject });
      worker.postMessage({ ...request, number: numbers } as Request);
    });
  const call = <Name extends keyof Calls>(
    name: Name,
    ...args: Parameters<Calls[Name]>
  ): Promise<ReturnType<Calls[Name]>> => send({ kind: 'call', name, args });
  const write = async (request: Unnumbered<Request>): Promise<void> => {
    await send(request);
  };
  const target = (identity: MessageIdentity, name: string, many: boolean): StageTarget => {
    names += 1;
    const { attachments, source, fileMode, directoryMode } = options.storage;
    const stem = stagedStem(identity.account, name, names);
    const writeThrough = !(many && run.syncsBatches);
    return {
      directory: run.directory,
      stem,
      name,
      attachments,
      source,
      writeThrough,
      fileMode,
      directoryMode,
    };
  };
  /** Many calls, between which other mailboxes have their turn, where a large mailbox begins a new epoch. */
  const claimable = async (epochId: number): Promise<void> => {
    for (let more = true; more; ) more = await call('makeClaimable', epochId);
  };
  let stopped: Promise<void> | null = null;

  return {
    run,
    identity: messageIdentity,
    target: (identity, { many }) => target(identity, identity.id, many),
    downloadPath(epoch, uid) {
      names += 1;
      return `${run.directory}/${stagedStem(epoch.account, `${epoch.id}-${uid}`, names)}.download`;
    },
    accept: (item) => write({ kind: 'arrival', arrival: { kind: 'document', item } }),
    quarantine: (item) => write({ kind: 'arrival', arrival: { kind: 'quarantine', item } }),
    leaveOut: (item) => write({ kind: 'riding', write: { kind: 'filtered', item } }),
    settle: () => call('settle'),
    advance: (epochId, scannedThrough) =>
      write({ kind: 'riding', write: { kind: 'advance', epochId, scannedThrough } }),
    settleAfterActions: (epochId, uids) =>
      write({ kind: 'riding', write: { kind: 'settleAfterActions', epochId, uids } }),
    openEpoch: (mailbox, observation) => call('openEpoch', mailbox, observation),
    handled: (epochId, low, high, wanted) => call('handled', epochId, low, high, wanted),
    async matchEarlier(epochId, candidates) {
      await claimable(epochId);
      return call('matchEarlier', epochId, candidates);
    },
    async matchByHash(epochId, candidate, sha256) {
      await claimable(epochId);
      return call('matchByHash', epochId, candidate, sha256);
    },
    markCompared: (epochId) => call('markCompared', epochId),
    holdEpoch: (epochId, unmatched) => call('holdEpoch', epochId, unmatched),
    beginAlone: (epochId, uid) => call('beginAlone', epochId, uid),
    endAlone: (epochId, uid) => call('endAlone', epochId, uid),
    recordUnfetchable: (epochId, message, error) =>
      call('recordUnfetchable', epochId, message, plainError(error)),
    owedAfterActions: (epochId, limit) => call('owedAfterActions', epochId, limit),
    pendingReplays: () => call('pendingReplays'),
    onChangedOutside: (callback) => void outsideListeners.push(callback),
    async beginReplay(replay) {
      const begun = await call('beginReplay', replay);
      return { ...begun, target: target(begun.identity, begun.name, false) };
    },
    failReplay: (replay, error) => call('failReplay', replay, error),
    toJudgeAnew: (epochId) => call('toJudgeAnew', epochId),
    recordGone: (epochId, uids) => call('recordGone', epochId, uids),
    mailboxesToJudge: () => call('mailboxesToJudge'),
    counts: (mailbox) => call('counts', mailbox),
    lastArrival: (mailbox) => call('lastArrival', mailbox),
    async rhythm(mailbox, enough) {
      // Many calls, between which others have their turn, where the history is long.
      let { rhythm, ...place } = await call('readRhythm', mailbox, null);
      while (!rhythm.complete && rhythm.longest < enough)
        ({ rhythm, ...place } = await call('readRhythm', mailbox, { rhythm, ...place }));
      return rhythm;
    },
    onFatal: (callback) => void fatalListeners.push(callback),
    stop() {
      stopped ??= (async () => {
        const answered = write({ kind: 'stop' });
        stopping = true;
        try {
          await answered;
        } finally {
          await exited;
        }
      })();
      return stopped;
    },
  };
}
