/** What is known of a mailbox: its epochs, from when on mail is wanted, and how far it was scanned. */
import { MailwatchdError } from '../errors.ts';
import type { Epoch, Mailbox, Start } from '../model.ts';
import type { Observation, OpenedEpoch } from '../ports.ts';
import type { Ledger } from './ledger.ts';
import { mailboxName } from './names.ts';
import { highestUid, newestDate } from './packing.ts';

/** How far a server's clock may be ahead of ours in what we take for the moment an epoch was last alive. */
const CLOCK_SKEW = 24 * 60 * 60 * 1000;

interface EpochRow {
  id: number;
  account: string;
  folder: string;
  label: string;
  uid_validity: string;
  opened_at: number;
  seen_at: number;
  watched_since: number;
  first_uid_next: number;
  highest_uid_next: number;
  scanned_through: number;
  start: string;
  configured_start: string;
  changed_at: number | null;
  compared: number;
  unclear: number | null;
}

/** Finds or makes the epoch for what SELECT told, in one transaction (`MailboxLedger.openEpoch`, but for suspects). */
export function openEpoch(
  ledger: Ledger,
  mailbox: Mailbox,
  observation: Observation,
): Omit<OpenedEpoch, 'suspects'> {
  if (!/^[0-9]{1,20}$/.test(observation.uidValidity)) {
    throw new MailwatchdError('SERVER_PROTOCOL', {
      where: mailboxName(mailbox),
      detail: 'the UIDVALIDITY is not a number',
    });
  }
  if (!isUid(observation.uidNext) || !isUid(observation.highestUid ?? 0)) {
    throw new MailwatchdError('SERVER_PROTOCOL', {
      where: mailboxName(mailbox),
      detail: 'UIDNEXT is not a number of 32 bits',
    });
  }
  return ledger.transaction(() => {
    const known = latestEpoch(ledger, mailbox);
    if (known === null) return opened(insertEpoch(ledger, mailbox, observation, null), []);
    const warnings = considerStart(ledger, known, observation);
    const current = continues(ledger, known, observation)
      ? touch(ledger, known, observation)
      : insertEpoch(ledger, mailbox, observation, rowOf(ledger, known.id));
    // Whatever was in work alone in this mailbox, the connection that fetched it is gone.
    ledger.run('UPDATE alone SET in_work = 0 WHERE epoch = ? AND in_work = 1', known.id);
    return opened(current, warnings);
  });
}

function opened(row: EpochRow, warnings: string[]): Omit<OpenedEpoch, 'suspects'> {
  return { epoch: epochOf(row), hold: row.unclear === null ? null : 'EPOCH_UNCLEAR', warnings };
}

/** The mailbox's present epoch, null before its first opening. */
function latestEpoch(ledger: Ledger, mailbox: Mailbox): EpochRow | null {
  const sql = 'SELECT * FROM epoch WHERE account = ? AND folder = ? ORDER BY id DESC LIMIT 1';
  return ledger.get<EpochRow>(sql, mailbox.account, mailbox.folder) ?? null;
}

/** The ids of all of a mailbox's epochs, ascending. */
export function epochsOf(ledger: Ledger, mailbox: Mailbox): number[] {
  const sql = 'SELECT id FROM epoch WHERE account = ? AND folder = ? ORDER BY id';
  return ledger.all<{ id: number }>(sql, mailbox.account, mailbox.folder).map(({ id }) => id);
}

function rowOf(ledger: Ledger, id: number): EpochRow {
  const row = ledger.get<EpochRow>('SELECT * FROM epoch WHERE id = ?', id);
  if (row === undefined) throw new MailwatchdError('INTERNAL', { detail: `the ledger has no epoch ${id}` });
  return row;
}

/** RFC 3501 §2.3.1.1: UIDs are numbers of 32 bits; UIDNEXT may be one more. */
function isUid(number: number): boolean {
  return Number.isInteger(number) && number >= 0 && number <= 2 ** 32;
}

/** The first UID that is new at an observation: UIDNEXT, or where the server does not tell it what follows the highest. */
export function firstNewUid(observation: Observation): number {
  return observation.uidNext > 0 ? observation.uidNext : (observation.highestUid ?? 0) + 1;
}

/** The same numbering goes on: same UIDVALIDITY, and UIDNEXT not below what was assigned (RFC 3501 §2.3.1.1). */
function continues(ledger: Ledger, known: EpochRow, observation: Observation): boolean {
  if (known.uid_validity !== observation.uidValidity) return false;
  if (observation.uidNext === 0) return true;
  return observation.uidNext >= Math.max(known.highest_uid_next, highestUid(ledger, known.id) + 1);
}

function touch(ledger: Ledger, known: EpochRow, observation: Observation): EpochRow {
  ledger.run(
    'UPDATE epoch SET seen_at = max(seen_at, ?), highest_uid_next = max(highest_uid_next, ?) WHERE id = ?',
    observation.at,
    observation.uidNext,
    known.id,
  );
  return rowOf(ledger, known.id);
}

/** A new epoch: the mailbox's first, or one after `previous`, from which the start point carries over. */
function insertEpoch(
  ledger: Ledger,
  mailbox: Mailbox,
  observation: Observation,
  previous: EpochRow | null,
): EpochRow {
  const configured = JSON.stringify(observation.start);
  const firstNew = firstNewUid(observation);
  const row = ledger.get<{ id: number }>(
    `INSERT INTO epoch (account, folder, label, uid_validity, opened_at, seen_at, watched_since, first_uid_next,
       highest_uid_next, scanned_through, start, configured_start, changed_at, compared)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
    mailbox.account,
    mailbox.folder,
    freeLabel(ledger, mailbox, observation.uidValidity),
    observation.uidValidity,
    observation.at,
    observation.at,
    previous?.watched_since ?? observation.at,
    firstNew,
    observation.uidNext,
    firstNew - 1,
    previous?.start ?? configured,
    previous?.configured_start ?? configured,
    previous === null ? null : lastAlive(ledger, previous),
    previous === null ? 1 : 0,
  );
  return rowOf(ledger, (row as { id: number }).id);
}

/** `<uidValidity>`, or `<uidValidity>.<n>` from its second generation on. */
function freeLabel(ledger: Ledger, mailbox: Mailbox, uidValidity: string): string {
  const generations = ledger.get<{ count: number }>(
    'SELECT count(*) AS count FROM epoch WHERE account = ? AND folder = ? AND uid_validity = ?',
    mailbox.account,
    mailbox.folder,
    uidValidity,
  );
  const before = generations?.count ?? 0;
  return before === 0 ? uidValidity : `${uidValidity}.${before + 1}`;
}

/**
 * Until when messages of an epoch may have come: its last opening or progress by our clock, or the
 * newest INTERNALDATE, which is by the server's clock. Comparing too much is cheap, comparing too
 * little publishes twice; but one message dated into the far future must not decide alone.
 */
function lastAlive(ledger: Ledger, previous: EpochRow): number {
  const newest = newestDate(ledger, previous.id, previous.seen_at + CLOCK_SKEW);
  return Math.max(previous.seen_at, newest + 1);
}

/**
 * A `start` that moved earlier in the configuration widens what is wanted; one that moved later
 * does nothing. Compared with what was configured, not with what is in force: `adopt --skip` moves
 * the latter, and the unchanged configuration must not undo it.
 */
function considerStart(ledger: Ledger, known: EpochRow, observation: Observation): string[] {
  const configured = JSON.parse(known.configured_start) as Start;
  const before = instantOf(configured, known.watched_since);
  const now = instantOf(observation.start, known.watched_since);
  if (now > before) {
    return [
      `start is later than it was at the first opening (${startText(configured)}) and is ignored: ` +
        'what is older was taken already or is being taken',
    ];
  }
  if (now < before) {
    const text = JSON.stringify(observation.start);
    ledger.run('UPDATE epoch SET start = ?, configured_start = ? WHERE id = ?', text, text, known.id);
  }
  return [];
}

/** `new` is the moment of the mailbox's first opening. */
function instantOf(start: Start, watchedSince: number): number {
  if (start.kind === 'all') return Number.NEGATIVE_INFINITY;
  return start.kind === 'new' ? watchedSince : start.at;
}

function startText(start: Start): string {
  return start.kind === 'date' ? new Date(start.at).toISOString().slice(0, 10) : start.kind;
}

function epochOf(row: EpochRow): Epoch {
  return {
    id: row.id,
    account: row.account,
    folder: row.folder,
    label: row.label,
    uidValidity: row.uid_validity,
    openedAt: row.opened_at,
    firstUidNext: row.first_uid_next,
    start: JSON.parse(row.start) as Start,
    watchedSince: row.watched_since,
    scannedThrough: row.scanned_through,
    changedAt: row.changed_at,
    compared: row.compared === 1,
  };
}

/** Raises `scannedThrough` (inside a transaction); progress also shows that the epoch was alive at `now`. */
export function advance(ledger: Ledger, epoch: number, scannedThrough: number, now: number): void {
  ledger.run(
    'UPDATE epoch SET scanned_through = max(scanned_through, ?), seen_at = max(seen_at, ?) WHERE id = ?',
    scannedThrough,
    now,
    epoch,
  );
}

/** Every candidate has been compared: publishing may begin. */
export function markCompared(ledger: Ledger, epoch: number): void {
  ledger.transaction(() => endComparing(ledger, epoch));
}

/** What was to be judged anew and is not known again, nobody will ask the server for. */
function endComparing(ledger: Ledger, epoch: number): void {
  ledger.run('UPDATE epoch SET compared = 1, unclear = NULL WHERE id = ?', epoch);
  ledger.run(
    `DELETE FROM replay WHERE EXISTS (
       SELECT 1 FROM message m JOIN epoch e ON e.id = m.epoch JOIN epoch mine ON mine.id = ?
       WHERE m.epoch = replay.epoch AND m.uid = replay.uid AND m.state = 'filtered'
         AND e.account = mine.account AND e.folder = mine.folder AND e.id < mine.id)`,
    epoch,
  );
}

/** The mailbox holds until the operator decides; `unmatched` is how many candidates match nothing. */
export function holdEpoch(ledger: Ledger, epoch: number, unmatched: number): void {
  ledger.transaction(() => ledger.run('UPDATE epoch SET unclear = ? WHERE id = ?', unmatched, epoch));
}

/** The mailboxes that wait for a decision, each with the number of candidates that match nothing. */
export function unclearEpochs(ledger: Ledger): (Mailbox & { unmatched: number; since: number })[] {
  return ledger.all(
    `SELECT account, folder, unclear AS unmatched, opened_at AS since FROM epoch WHERE unclear IS NOT NULL
     ORDER BY account, folder`,
  );
}

/**
 * The operator's decision for a mailbox that holds: `publish` takes the candidates that match
 * nothing for new mail; `skip` takes what is older than the change for known, which is a start point
 * at the change. UNKNOWN_MESSAGE where nothing holds there.
 */
export function decideUnclear(ledger: Ledger, mailbox: Mailbox, decision: 'publish' | 'skip'): void {
  ledger.transaction(() => {
    const row = latestEpoch(ledger, mailbox);
    if (row === null || row.unclear === null) {
      throw new MailwatchdError('UNKNOWN_MESSAGE', {
        where: mailboxName(mailbox),
        detail: row === null ? 'the ledger knows no such mailbox' : 'this mailbox waits for no decision',
      });
    }
    endComparing(ledger, row.id);
    if (decision === 'publish') return;
    const start: Start = { kind: 'date', at: row.changed_at ?? row.opened_at };
    // The mailbox counts as watched from then on: nothing older is a candidate by either measure.
    ledger.run(
      'UPDATE epoch SET start = ?, watched_since = ? WHERE id = ?',
      JSON.stringify(start),
      start.at,
      row.id,
    );
  });
}
