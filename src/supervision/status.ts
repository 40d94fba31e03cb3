/** `status.json` and `mailboxes` in the state directory: what the daemon tells of itself, and reading it. */
import { readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { printable, printableSentence } from '../escape.ts';
import type { Mailbox, Quota } from '../model.ts';
import type { Disk } from './disks.ts';
import { isLocked } from './lock.ts';
import type { Warning } from './warnings.ts';

export type MailboxPhase = 'connecting' | 'syncing' | 'idle' | 'polling' | 'holding' | 'failing';

/** Times are ISO 8601 in UTC. What may be absent an older daemon, still running after an update, does not tell. */
export interface MailboxStatus {
  account: string;
  folder: string;
  state: MailboxPhase;
  healthy: boolean;
  /** Why it is not healthy, or what it waits for; for a disk the system's own words. */
  reason: string | null;
  /** When `state` began. */
  since: string;
  /** When the server was last heard of. */
  lastHeardAt: string | null;
  /** When the server last told of a change by itself: that pushes work. */
  lastPushAt?: string | null;
  /** How long news waited at most until it was looked for, lately, ms; 0: the server pushes. Null before the first look. */
  worstDelay?: number | null;
  lastPublishedAt: string | null;
  /** Messages on the server since the start point, those of them in the ledger, and the difference; null before the first comparison. */
  expected: number | null;
  stored: number | null;
  missing: number | null;
  /** Since when the oldest of the missing ones is known. */
  oldestWaiting?: string | null;
  /**
   * Milliseconds from INTERNALDATE, which has whole seconds of the server's clock, until published: of the last `count`
   * messages that arrived while we watched, 256 at most.
   */
  delay?: { count: number; p50: number; p95: number; p99: number; max: number } | null;
  quarantined: number;
  /** Left out by a rule. */
  filtered: number;
  /** Until when the server's certificate is valid; null without TLS. */
  certificateEndsAt?: string | null;
  /** Until when the login by OAuth2 lasts; null where the provider does not tell. */
  loginEndsAt?: string | null;
  /** When the oldest file of the account's secrets was changed last. */
  credentialChangedAt?: string | null;
  /** The resource that is nearest to its end: octets, or messages; null where the server does not tell. */
  quota?: Quota | null;
  /** What will break but has not, or looks wrong though nothing is: the mailbox is healthy all the same. */
  warnings?: Warning[];
}

/** What the daemon writes, and what `status --json` prints. */
export interface DaemonStatus {
  /** DOWN: no daemon has the lock. UNKNOWN: one has, but has not told of itself for too long. */
  state: 'RUNNING' | 'STOPPING' | 'DOWN' | 'UNKNOWN';
  pid: number | null;
  version: string | null;
  startedAt: string | null;
  /** Where documents, ledger and log lie; as it was a minute ago at most. */
  disks?: Disk[];
  /** As those of a mailbox, of no single one. */
  warnings?: Warning[];
  mailboxes: MailboxStatus[];
}

/**
 * What the daemon is asked for: each mailbox tells of itself when it is its turn to be written. One that is given again
 * says the same.
 */
export type StatusSnapshot = Omit<DaemonStatus, 'mailboxes'> & { mailboxes: Iterable<MailboxStatus> };

/** Told at changes too, but not more often than this: a busy mailbox changes all the time. */
const MIN_INTERVAL_MS = 1_000;
const WRITE_EVERY_MS = 10_000;
/** Three writes missed (the Contract). */
const STALE_AFTER_MS = 30_000;
/** With less than this left, nothing of ours fits. */
const FULL_BELOW_BYTES = 64 * 1024;

export interface StatusFile {
  /** Something changed: written at once, or as soon as a second has passed since the last time. */
  changed(): void;
  /** Resolves once what is known now is written. */
  written(): Promise<void>;
  /** Writes a last time. */
  close(): Promise<void>;
}

export interface StatusFileOptions {
  directory: string;
  clock: Clock;
  snapshot(): StatusSnapshot;
  /** Called at the first of several failures in a row; the file is tried again each time it is due. */
  onError(error: unknown): void;
}

/** Writes both files now, every 10 s and at changes, one write at a time, each file as a whole by rename. */
export function openStatusFile({ directory, clock, snapshot, onError }: StatusFileOptions): StatusFile {
  const json = createText();
  const lines = createText();
  const texts = new WeakMap<MailboxStatus, MailboxTexts>();
  let writing: Promise<void> | null = null;
  let dirty = false;
  let closed = false;
  let failing = false;
  let earliest = 0;
  let cancel: () => void = () => undefined;

  const write = async () => {
    try {
      tell(snapshot(), { json, lines, texts });
      await replaceFile(join(directory, 'status.json'), json.bytes());
      await replaceFile(join(directory, 'mailboxes'), lines.bytes());
      failing = false;
    } catch (error) {
      if (!failing) onError(error);
      failing = true;
    }
  };
  const schedule = () => {
    cancel();
    if (closed) return;
    const wait = dirty ? Math.max(0, earliest - clock.monotonic()) : WRITE_EVERY_MS;
    cancel = clock.after(wait, () => void begin());
  };
  const begin = async () => {
    dirty = false;
    earliest = clock.monotonic() + MIN_INTERVAL_MS;
    writing = write();
    await writing;
    writing = null;
    schedule();
  };

  void begin();
  return {
    changed() {
      if (dirty) return;
      dirty = true;
      if (writing === null) schedule();
    },
    async written() {
      await writing;
      cancel();
      await begin();
    },
    async close() {
      closed = true;
      cancel();
      await writing;
      await write();
    },
  };
}

interface Text {
  clear(): void;
  add(text: string): void;
  /** UTF-8, valid until the next `clear`. */
  bytes(): Buffer;
}

/** Text that is made piece by piece, in bytes that serve again and again. */
function createText(): Text {
  let room = Buffer.alloc(16 * 1024);
  let length = 0;
  return {
    clear() {
      length = 0;
    },
    add(text) {
      // UTF-8 takes 3 bytes for a UTF-16 unit at most.
      const most = length + 3 * text.length;
      if (most > room.length) room = Buffer.concat([room], 2 * most);
      length += room.write(text, length);
    },
    bytes: () => room.subarray(0, length),
  };
}

/** A mailbox in each of the files. */
interface MailboxTexts {
  json: string;
  line: string;
}

/**
 * Says all in both files, a mailbox a line. Of a thousand mailboxes that wait for mail few change between two writes:
 * making all texts anew took a quarter of the daemon's time meanwhile, and its garbage had to be collected (measured).
 */
function tell(
  { mailboxes, ...daemon }: StatusSnapshot,
  { json, lines, texts }: { json: Text; lines: Text; texts: WeakMap<MailboxStatus, MailboxTexts> },
): void {
  for (const text of [json, lines]) text.clear();
  json.add(`${JSON.stringify(daemon).slice(0, -1)},"mailboxes":[`);
  let separator = '\n';
  for (const mailbox of mailboxes) {
    let known = texts.get(mailbox);
    if (known === undefined) {
      known = { json: JSON.stringify(mailbox), line: mailboxLine(mailbox) };
      texts.set(mailbox, known);
    }
    json.add(separator);
    json.add(known.json);
    lines.add(known.line);
    separator = ',\n';
  }
  json.add('\n]}\n');
}

/** Not synced: after a power loss there is no daemon whose status it could be. */
async function replaceFile(path: string, content: Buffer): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await writeFile(temporary, content, { mode: 0o644 });
    await rename(temporary, path);
  } catch (error) {
    // A part of it would take the last bytes of a full disk.
    await rm(temporary, { force: true });
    throw error;
  }
}

/** How `mailboxes` names one: on one line, without a tab. */
export function mailboxLabel({ account, folder }: Mailbox): string {
  return `${account}/${printable(folder)}`;
}

/**
 * A mailbox's line in `mailboxes`: `account/folder`, `ok` or `failing`, reason; a tab between. For checks in shell. The
 * reason beside `ok` is what it waits for, or its warnings after WARNING.
 */
export function mailboxLine(mailbox: MailboxStatus): string {
  const reason = reasonOf(mailbox) ?? '';
  return `${mailboxLabel(mailbox)}\t${mailbox.healthy ? 'ok' : 'failing'}\t${printableSentence(reason)}\n`;
}

/** Begins the warnings of a mailbox that is well. */
const WARNING = 'warning: ';

/** Why it is not healthy; else its warnings; else what it waits for. */
export function reasonOf({ healthy, reason, warnings = [] }: MailboxStatus): string | null {
  return healthy && warnings.length > 0 ? WARNING + warnings.map(({ text }) => text).join('; ') : reason;
}

/** Every warning with the mailbox that it is of; null for those of no single one. */
export function allWarnings(status: DaemonStatus): { mailbox: string | null; text: string }[] {
  const of = (mailbox: string | null, warnings: Warning[] = []) =>
    warnings.map(({ text }) => ({ mailbox, text }));
  const mailboxes = status.mailboxes.flatMap(({ account, folder, warnings }) =>
    of(`${account}/${folder}`, warnings),
  );
  return [...of(null, status.warnings), ...mailboxes];
}

export interface StatusReport {
  status: DaemonStatus;
  /** Why it is DOWN or UNKNOWN. */
  reason: string | null;
}

/**
 * What is known of the daemon of a state directory. `directories` are looked at for the cause where it
 * does not tell of itself. Throws what `isLocked` throws.
 */
export async function readStatus(
  stateDirectory: string,
  directories: string[],
  clock: Clock,
): Promise<StatusReport> {
  if (!isLocked(stateDirectory)) {
    return { status: { state: 'DOWN', ...NOTHING_KNOWN }, reason: 'no daemon is running' };
  }
  const file = join(stateDirectory, 'status.json');
  const written = await readWritten(file);
  const age = written === null ? null : clock.now() - written.at;
  if (written !== null && age !== null && age <= STALE_AFTER_MS)
    return { status: written.status, reason: null };

  const told =
    age === null ? 'has not told of itself' : `has not told of itself for ${Math.round(age / 1000)} s`;
  const full = (
    await Promise.all(directories.map(async (path) => ((await isFull(path)) ? path : null)))
  ).filter((path) => path !== null);
  const because = full.length === 0 ? '' : `; no space left in ${full.join(', ')}`;
  return {
    status: { ...(written?.status ?? NOTHING_KNOWN), state: 'UNKNOWN' },
    reason: `a daemon is running but ${told}${because}`,
  };
}

const NOTHING_KNOWN = { pid: null, version: null, startedAt: null, mailboxes: [] };

async function readWritten(file: string): Promise<{ status: DaemonStatus; at: number } | null> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(file, 'utf8'), stat(file)]);
    const status = JSON.parse(text) as DaemonStatus;
    return Array.isArray(status?.mailboxes) ? { status, at: mtimeMs } : null;
  } catch {
    return null; // absent, unreadable or damaged: nothing is known
  }
}

async function isFull(directory: string): Promise<boolean> {
  try {
    const { bavail, bsize, files, ffree } = await statfs(directory);
    return bavail * bsize < FULL_BELOW_BYTES || (files > 0 && ffree === 0);
  } catch {
    return false; // not there: another check's matter
  }
}

/** Each mailbox that is not healthy, and why. */
export function unhealthy(status: DaemonStatus): { mailbox: string; reason: string }[] {
  return status.mailboxes
    .filter(({ healthy }) => !healthy)
    .map(({ account, folder, state, reason }) => ({
      mailbox: `${account}/${folder}`,
      reason: reason ?? state,
    }));
}
