/** What mailbox/ needs of the rest of the program. The spool and ingest.ts satisfy these; tests bring their own. */
import type { MailwatchdError } from './errors.ts';
import type { Filter } from './filter.ts';
import type { Epoch, FetchedMessage, Mailbox, MessageMetadata, Start, UidRanges } from './model.ts';

/** What SELECT told. */
export interface Observation {
  uidValidity: string;
  /** 0 where the server does not tell. */
  uidNext: number;
  /** The highest UID there is, given where `uidNext` is 0: a first opening begins after it. It may sink. */
  highestUid?: number;
  /** When, ms. */
  at: number;
  /** As the configuration has it now; resolved and kept at the first opening. */
  start: Start;
}

export interface OpenedEpoch {
  epoch: Epoch;
  /** `EPOCH_UNCLEAR` waits for `mailwatchd adopt ACCOUNT/FOLDER`. */
  hold: 'EPOCH_UNCLEAR' | null;
  /** The last run ended uncleanly and this mailbox was in it: its first unhandled messages are suspects. */
  suspects: boolean;
  /** What the operator should hear, such as a `start` that moved later and is ignored. */
  warnings: string[];
}

/** How mail came to a mailbox; times are ms. */
export interface Rhythm {
  arrivals: number;
  firstAt: number;
  lastAt: number;
  /** The longest time between two arrivals. */
  longest: number;
  /** False where the rest of the history was not needed. */
  complete: boolean;
}

/** What the ledger remembers for a mailbox. Every promise resolves after the commit. */
export interface MailboxLedger {
  /**
   * Finds or makes the epoch for what SELECT told: the first one resolves `start`; another
   * UIDVALIDITY, or a UIDNEXT lower than one seen before, begins a new one.
   */
  openEpoch(mailbox: Mailbox, observation: Observation): Promise<OpenedEpoch>;
  /**
   * The UIDs in `low..high` that are not to be fetched. Not among them: a message
   * quarantined unread for its size that `messageBytes` admits now, one that is to be judged anew and, with
   * `retryUnfetchable`, the unfetchable.
   */
  handled(
    epochId: number,
    low: number,
    high: number,
    options: { messageBytes: number; retryUnfetchable: boolean },
  ): Promise<UidRanges>;
  /** Raises `scannedThrough`: every UID up to it is handled, gone, or left to reconciliation. Never lowers it. */
  advance(epochId: number, scannedThrough: number): Promise<void>;

  /**
   * Compares candidates with earlier epochs of the mailbox, one to one, by Message-ID and size.
   * Matched ones become `carried`. Undecidable ones (no Message-ID, or the pair not unique on either
   * side) come back as `ambiguous`, to be decided by `matchByHash`.
   */
  matchEarlier(
    epochId: number,
    candidates: MessageMetadata[],
  ): Promise<{ matched: number[]; ambiguous: number[]; unmatched: number[] }>;
  /** True where an earlier epoch holds these bytes and no other message was matched with them yet. */
  matchByHash(epochId: number, candidate: MessageMetadata, sha256: string): Promise<boolean>;
  /** Every candidate of the opening has been compared; publishing may begin. */
  markCompared(epochId: number): Promise<void>;
  /** More candidates match nothing than an operator would want published unasked. */
  holdEpoch(epochId: number, unmatched: number): Promise<void>;

  /**
   * Records that this message is in work and nothing else is; returns in how many runs that died it
   * was alone in work before. Cleared when it is staged, and by a clean stop without counting.
   */
  beginAlone(epochId: number, uid: number): Promise<number>;
  /** A UID that failed alone, three times. Tried again at reconciliation. */
  recordUnfetchable(epochId: number, message: MessageMetadata, error: MailwatchdError): Promise<void>;

  /** When the latest message came to the mailbox, ms; null where none is known. */
  lastArrival(mailbox: Mailbox): Promise<number | null>;
  /** Its history, from the beginning until it was quiet for `enough` ms, or to its end. */
  rhythm(mailbox: Mailbox, enough: number): Promise<Rhythm>;
  /** UIDs of filtered messages that `replay --filtered` asked to be judged anew, ascending. */
  toJudgeAnew(epochId: number): Promise<number[]>;
  /** The server has these no longer, or they lie before the start: they stay filtered, and are not asked for again. */
  recordGone(epochId: number, uids: number[]): Promise<void>;

  /** UIDs of published messages whose after-action the server has not confirmed, ascending. */
  owedAfterActions(epochId: number, limit: number): Promise<number[]>;
  settleAfterActions(epochId: number, uids: number[]): Promise<void>;
}

/** What became of a message that was handed in. */
export type Outcome = 'published' | 'quarantined' | 'filtered';

/** Admission by bytes, and the way into parse → stage → publish. */
export interface Intake {
  /**
   * Waits until `bytes` fit into limits.inFlightBytes (more than the whole budget is admitted
   * alone), then returns the release. `alone` waits until nothing else is in flight and keeps all
   * others out. What goes by a file (`byFile`) counts by itself. Rejects only where `signal` aborts.
   */
  reserve(
    bytes: number,
    options: { alone: boolean; byFile?: boolean; signal: AbortSignal },
  ): Promise<() => void>;
  /**
   * Takes the message over: its bytes may be gone afterwards. Resolves once it is published, quarantined where it cannot
   * be parsed, or recorded where a rule leaves it out. Rejects with a storage or ledger error (retry `soon`): the mailbox
   * holds, and fetches it again.
   */
  accept(message: FetchedMessage, filter: Filter | null): Promise<Outcome>;
  /**
   * Whether a rule leaves a message out by what is known of it: its metadata, and its first bytes where there are some.
   * It is recorded then when this resolves; what needs more is no. Rejects as `accept`.
   */
  leaveOut(
    message: MessageMetadata & { epoch: Epoch; start: Buffer | null },
    filter: Filter,
  ): Promise<boolean>;
  /** Quarantines a message that is not to be fetched whole, with what was fetched of its header. */
  quarantineUnread(
    epoch: Epoch,
    message: MessageMetadata,
    header: Buffer,
    error: MailwatchdError,
  ): Promise<void>;
  /** Where a large message is downloaded to: a path in the run's staging directory. */
  downloadPath(epoch: Epoch, uid: number): string;
}
