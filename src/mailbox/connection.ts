/** One IMAP connection to one folder, as the rest of mailbox/ sees it. Types only, but for `Stopped`. */
import type { Clock } from '../clock.ts';
import type { Log } from '../logging.ts';
import type { MessageMetadata, Quota, Validity } from '../model.ts';
import type { ProviderName } from '../providers/index.ts';
import type { FolderStatus } from './folder-status.ts';
import type { Folder } from './folders.ts';
import type { OnPush } from './notify.ts';

/** How an account's server is reached. */
export interface ServerSettings {
  host: string;
  port: number;
  /** `none` is for loopback only, which the configuration sees to. */
  security: 'tls' | 'starttls' | 'none';
  user: string;
  /** Whose server it is, for what its refusals mean; null where that is not known. */
  provider: ProviderName | null;
}

/** What a login is made with. */
export type Credential = { password: string } | { accessToken: string };

export interface ConnectOptions extends ServerSettings {
  credential: Credential;
  /** PEM of further issuers to trust, or null. */
  ca: string | null;
  /** limits.operationSeconds in milliseconds: for connect, TLS and login together, then for each silence. */
  operationMs: number;
  /** limits.messageBytes: no literal may be larger. */
  messageBytes: number;
  clock: Clock;
  log: Log;
  /** Ends the connection and whatever runs on it. */
  signal: AbortSignal;
}

/** What SELECT told (RFC 3501 §6.3.1). */
export interface Selected extends FolderStatus {
  /** The server's own name of the folder. */
  path: string;
  readOnly: boolean;
}

/** INTERNALDATE, ms since the epoch, as exact as SEARCH is (a day): from then on, or all that is not. */
export type Age = { since: number } | { before: number };

/** Thrown by what the stop signal interrupted; never leaves src/mailbox/. */
export class Stopped extends Error {}

/**
 * An IMAP connection. All that rejects does so with a MailwatchdError or `Stopped`; one operation runs at a
 * time. UIDs that a server names unasked are dropped.
 */
export interface Connection {
  /** True for a capability in upper case (RFC 3501 §7.2.1). */
  can(capability: string): boolean;
  /**
   * SELECTs, also a folder that is open already; with `readOnly` EXAMINEs, which changes nothing.
   * FOLDER_MISSING names the nearest one.
   */
  select(name: string, options?: { readOnly: boolean }): Promise<Selected>;
  /**
   * FolderStatus of folders by the server's own names, none of what it does not tell. Leaves the folder that is open. By one
   * command where the server has LIST-STATUS (RFC 5819).
   */
  status(paths: readonly string[]): Promise<Map<string, FolderStatus>>;
  /** Whether the server can push for many folders (RFC 5465). */
  canNotify(): boolean;
  /** Whether it does: it accepted `notify`, took nothing back since, and the connection did not end. */
  isNotified(): boolean;
  /**
   * Asks the server to push what comes and goes in these folders, in place of those before, whether a command runs or
   * not; nothing is pushed of the one that is open. `onSilence`: it takes that back, or the connection ends. False where
   * it refuses; else `wait` hears of nothing from then on (RFC 5465 §4).
   */
  notify(paths: readonly string[], onPush: OnPush, onSilence: () => void): Promise<boolean>;
  listFolders(): Promise<Folder[]>;
  /** The server's name of an existing folder. Throws FOLDER_MISSING. */
  resolveFolder(name: string): Promise<string>;
  /** UIDs in `low..high` (null: no upper end), ascending; with `age` those of such an age. */
  search(low: number, high: number | null, age?: Age): Promise<number[]>;
  /** Of these UIDs those that the folder still has. */
  existing(uids: readonly number[]): Promise<number[]>;
  /** The highest UID there is, 0 in an empty folder. */
  highestUid(): Promise<number>;
  /** The UID of the message with this sequence number; null where the server shows none. */
  uidAt(sequenceNumber: number): Promise<number | null>;
  /** What the server answered, by UID; asked in slices. */
  metadata(uids: readonly number[], options: { messageId: boolean }): Promise<Map<number, MessageMetadata>>;
  /**
   * Metadata and the first `length` bytes of each message, by one FETCH: all of a message that is shorter. A server
   * that knows no partial FETCH sends whole ones. Else as `fetchSources`.
   */
  fetchStarts(
    uids: readonly number[],
    length: number,
    onMessage: (message: MessageMetadata, start: Buffer) => void,
  ): Promise<void>;
  /**
   * Hands over each message as it comes. `onMessage` must not wait nor use this connection: a row holds
   * the reader until it returns. More than `maxBytes` end the connection with SERVER_PROTOCOL.
   */
  fetchSources(
    uids: readonly number[],
    maxBytes: number,
    onMessage: (uid: number, source: Buffer) => void,
  ): Promise<void>;
  /** Bytes `start..start+length-1` of a message, empty past its end; null where the server answers without them. */
  fetchPart(uid: number, start: number, length: number): Promise<Buffer | null>;
  createFolder(name: string): Promise<void>;
  /** Adds a message to a folder, seen already. A refusal is SERVER_REFUSED. */
  append(folder: string, message: string): Promise<void>;
  addSeen(uids: readonly number[]): Promise<void>;
  /** UID MOVE (RFC 6851). Throws MOVE_UNSUPPORTED. */
  move(uids: readonly number[], path: string): Promise<void>;
  /** `\Deleted`, then UID EXPUNGE of just these (RFC 4315 §2.1). Throws DELETE_UNSUPPORTED. */
  deleteAndExpunge(uids: readonly number[]): Promise<void>;
  noop(): Promise<void>;
  /** Of the server's certificate, as it was a day ago or later; null without TLS. */
  certificate(): Promise<Validity | null>;
  /** Of a folder, by the server's own name; null where the server has none or does not tell (RFC 9208). */
  quota(path: string): Promise<Quota | null>;
  /** Whether the server can push (RFC 2177) and has not refused to. */
  canIdle(): boolean;
  /** Waits for EXISTS or EXPUNGE, the end of the connection, `milliseconds` or `signal`; in IDLE where possible. */
  wait(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Whether EXISTS or EXPUNGE came since the last `takeNews`. */
  hasNews(): boolean;
  takeNews(): void;
  /** When bytes came last, ms. */
  heardAt(): number;
  /** LOGOUT, waiting for the answer no longer than a moment, then close. Never rejects. */
  logout(): Promise<void>;
  close(): void;
  /** Whether it ended: everything rejects. */
  isClosed(): boolean;
}
