/** The handoff of a batch: sync what is staged, commit "staged", publish; "published" rides in the next commit. */
import { MailwatchdError } from '../errors.ts';
import type { MessageIdentity, StagedDocument, StageTarget } from '../model.ts';
import { endAttempt, forgetAlone } from './alone.ts';
import { errorCode, onStorage, storageError } from './files.ts';
import type { Ledger } from './ledger.ts';
import {
  errorText,
  type FilteredItem,
  isReplaceable,
  type Key,
  knownMessage,
  type MessageFacts,
  recordFiltered,
  recordSettled,
  recordStaged,
  type StagedRow,
} from './messages.ts';
import { publishedPath, quarantinePath, stagedStem } from './names.ts';
import { type QuarantineItem, stageQuarantine } from './quarantine.ts';
import { conclude, type Pending, pendingOf, removeStaged, settle, sweepRuns } from './settle.ts';
import type { Storage } from './storage.ts';

/** A document that a parser has staged. */
export interface AcceptItem {
  epochId: number;
  identity: MessageIdentity;
  /** What the parser was given. */
  target: StageTarget;
  staged: StagedDocument;
  /** RFC822.SIZE, bytes: a later epoch is compared by it. */
  declaredSize: number;
  /** An after-action is owed once it is published. */
  after: boolean;
  /** The request that this answers, where it is a replay. */
  replay?: number;
}

/** A message that comes in to be handed over. */
export type Arrival = { kind: 'document'; item: AcceptItem } | { kind: 'quarantine'; item: QuarantineItem };

/** An arrival with the rows it makes. */
interface Coming {
  arrival: Arrival;
  facts: MessageFacts;
  row: StagedRow;
  /** Its answer; undefined while it goes on, null once it is done. */
  answer?: MailwatchdError | null;
  /** The answer has been given. */
  isTold?: boolean;
}

/** In the order of the arrivals: null once the message stands durably at its place (or did before), else why not. */
export type Answers = (MailwatchdError | null | undefined)[];

/** What comes behind a batch. */
export interface Following {
  /**
   * Asked once the batch stands at its place: true where arrivals wait. Their sync of the whole file system then makes
   * this batch durable as well, which spares it a sync of each target directory: 9 % of `once` (small; measured).
   */
  waits(): boolean;
  /** Gets the answers that `hand` gave as undefined: with the next batch, `flush` or `settle`. */
  answer(answers: Answers): void;
}

export interface Handover {
  /**
   * Hands a batch over; `riding` are other writes for the same commit. Answers with STORAGE_*, FILE_EXISTS,
   * STAGED_MISSING or LEDGER_FAILED; undefined only where arrivals wait behind it (`following`). `ledger` is null once
   * `riding` is committed.
   */
  hand(
    arrivals: Arrival[],
    riding: () => void,
    following?: Following,
  ): { answers: Answers; ledger: MailwatchdError | null };
  /** Makes durable what stands at its place, and commits the "published" marks that are due. LEDGER_FAILED. */
  flush(): void;
  /** True while "published" marks wait for a commit. */
  due(): boolean;
  /** Tries again what is stuck; throws the first error that remains. */
  settle(): void;
  /** The same for these epochs only: what is known of a mailbox is not certain before. */
  settleEpochs(epochs: number[]): void;
}

/**
 * Records a message that a rule leaves out (inside a transaction). One that lay in quarantine unread, for its size, goes
 * from there first: after a crash in between it is asked for again.
 */
export function leaveOut(ledger: Ledger, storage: Storage, item: FilteredItem, now: number): void {
  const key = { epoch: item.epochId, uid: item.identity.uid };
  const known = knownMessage(ledger, key);
  if (known !== null && !isReplaceable(known)) return;
  if (known?.state === 'quarantined') {
    const quarantined = storage.at(quarantinePath(item.identity.account, item.identity.id));
    for (const path of [`${quarantined}.error`, `${quarantined}.eml`])
      onStorage(path, () => storage.files.remove(path));
  }
  forgetAlone(ledger, key);
  recordFiltered(ledger, item, now);
}

export function openHandover(
  parts: {
    ledger: Ledger;
    storage: Storage;
    run: string;
    /** Makes the run's directory where it is missing, after `settleLost`. */
    mendRun: (settleLost: () => void) => void;
    now: () => number;
  },
  leftover: Map<Pending, MailwatchdError>,
): Handover {
  const { ledger, storage, run, now } = parts;
  const mendRun = () => parts.mendRun(settleLost);
  /** Staged rows whose publishing failed; their mailboxes go on only after them. */
  const stuck = leftover;
  let marks: { row: StagedRow; at: number }[] = [];
  /** The last batch, where it is made durable with the next one. */
  let moved: { pending: Pending[]; conclude(failed: Map<Pending, MailwatchdError>): void } | null = null;
  /**
   * Staged files whose commit failed. The commit may yet turn out durable after a crash (its frames
   * can be in the log), so they must outlive it; a later commit proves that it did not happen.
   */
  let orphans: StagedRow[] = [];
  /**
   * What was staged when a sync failed: that it did is told once, and any of it may be damaged. Null where it could
   * not be listed yet.
   */
  let doubtful: Set<string> | null = new Set();
  let quarantined = 0;

  /** One transaction with all marks that are due. */
  function commit(work: () => void): void {
    ledger.transaction(() => {
      for (const { row, at } of marks) recordSettled(ledger, row, at);
      work();
    });
    marks = [];
    orphans = orphans.filter((row) => !discard(row));
  }

  /** Removes staged files that no row names; false where that fails: the run's end removes them. */
  function discard(row: { run: string; stem: string }): boolean {
    try {
      removeStaged(storage, row);
      return true;
    } catch (error) {
      storageError(error, row.stem);
      return false;
    }
  }

  function publishAll(pending: Pending[]): Map<Pending, MailwatchdError> {
    const failed = moveAll(pending);
    const rest = pending.filter((item) => !failed.has(item));
    return new Map([...failed, ...concludeAll(rest, { synced: false })]);
  }

  function moveAll(pending: Pending[]): Map<Pending, MailwatchdError> {
    const result = settle(pending, ledger, storage);
    for (const item of pending) stuck.delete(item);
    for (const [item, error] of result.stuck) stuck.set(item, error);
    return new Map([...result.withdrawn, ...result.stuck]);
  }

  function concludeAll(pending: Pending[], how: { synced: boolean }): Map<Pending, MailwatchdError> {
    const failed = conclude(pending, storage, how);
    for (const item of pending) {
      const error = failed.get(item);
      if (error === undefined) marks.push({ row: item.row, at: now() });
      else stuck.set(item, error);
    }
    return failed;
  }

  function concludeMoved(how: { synced: boolean }): void {
    if (moved === null) return;
    const last = moved;
    moved = null;
    last.conclude(concludeAll(last.pending, how));
  }

  function coming(arrival: Arrival): Coming {
    const at = { epoch: arrival.item.epochId, uid: arrival.item.identity.uid };
    const { identity } = arrival.item;
    const { internalDate, flags, extensions } = identity;
    const base = { ...at, internalDate, flags, extensions };
    if (arrival.kind === 'quarantine') {
      const { item } = arrival;
      quarantined += 1;
      const stem = `${stagedStem(identity.account, identity.id, quarantined)}q`;
      return {
        arrival,
        facts: {
          ...base,
          ...item,
          declaredSize: item.size,
          size: item.complete ? item.size : null,
          owesAfter: false,
        },
        row: {
          ...at,
          kind: 'quarantine',
          run,
          stem,
          path: quarantinePath(identity.account, identity.id),
          hasAttachments: false,
          hasSource: true,
          code: item.error.code,
          reason: errorText(item.error),
          complete: item.complete,
        },
      };
    }
    const { staged, target, declaredSize, after } = arrival.item;
    return {
      arrival,
      facts: { ...base, ...staged, declaredSize, owesAfter: after },
      row: {
        ...at,
        kind: 'document',
        run,
        stem: target.stem,
        path: publishedPath(storage.settings.path, identity, target.name),
        hasAttachments: staged.hasAttachments,
        hasSource: staged.hasSource,
        code: null,
        reason: null,
        complete: true,
      },
    };
  }

  /**
   * What a row will say is staged is there, and durable but for its name in the run's directory and what is
   * synced with the batch.
   */
  function prepare({ arrival, row }: Coming): void {
    const base = `${storage.runDirectory(run)}/${row.stem}`;
    if (arrival.kind === 'document' && !arrival.item.target.writeThrough) refuseDoubtful(row.stem);
    if (arrival.kind === 'quarantine') stageQuarantine(storage, run, row.stem, arrival.item, now());
    else if (storage.files.kind(`${base}.json`) !== 'file') {
      throw new MailwatchdError('STAGED_MISSING', { where: `${base}.json` });
    } else if (row.hasAttachments && arrival.item.target.writeThrough) storage.files.syncDirectory(base);
  }

  /**
   * Returns whether all of the file system was synced. A failed sync is never repeated on the same files: they are given
   * back, and written anew.
   */
  function syncStaged(batch: Coming[]): boolean {
    const isDurable = ({ arrival }: Coming) =>
      arrival.kind === 'quarantine' || arrival.item.target.writeThrough;
    if (storage.fileSystem === null || batch.every(isDurable)) {
      storage.files.syncDirectory(storage.runDirectory(run));
      return false;
    }
    try {
      storage.fileSystem.sync();
      return true;
    } catch (error) {
      doubtful = null;
      listDoubtful();
      throw error;
    }
  }

  function listDoubtful(): void {
    try {
      const names = storage.files.list(storage.runDirectory(run));
      doubtful = new Set(names.map((name) => name.replace(/\.(json|eml)$/, '')));
    } catch (error) {
      // Whoever comes next asks again; a defect passes.
      storageError(error, storage.runDirectory(run));
    }
  }

  /** What a parser had staged, in whole or in part, when a sync failed is given back, too. */
  function refuseDoubtful(stem: string): void {
    if (doubtful === null) listDoubtful();
    if (doubtful === null || doubtful.delete(stem))
      throw new MailwatchdError('STORAGE_FAILED', {
        where: `${storage.runDirectory(run)}/${stem}`,
        detail: 'it was staged when the file system failed to sync',
      });
  }

  function hand(arrivals: Arrival[], riding: () => void, following?: Following) {
    const batch = arrivals.map(coming);
    const going = () => batch.filter((one) => one.answer === undefined);
    const refuse = (one: Coming, error: MailwatchdError) => {
      discard(one.row);
      one.answer = error;
    };

    const blocked = settleFirst(new Set(batch.map(({ row }) => row.epoch)));
    for (const one of going()) {
      const error = blocked.get(one.row.epoch);
      if (error !== undefined) refuse(one, error);
    }
    let isMended = false;
    for (const one of going()) {
      try {
        if (!isMended) mendRun();
        isMended = true;
        prepare(one);
      } catch (error) {
        refuse(one, missingOr(error, one.row.stem));
      }
    }
    let synced = false;
    if (going().length > 0) {
      try {
        synced = syncStaged(going());
      } catch (error) {
        for (const one of going()) refuse(one, missingOr(error, storage.runDirectory(run)));
      }
    }
    concludeMoved({ synced });
    for (const [{ row }, error] of stuck) {
      for (const one of going()) if (one.row.epoch === row.epoch) refuse(one, error);
    }

    const fresh: { one: Coming; pending: Pending }[] = [];
    try {
      commit(() => {
        riding();
        for (const one of going()) {
          const supersedes = stage(ledger, one, now());
          if (supersedes === undefined) continue;
          const { account } = one.arrival.item.identity;
          fresh.push({ one, pending: pendingOf(storage, one.row, { account, former: false, supersedes }) });
        }
      });
    } catch (error) {
      if (!(error instanceof MailwatchdError)) throw error;
      for (const one of going()) orphans.push(one.row);
      return { answers: batch.map((one) => one.answer ?? error), ledger: error };
    }

    const failed = moveAll(fresh.map(({ pending }) => pending));
    const pending = fresh.map((one) => one.pending).filter((item) => !failed.has(item));
    for (const { one, pending } of fresh) {
      const error = failed.get(pending);
      if (error !== undefined) one.answer = error;
    }
    const finish = (failures: Map<Pending, MailwatchdError>) => {
      for (const { one, pending } of fresh) one.answer ??= failures.get(pending) ?? null;
      // What was handled before, in this very batch perhaps, and is only staged once more.
      for (const one of going()) {
        discard(one.row);
        one.answer = fresh.find((other) => isSame(other.one.row, one.row))?.one.answer ?? null;
      }
    };
    if (following !== undefined && pending.length > 0 && following.waits()) {
      const conclude = (failures: Map<Pending, MailwatchdError>) => {
        finish(failures);
        following.answer(tell(batch));
      };
      moved = { pending, conclude };
    } else finish(concludeAll(pending, { synced: false }));
    return { answers: tell(batch), ledger: null };
  }

  /** What has been decided since the last time. */
  function tell(batch: Coming[]): Answers {
    return batch.map((one) => {
      if (one.isTold || one.answer === undefined) return undefined;
      one.isTold = true;
      if (one.answer !== null) release(one.row);
      return one.answer;
    });
  }

  function release(key: Key): void {
    try {
      endAttempt(ledger, key);
    } catch (error) {
      // It stays "in work" wrongly; the message's own error has told of the trouble already.
      if (!(error instanceof MailwatchdError)) throw error;
    }
  }

  /** "After any failed publishing before that mailbox goes on": what blocks each of these epochs. */
  function settleFirst(epochs: Set<number>): Map<number, MailwatchdError> {
    const blocking = [...stuck.keys()].filter(({ row }) => epochs.has(row.epoch));
    if (blocking.length === 0) return new Map();
    try {
      // Nothing is concluded from what is missing while the whole volume may be.
      mendRun();
      publishAll(blocking);
    } catch (error) {
      const failure = storageError(error, storage.runDirectory(run));
      return new Map([...epochs].map((epoch) => [epoch, failure]));
    }
    return new Map(
      blocking.flatMap((item) => {
        const error = stuck.get(item);
        return error === undefined ? [] : [[item.row.epoch, error] as const];
      }),
    );
  }

  /**
   * Takes back what was in this run's directory before that is made again: a row whose files are not in
   * a directory that exists would count as published after a crash.
   */
  function settleLost(): void {
    const lost = [...stuck.keys()].filter(({ row }) => row.run === run);
    publishAll(lost);
    for (const item of lost) {
      const error = stuck.get(item);
      if (error !== undefined) throw error;
    }
  }

  function flush(): void {
    concludeMoved({ synced: false });
    if (marks.length > 0) commit(() => undefined);
  }

  return {
    hand,
    flush,
    due: () => marks.length > 0 || moved !== null,
    settle() {
      concludeMoved({ synced: false });
      mendRun();
      publishAll([...stuck.keys()]);
      flush();
      sweepRuns(ledger, storage, run);
      for (const error of stuck.values()) throw error;
    },
    settleEpochs(epochs) {
      for (const error of settleFirst(new Set(epochs)).values()) throw error;
    },
  };
}

/**
 * Records "staged" unless the message was handled before (inside the transaction). Undefined then;
 * else the id of the quarantined form that it replaces, or null.
 */
function stage(ledger: Ledger, { arrival, facts, row }: Coming, now: number): string | null | undefined {
  const known = knownMessage(ledger, row);
  const replay = arrival.kind === 'document' ? arrival.item.replay : undefined;
  if (replay !== undefined) {
    // One that is gone was answered already, by a document.
    if (ledger.get('SELECT 1 FROM replay WHERE number = ?', replay) === undefined) return undefined;
  } else if (known !== null) {
    // Staged already: it comes twice in this batch.
    if (!isReplaceable(known)) return undefined;
  }
  forgetAlone(ledger, row);
  recordStaged(ledger, facts, row, now);
  return known?.state === 'quarantined' && row.kind === 'document' ? arrival.item.identity.id : null;
}

function isSame(one: Key, other: Key): boolean {
  return one.epoch === other.epoch && one.uid === other.uid;
}

/** A staged file or directory that is not there was removed by somebody. */
function missingOr(error: unknown, path: string): MailwatchdError {
  if (errorCode(error) === 'ENOENT')
    return new MailwatchdError('STAGED_MISSING', { where: path, cause: error });
  return storageError(error, path);
}
