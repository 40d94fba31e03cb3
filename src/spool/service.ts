/** All that the spool thread does, without the thread: start, one method a question, batches, stop. */
import { randomBytes } from 'node:crypto';
import { MailwatchdError, type PlainError } from '../errors.ts';
import type { Mailbox, MessageMetadata } from '../model.ts';
import type { Observation, OpenedEpoch } from '../ports.ts';
import { beginAlone, countDeaths, endAlone, endAttempt, forgetAlone } from './alone.ts';
import { advance, epochsOf, firstNewUid, holdEpoch, markCompared, openEpoch } from './epochs.ts';
import { type Files, onStorage } from './files.ts';
import { type Arrival, type Following, type Handover, leaveOut, openHandover } from './handover.ts';
import { getSetting, type Ledger, putSetting } from './ledger.ts';
import { matchByHash, matchEarlier } from './matching.ts';
import {
  type FilteredItem,
  handledUids,
  owedAfterActions,
  recordUnfetchable,
  settleAfterActions,
} from './messages.ts';
import { mailboxName, stagedStem } from './names.ts';
import { createPacker, makeClaimable, type Packer } from './packing.ts';
import { demandPair, pairingFault } from './pairing.ts';
import { mailboxCounts } from './reading.ts';
import {
  beginReplay,
  failReplay,
  mailboxesToJudge,
  pendingReplays,
  type Replay,
  uidsToJudge,
  withdrawGone,
} from './replays.ts';
import { lastArrival, type RhythmReading, readRhythm } from './rhythm.ts';
import { settleFormer, sweepRuns } from './settle.ts';
import { newRun, openStorage, type Storage, type StorageSettings } from './storage.ts';

export interface SpoolOptions {
  stateDirectory: string;
  storage: StorageSettings;
  /** The new run's name (`newRun`), for whoever needs its directory's before all is open; else it is made here. */
  run?: string;
}

/** What the service works with; tests watch and interrupt them. */
export interface Parts {
  files: Files;
  openLedger: (stateDirectory: string) => Ledger;
  /** Wall clock, ms. */
  now: () => number;
}

/** This start of the daemon. */
export interface Run {
  id: string;
  /** `.staging/<run>`, absolute. */
  directory: string;
  /** The last run ended without a clean stop. */
  unclean: boolean;
  /** Messages may be staged without `StageTarget.writeThrough`. */
  syncsBatches: boolean;
  /** Of this ledger, the same at each start: what its canaries' tokens are made with. */
  canaryKey: string;
}

/** Writes that need no commit of their own: they ride in the next batch's. */
export type Riding =
  | { kind: 'advance'; epochId: number; scannedThrough: number }
  | { kind: 'filtered'; item: FilteredItem }
  | { kind: 'settleAfterActions'; epochId: number; uids: number[] };

export type Calls = ReturnType<typeof callsOn>;

export interface Service {
  run: Run;
  calls: Calls;
  /** Hands over what came together (`Handover.hand`). */
  batch(arrivals: Arrival[], riding: Riding[], following?: Following): ReturnType<Handover['hand']>;
  /** `Handover.flush`. */
  flush(): void;
  due(): boolean;
  /** Packs what lies behind; not part of any promise, so it may wait or fail. */
  packer: Pick<Packer, 'due' | 'step'>;
  /** True when another process has committed since the last look: a request to replay, or a decision. */
  changedOutside(): boolean;
  /** The clean end: marks committed, the run's directory removed. */
  stop(): void;
}

/**
 * Opens ledger and storage, settles former runs, and begins a new run. STORAGE_MISSING,
 * STORAGE_NOT_PAIRED, STORAGE_*, LEDGER_FAILED.
 */
export function openService(options: SpoolOptions, parts: Parts): Service {
  const ledger = parts.openLedger(options.stateDirectory);
  try {
    return serviceOn(ledger, options, parts);
  } catch (error) {
    ledger.close();
    throw error;
  }
}

function serviceOn(ledger: Ledger, options: SpoolOptions, parts: Parts): Service {
  const { files, now } = parts;
  demandPair(ledger, options.storage.directory, files);
  const storage = openStorage(options.storage, files);
  const stuck = settleFormer(ledger, storage, now());
  const id = options.run ?? newRun(now());
  storage.makeRun(id);
  const { unclean, canaryKey } = beginRun(ledger, id);
  sweepRuns(ledger, storage, id);
  const syncsBatches = storage.fileSystem !== null;
  const run = { id, directory: storage.runDirectory(id), unclean, syncsBatches, canaryKey };
  const mendRun = (settleLost: () => void) => makeRunAgain(ledger, storage, id, settleLost);
  const handover = openHandover({ ledger, storage, run: id, mendRun, now }, stuck);
  const packer = createPacker(ledger);
  packer.lookThrough();
  let version = ledger.dataVersion();

  return {
    run,
    calls: callsOn(ledger, storage, handover, packer, run, now),
    batch(arrivals, riding, following) {
      const filtered = riding.flatMap((write) => (write.kind === 'filtered' ? [write.item] : []));
      packer.came([...arrivals.map(({ item }) => item.epochId), ...filtered.map(({ epochId }) => epochId)]);
      const ride = () => {
        for (const write of riding) {
          if (write.kind === 'advance') advance(ledger, write.epochId, write.scannedThrough, now());
          else if (write.kind === 'filtered') leaveOut(ledger, storage, write.item, now());
          else settleAfterActions(ledger, write.epochId, write.uids);
        }
      };
      return handover.hand(arrivals, ride, following);
    },
    packer,
    flush: handover.flush,
    due: handover.due,
    changedOutside() {
      const seen = ledger.dataVersion();
      if (seen === version) return false;
      version = seen;
      return true;
    },
    stop() {
      try {
        stopRun(ledger, storage, handover);
      } finally {
        ledger.close();
      }
    },
  };
}

/** A new run in the ledger; `unclean` where the one before did not end cleanly. A crash in between counts no death twice. */
function beginRun(ledger: Ledger, id: string): Pick<Run, 'unclean' | 'canaryKey'> {
  return ledger.transaction(() => {
    const canaryKey = getSetting(ledger, 'ledger.key') ?? randomBytes(32).toString('hex');
    putSetting(ledger, 'ledger.key', canaryKey);
    const unclean = getSetting(ledger, 'run.clean') === 'no';
    if (unclean) countDeaths(ledger);
    putSetting(ledger, 'run.id', id);
    putSetting(ledger, 'run.clean', 'no');
    return { unclean, canaryKey };
  });
}

/**
 * Parsers need the run's directory. Where it is gone, its volume may be too: nothing is made, and so
 * nothing published, in what lies under a mount point.
 */
function makeRunAgain(ledger: Ledger, storage: Storage, id: string, settleLost: () => void): void {
  const own = storage.runDirectory(id);
  if (onStorage(own, () => storage.files.kind(own)) !== null) return;
  const { directory } = storage.settings;
  if (pairingFault(ledger, directory) !== null) {
    throw new MailwatchdError('STORAGE_MISSING', {
      where: directory,
      detail: 'another directory is in its place than when we started',
      remedy: 'mount its volume',
    });
  }
  settleLost();
  storage.makeRun(id);
}

function stopRun(ledger: Ledger, storage: Storage, handover: Handover): void {
  let trouble: MailwatchdError | null = null;
  try {
    handover.settle();
  } catch (error) {
    // What is stuck stays staged, with its run's directory, for the next start.
    trouble = error as MailwatchdError;
  }
  handover.flush();
  ledger.transaction(() => {
    endAlone(ledger);
    ledger.run('UPDATE replay SET run = NULL WHERE run IS NOT NULL');
    putSetting(ledger, 'run.clean', 'yes');
  });
  sweepRuns(ledger, storage, null);
  if (trouble !== null) throw trouble;
}

/** The questions that main asks, by name; each is one transaction or a reading. */
function callsOn(
  ledger: Ledger,
  storage: Storage,
  handover: Handover,
  packer: Packer,
  run: Run,
  now: () => number,
) {
  const newestBefore = ledger.get<{ id: number | null }>('SELECT max(id) AS id FROM epoch')?.id ?? 0;
  /** By mailbox: up to where its epoch must have been scanned to be through with its suspects. */
  const suspectsUpTo = new Map<string, { epoch: number; uid: number }>();
  /** By mailbox: what was told at its last opening. */
  const told = new Map<string, string[]>();
  let replays = 0;

  /** An unclean end makes the first unhandled messages of the mailboxes that were there suspects. */
  const areSuspects = ({ epoch }: Omit<OpenedEpoch, 'suspects'>, firstNew: number): boolean => {
    if (!run.unclean) return false;
    const before = ledger.get(
      'SELECT 1 FROM epoch WHERE account = ? AND folder = ? AND id <= ?',
      epoch.account,
      epoch.folder,
      newestBefore,
    );
    if (before === undefined) return false;
    const upTo = suspectsUpTo.get(mailboxName(epoch));
    if (upTo?.epoch === epoch.id) return epoch.scannedThrough < upTo.uid;
    suspectsUpTo.set(mailboxName(epoch), { epoch: epoch.id, uid: firstNew - 1 });
    return true;
  };

  return {
    openEpoch(mailbox: Mailbox, observation: Observation): OpenedEpoch {
      // A new epoch may recognize what is staged in this one: whether that is published must be certain.
      handover.settleEpochs(epochsOf(ledger, mailbox));
      const opened = openEpoch(ledger, mailbox, observation);
      const before = told.get(mailboxName(mailbox));
      const fresh = opened.warnings.filter((text) => !before?.includes(text));
      told.set(mailboxName(mailbox), opened.warnings);
      return { ...opened, warnings: fresh, suspects: areSuspects(opened, firstNewUid(observation)) };
    },
    handled: (
      epochId: number,
      low: number,
      high: number,
      options: { messageBytes: number; retryUnfetchable: boolean },
    ) => handledUids(ledger, epochId, low, high, options),
    makeClaimable: (epochId: number) => makeClaimable(ledger, epochId),
    matchEarlier: (epochId: number, candidates: MessageMetadata[]) =>
      matchEarlier(ledger, epochId, candidates, now()),
    matchByHash: (epochId: number, candidate: MessageMetadata, sha256: string) =>
      matchByHash(ledger, epochId, candidate, sha256, now()),
    markCompared(epochId: number): void {
      markCompared(ledger, epochId);
      packer.lookThrough();
    },
    holdEpoch: (epochId: number, unmatched: number) => holdEpoch(ledger, epochId, unmatched),
    beginAlone: (epochId: number, uid: number) => beginAlone(ledger, { epoch: epochId, uid }),
    endAlone: (epochId: number, uid: number) => endAttempt(ledger, { epoch: epochId, uid }),
    recordUnfetchable(epochId: number, message: MessageMetadata, error: PlainError): void {
      ledger.transaction(() => {
        forgetAlone(ledger, { epoch: epochId, uid: message.uid });
        recordUnfetchable(ledger, epochId, message, error, now());
      });
    },
    owedAfterActions: (epochId: number, limit: number) => owedAfterActions(ledger, epochId, limit),
    settle: () => handover.settle(),
    pendingReplays: () => pendingReplays(ledger),
    beginReplay(replay: Replay) {
      replays += 1;
      const stem = `${stagedStem(replay.account, replay.id, replays)}r`;
      return beginReplay(ledger, storage, run.id, replay.number, stem);
    },
    failReplay: (replay: Replay, error: PlainError) => failReplay(ledger, replay, error),
    toJudgeAnew: (epochId: number) => uidsToJudge(ledger, epochId),
    recordGone: (epochId: number, uids: number[]) => withdrawGone(ledger, epochId, uids),
    mailboxesToJudge: () => mailboxesToJudge(ledger),
    counts: (mailbox: Mailbox) => mailboxCounts(ledger, mailbox),
    lastArrival: (mailbox: Mailbox) => lastArrival(ledger, mailbox),
    readRhythm: (mailbox: Mailbox, before: RhythmReading | null) =>
      readRhythm(ledger, mailbox, now(), before),
  };
}
