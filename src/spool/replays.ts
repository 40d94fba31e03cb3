/** Requests to parse a message again: left by the command, served by the daemon. */
import { MailwatchdError, type PlainError } from '../errors.ts';
import type { Extensions, Mailbox, MessageIdentity, MessageState } from '../model.ts';
import { SPAN } from './block.ts';
import { onStorage } from './files.ts';
import type { Ledger } from './ledger.ts';
import { errorText, type Key } from './messages.ts';
import { folderSlug, messageId, parseId, publishedName } from './names.ts';
import { unpackFiltered, unpackMessage } from './packing.ts';
import type { Storage } from './storage.ts';

/** In so many runs that died over it a replay is begun; then its message stays where it is. */
const MOST_DEATHS = 3;

/** A request that waits. */
export interface Replay extends Mailbox {
  number: number;
  epochId: number;
  uid: number;
  id: string;
  /** ms. */
  requestedAt: number;
}

/** What is needed to parse a message again. */
export interface ReplaySource {
  identity: MessageIdentity;
  /** The raw message, linked into the run's directory. */
  file: string;
  /** The document's name: the id, or `<id>~2` where it is published already. */
  name: string;
  /** RFC822.SIZE as it was told, bytes. */
  declaredSize: number;
}

interface Found extends Key, Mailbox {
  label: string;
  state: MessageState;
  copies: number;
  complete: number;
  path: string | null;
  declared_size: number;
  internal_date: number;
  flags: string;
  extensions: string | null;
}

const FOUND = `SELECT m.epoch, m.uid, m.state, m.copies, m.complete, m.path, m.declared_size, m.internal_date,
  m.flags, m.extensions, e.account, e.folder, e.label FROM message m JOIN epoch e ON e.id = m.epoch`;

/** The row of a message by its id, or `account/id` where several accounts have one of that id. UNKNOWN_MESSAGE. */
function findMessage(ledger: Ledger, name: string): Found {
  const [id, account] = name.split('/', 2).reverse() as [string, string | undefined];
  const parts = parseId(id);
  if (parts !== null) {
    const epochs = ledger.all<{ id: number }>('SELECT id FROM epoch WHERE label = ?', parts.label);
    for (const epoch of epochs) unpackMessage(ledger, epoch.id, parts.uid);
  }
  const found =
    parts === null
      ? []
      : ledger
          .all<Found>(`${FOUND} WHERE e.label = ? AND m.uid = ?`, parts.label, parts.uid)
          .filter((row) => folderSlug(row.folder) === parts.slug)
          .filter((row) => account === undefined || row.account === account);
  const [message] = found;
  if (message === undefined) {
    throw new MailwatchdError('UNKNOWN_MESSAGE', {
      where: name,
      remedy: 'give an id as `mailwatchd list` shows it',
    });
  }
  if (found.length > 1) {
    const names = found.map((row) => `${row.account}/${id}`).join(', ');
    throw new MailwatchdError('UNKNOWN_MESSAGE', {
      where: name,
      detail: `several accounts have a message of this id: ${names}`,
      remedy: 'name one of them',
    });
  }
  return message;
}

/** Every message in quarantine whose bytes are all there, as `account/id`, oldest first. */
export function quarantinedMessages(ledger: Ledger): string[] {
  return ledger
    .all<Found>(
      // The index's own words, so that it is used.
      `${FOUND} WHERE m.state IN ('quarantined', 'unfetchable') AND m.state = 'quarantined' AND m.complete = 1
       ORDER BY m.recorded_at, m.epoch, m.uid`,
    )
    .map((row) => `${row.account}/${idOf(row)}`);
}

/**
 * Leaves a request, in one transaction; one that is there already is renewed. UNKNOWN_MESSAGE,
 * ALREADY_PUBLISHED (without `again`), SOURCE_MISSING (nothing was kept to parse again).
 */
export function requestReplay(ledger: Ledger, name: string, again: boolean, now: number): Replay {
  return ledger.transaction(() => {
    const message = findMessage(ledger, name);
    const refusal = refusalOf(message, again);
    if (refusal !== null) throw new MailwatchdError(refusal.code, { where: name, ...refusal });
    const row = ledger.get<{ number: number }>(
      `INSERT INTO replay (epoch, uid, again, requested_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (epoch, uid) DO UPDATE SET again = excluded.again, requested_at = excluded.requested_at,
         code = NULL, reason = NULL, deaths = 0 RETURNING number`,
      message.epoch,
      message.uid,
      again ? 1 : 0,
      now,
    );
    const { account, folder, uid, epoch: epochId } = message;
    return { number: row?.number ?? 0, epochId, account, folder, uid, id: idOf(message), requestedAt: now };
  });
}

function refusalOf(
  message: Found,
  again: boolean,
): { code: 'ALREADY_PUBLISHED' | 'SOURCE_MISSING'; detail?: string; remedy?: string } | null {
  if (message.state === 'quarantined') {
    return message.complete === 1
      ? null
      : {
          code: 'SOURCE_MISSING',
          detail: 'only its header was fetched',
          remedy: 'raise limits.messageBytes',
        };
  }
  if (message.state === 'published') {
    return again ? null : { code: 'ALREADY_PUBLISHED', remedy: 'add --again for a second document' };
  }
  if (message.state === 'filtered') {
    const remedy = 'change the rules, then `mailwatchd replay --filtered`';
    return { code: 'SOURCE_MISSING', detail: 'a rule left it out', remedy };
  }
  return { code: 'SOURCE_MISSING', detail: `the message is ${message.state}` };
}

/**
 * Leaves requests to judge anew what rules left out, as far as it may still be on the server: of each mailbox's present
 * epoch. A span of UIDs at a time, each once, so that a daemon that runs waits for no more than that, and what it answers
 * meanwhile is not asked for again; returns how many wait.
 */
export function requestFiltered(ledger: Ledger, now: number): number {
  const epochs = ledger.all<{ id: number }>('SELECT max(id) AS id FROM epoch GROUP BY account, folder');
  for (const { id } of epochs)
    for (let from: number | null = 0; from !== null; ) from = requestSpan(ledger, id, from, now);
  return ledger.get<{ count: number }>(`SELECT count(*) AS count ${TO_JUDGE}`)?.count ?? 0;
}

/** Those of the next span from one on; returns where to go on, null at the end. */
function requestSpan(ledger: Ledger, epoch: number, from: number, now: number): number | null {
  return ledger.transaction(() => {
    const span = unpackFiltered(ledger, epoch, from);
    if (span === null) return null;
    ledger.run(
      `INSERT INTO replay (epoch, uid, again, requested_at)
       SELECT epoch, uid, 0, ? FROM message
       WHERE epoch = ? AND uid BETWEEN ? AND ? AND state = 'filtered' AND claimed = 0
       ON CONFLICT (epoch, uid) DO UPDATE SET requested_at = excluded.requested_at, code = NULL, reason = NULL`,
      now,
      epoch,
      span * SPAN,
      (span + 1) * SPAN - 1,
    );
    return span + 1;
  });
}

/** Requests that a mailbox answers, by judging its message anew. */
const TO_JUDGE = `FROM replay r JOIN message m ON m.epoch = r.epoch AND m.uid = r.uid AND m.state = 'filtered'
  WHERE r.code IS NULL`;

/** UIDs of an epoch's messages that are to be judged anew, ascending (`MailboxLedger.toJudgeAnew`). */
export function uidsToJudge(ledger: Ledger, epoch: number): number[] {
  return ledger
    .all<{ uid: number }>(`SELECT r.uid ${TO_JUDGE} AND r.epoch = ? ORDER BY r.uid`, epoch)
    .map(({ uid }) => uid);
}

/** The mailboxes that have some of them. */
export function mailboxesToJudge(ledger: Ledger): Mailbox[] {
  return ledger.all<{ account: string; folder: string }>(
    `SELECT DISTINCT account, folder FROM epoch WHERE id IN (SELECT r.epoch ${TO_JUDGE})`,
  );
}

/** Withdraws requests for messages that nobody fetches any more: they stay filtered. */
export function withdrawGone(ledger: Ledger, epoch: number, uids: number[]): void {
  ledger.transaction(() => {
    for (const uid of uids) ledger.run('DELETE FROM replay WHERE epoch = ? AND uid = ?', epoch, uid);
  });
}

/**
 * The requests that wait for a parser, oldest first; one that failed has its code, and waits no more. One for a filtered
 * message is its mailbox's.
 */
export function pendingReplays(ledger: Ledger): Replay[] {
  const rows = ledger.all<Omit<Replay, 'id'> & { label: string }>(
    `SELECT r.number, r.epoch AS epochId, r.uid, r.requested_at AS requestedAt, e.account, e.folder, e.label
     FROM replay r JOIN epoch e ON e.id = r.epoch JOIN message m ON m.epoch = r.epoch AND m.uid = r.uid
     WHERE r.code IS NULL AND m.state <> 'filtered' ORDER BY r.number`,
  );
  return rows.map(({ label, ...row }) => ({ ...row, id: messageId(row.folder, label, row.uid) }));
}

/**
 * Links the raw message into the run's directory as `<stem>.source`, where a parser may read it and
 * nobody can take it away. UNKNOWN_MESSAGE, SOURCE_MISSING, ALREADY_PUBLISHED, DAEMON_KILLED after
 * three runs that died over it, STORAGE_*.
 */
export function beginReplay(
  ledger: Ledger,
  storage: Storage,
  run: string,
  number: number,
  stem: string,
): ReplaySource {
  const row = ledger.transaction(() => {
    ledger.run('UPDATE replay SET deaths = deaths + 1 WHERE number = ? AND run <> ?', number, run);
    ledger.run('UPDATE replay SET run = ? WHERE number = ?', run, number);
    return ledger.get<{ epoch: number; uid: number; again: number; deaths: number }>(
      'SELECT epoch, uid, again, deaths FROM replay WHERE number = ?',
      number,
    );
  });
  if (row === undefined) throw new MailwatchdError('UNKNOWN_MESSAGE', { detail: 'the request is gone' });
  const message = ledger.get<Found>(`${FOUND} WHERE m.epoch = ? AND m.uid = ?`, row.epoch, row.uid);
  if (message === undefined) throw new MailwatchdError('UNKNOWN_MESSAGE');
  const where = `${message.account}/${idOf(message)}`;
  const refusal = refusalOf(message, row.again === 1);
  if (refusal !== null) throw new MailwatchdError(refusal.code, { where, ...refusal });
  if (row.deaths >= MOST_DEATHS) throw new MailwatchdError('DAEMON_KILLED', { where });

  const source = storage.at((message.path ?? '').replace(/\.json$/, '.eml'));
  const file = `${storage.runDirectory(run)}/${stem}.source`;
  onStorage(source, () => {
    storage.files.remove(file);
    if (storage.files.kind(source) !== 'file') throw sourceMissing(source, message.state);
    storage.files.link(source, file);
    // Looked at once more under its new name, where nobody else can exchange it for a link.
    if (storage.files.kind(file) !== 'file') throw sourceMissing(source, message.state);
  });
  return {
    identity: {
      account: message.account,
      folder: message.folder,
      id: idOf(message),
      uid: message.uid,
      uidValidity: message.label,
      internalDate: message.internal_date,
      flags: JSON.parse(message.flags) as string[],
      ...(message.extensions !== null && { extensions: JSON.parse(message.extensions) as Extensions }),
    },
    file,
    name: publishedName(idOf(message), message.copies + 1),
    declaredSize: message.declared_size,
  };
}

function sourceMissing(where: string, state: MessageState): MailwatchdError {
  const remedy =
    state === 'published' ? 'storage.source: keep would have kept it' : 'it was removed from quarantine';
  return new MailwatchdError('SOURCE_MISSING', { where, remedy });
}

/** The replay failed for good; the message stays what it was, and the request tells why. */
export function failReplay(ledger: Ledger, replay: Replay, error: PlainError): void {
  ledger.transaction(() => {
    // Answered meanwhile, it may have been packed.
    unpackMessage(ledger, replay.epochId, replay.uid);
    ledger.run(
      `INSERT INTO replay (epoch, uid, again, requested_at, code, reason) VALUES (?, ?, 0, ?, ?, ?)
       ON CONFLICT (epoch, uid) DO UPDATE SET code = excluded.code, reason = excluded.reason, run = NULL`,
      replay.epochId,
      replay.uid,
      replay.requestedAt,
      error.code,
      errorText(error),
    );
  });
}

function idOf(message: Mailbox & { label: string; uid: number }): string {
  return messageId(message.folder, message.label, message.uid);
}
