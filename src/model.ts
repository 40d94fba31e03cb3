/**
 * The nouns that several folders share: mailbox, epoch, message and what becomes of it. Types only.
 *
 * `mailbox/`, `message/` and `spool/` never import each other; what one needs of another is an
 * interface here, and `daemon.ts` and `ingest.ts` join them.
 */

/** A watched folder of an account. */
export interface Mailbox {
  /** The account's name in the configuration, `[a-z0-9][a-z0-9._-]*`. */
  account: string;
  /** The folder as people write it: Unicode, the server's own delimiter. */
  folder: string;
}

/**
 * From when on a folder's messages are wanted. `new`: what arrives after the first opening.
 * `date`: INTERNALDATE at or after `at` (00:00 UTC, milliseconds), and all that arrives after the
 * first opening.
 */
export type Start = { kind: 'new' } | { kind: 'all' } | { kind: 'date'; at: number };

/**
 * One numbering of a folder's UIDs: a UIDVALIDITY (RFC 3501 §2.3.1.1), or a new generation of one
 * when UIDNEXT went backwards under it.
 */
export interface Epoch extends Mailbox {
  /** The ledger's key. */
  id: number;
  /** `<uidValidity>`, or `<uidValidity>.<n>` for its n-th generation: the middle part of a message's id. */
  label: string;
  uidValidity: string;
  /** When this epoch was opened first, ms. */
  openedAt: number;
  /** UIDNEXT at that moment: below it lies back-fill, from it on new mail. */
  firstUidNext: number;
  /** Resolved at the mailbox's first opening ever; `new` means INTERNALDATE is never asked for. */
  start: Start;
  /** The instant from which on an earlier epoch's mailbox was watched (its first opening), ms. */
  watchedSince: number;
  /** Every UID from `firstUidNext` up to this one is handled or gone. */
  scannedThrough: number;
  /**
   * Set while earlier epochs exist: candidates with an INTERNALDATE before this (the last time the
   * previous epoch was seen alive, ms) are compared with those epochs before they are fetched.
   */
  changedAt: number | null;
  /** False until every candidate that was there at the opening has been compared (`changedAt` set). */
  compared: boolean;
}

/** UIDs as ranges, ascending and apart: the first and the last of one, those of the next, and so on. */
export type UidRanges = Uint32Array;

/** What extensions of IMAP tell of a message, as the document gives it; absent where a server has them not. */
export interface Extensions {
  /** Names these bytes, whatever folder they are in (RFC 8474 §5.1): at most 255 of `[A-Za-z0-9_-]`. */
  emailId?: string;
  /** Names the conversation (RFC 8474 §5.2), likewise. */
  threadId?: string;
  /** X-GM-EXT-1 (https://developers.google.com/workspace/gmail/imap/imap-extensions). */
  gmail?: {
    /** As people write them; Gmail's own begin with a backslash. */
    labels: string[];
    /** 64 bits, unsigned, as decimal digits; null where Gmail did not tell it. */
    messageId: string | null;
    threadId: string | null;
  };
}

/** What FETCH tells of a message without its body. */
export interface MessageMetadata {
  uid: number;
  /** RFC822.SIZE: a hint; some servers are wrong by their line ends. */
  size: number;
  /** The server told no size, and `size` is only so that it is fetched with care. */
  sizeUntold?: true;
  /** INTERNALDATE, ms. */
  internalDate: number;
  /** Flags as the server writes them. */
  flags: string[];
  /** Without angle brackets; only where it was asked for. */
  messageId?: string | null;
  extensions?: Extensions;
}

/** A message with its bytes, on its way from `mailbox/` to `message/`. */
export interface FetchedMessage extends MessageMetadata {
  epoch: Epoch;
  /** The raw message, or the staged file that a large one was downloaded to. */
  source: Buffer | { file: string };
}

/** All that names a message and all that the document tells beside its content. */
export interface MessageIdentity extends Mailbox {
  /** `<folder slug>-<epoch label>-<uid>`, unique within the account. */
  id: string;
  uid: number;
  /** The epoch's label. */
  uidValidity: string;
  /** INTERNALDATE, ms. */
  internalDate: number;
  flags: string[];
  extensions?: Extensions;
}

/** What a parser process writes and where. Every name is ours; none comes from the message. */
export interface StageTarget {
  /** The run's staging directory, absolute. */
  directory: string;
  /** Staged files are `<stem>.json`, `<stem>.eml` and the directory `<stem>/`: `<account>~<name>`. */
  stem: string;
  /** The published JSON is `<name>.json`, its attachments' directory `<name>/`: the id, or `<id>~2` for a replay. */
  name: string;
  attachments: 'files' | 'none';
  source: 'none' | 'keep';
  /**
   * True: each file is durable once it is written. False, where `Run.syncsBatches`: the spool syncs it with
   * the batch that it comes in, which is cheaper where there are many.
   */
  writeThrough: boolean;
  /** Modes of what is written, and the group it gets (null: whatever the directory gives). */
  fileMode: number;
  directoryMode: number;
}

/** What the parser returns of a message it has staged: the ledger's row, not the document. */
export interface StagedDocument {
  /** Without angle brackets; null also where it is too long to name a message. */
  messageId: string | null;
  /** Of the raw message, bytes. */
  size: number;
  /** Of the raw message, hex. */
  sha256: string;
  hasAttachments: boolean;
  hasSource: boolean;
  warnings: string[];
}

/** From when until when a certificate is valid, ms. */
export interface Validity {
  from: number;
  until: number;
}

/** The resource of a mailbox's quota (RFC 9208) that is nearest to its end: octets, or a number of messages. */
export interface Quota {
  resource: 'storage' | 'message';
  used: number;
  limit: number;
}

/** A mailbox that is quieter than it ever was: since when, and how long it was at most, ms. */
export interface Quiet {
  since: number;
  longest: number;
}

/** What is known of a message that a rule left out. */
export interface LeftOut {
  /** The rule's name, or `NONE_OF_ONLY`. */
  rule: string;
  /** Without angle brackets; null also where it is too long to name a message. */
  messageId: string | null;
  /** Of the raw message, bytes; null where it was not read whole. */
  size: number | null;
  /** Of the raw message, hex; null where it was not read whole. */
  sha256: string | null;
}

/**
 * State of a message in the ledger. `filtered`: left out by a rule, also if an earlier epoch did so. `carried`: the same
 * message as one of an earlier epoch. `skipped`: by `adopt --skip`.
 */
export type MessageState =
  | 'staged'
  | 'published'
  | 'quarantined'
  | 'unfetchable'
  | 'filtered'
  | 'carried'
  | 'skipped';
