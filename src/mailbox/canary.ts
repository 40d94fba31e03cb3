/** The canary: a marked message comes into a folder of its own again and again, to see whether the server tells of it. */
import { randomBytes } from 'node:crypto';
import { sleep } from '../clock.ts';
import { type ErrorCode, MailwatchdError, toMailwatchdError } from '../errors.ts';
import { printable } from '../escape.ts';
import type { MessageMetadata } from '../model.ts';
import { connectAccount } from './account.ts';
import { backoff } from './backoff.ts';
import { CANARY_BYTES, canaryMessage, type Mark, markOf } from './canary-message.ts';
import { type Connection, type Selected, Stopped } from './connection.ts';
import { findFolder } from './folders.ts';
import { createReporter } from './report.ts';
import { retryForEver } from './retry.ts';
import type { Session } from './session.ts';
import { type SubmissionSettings, submit } from './submission.ts';
import type { Watcher, WatchOptions } from './watcher.ts';

export type CanaryOptions = Pick<
  WatchOptions,
  'account' | 'mailbox' | 'limits' | 'clock' | 'log' | 'takeTurn' | 'signal' | 'onReport' | 'random'
> & {
  /** Milliseconds from one canary to the next; one that is not seen within this is missing. */
  every: number;
  /** The account's other folders, whose mail is published. */
  watched: readonly string[];
  /** By which a canary is sent, with this token, to be filed in the folder by the mail server; null: it is left there by APPEND. */
  smtp: (SubmissionSettings & { token: string }) | null;
};

/** So many of a folder's last messages are looked at: few in the canaries' own, and in another one mail of some minutes. */
const MOST_MESSAGES = 100;

/** How the answer NO to APPEND is told: of a full mailbox it is a trouble of the server. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(['SERVER_REFUSED', 'SERVER_UNAVAILABLE']);

/**
 * What became of a canary. `unpushed`: it is there, but the server did not tell of it. `astray`: it came into another folder.
 * `milliseconds`: its round trip.
 */
type Fate =
  | { kind: 'seen'; milliseconds: number }
  | { kind: 'unpushed' | 'missing' }
  | { kind: 'astray'; path: string }
  | { kind: 'refused'; error: MailwatchdError };

/**
 * Watches the folder `mailbox` as any other one is watched, in IDLE where there is one, while a second, short
 * connection leaves a canary in it, or sends it there. The report counts canaries as messages: `delay` is their round trip.
 */
export function watchCanary(options: CanaryOptions): Watcher {
  const { account, mailbox, every, smtp, clock, log, signal } = options;
  const random = options.random ?? Math.random;
  const where = `${mailbox.account}/${mailbox.folder}`;
  const reporter = createReporter(mailbox, clock, log, (report) => options.onReport?.(report));
  let failures = 0;
  /** Canaries in a row that the server refused. */
  let refusals = 0;
  /** When the next canary is due, monotonic ms. */
  let due = clock.monotonic();
  let nudged = new AbortController();
  const nudge = () => nudged.abort();
  signal.addEventListener('abort', nudge, { once: true });

  async function attempt(): Promise<void> {
    try {
      reporter.state('connecting');
      const connection = await connectAccount(account, options);
      try {
        await keepUp(connection);
      } finally {
        reporter.heard(connection.heardAt());
        await connection.logout();
      }
    } catch (thrown) {
      throw toMailwatchdError(thrown, 'INTERNAL', { where });
    }
  }

  async function keepUp(connection: Connection): Promise<void> {
    await assertSuitable({ connection, where }, options.watched);
    for (;;) {
      await rest(connection);
      if (signal.aborted) return;
      // Anew: somebody may have removed the folder meanwhile.
      const folder = await open(connection);
      await removeOld(connection, folder);
      const begun = clock.monotonic();
      reporter.tally.arrived(1);
      try {
        const fate = await trip(connection, folder, begun + every);
        tell(fate);
        due = begun + Math.max(every, patience(fate));
      } catch (thrown) {
        reporter.tally.dropped();
        throw thrown;
      }
      failures = 0;
    }
  }

  /** How long a server that refuses canaries is left alone, ms: a password that is wrong each minute locks an account. */
  function patience(fate: Fate): number {
    refusals = fate.kind === 'refused' ? refusals + 1 : 0;
    return fate.kind === 'refused' ? waitAfter(fate.error, refusals) : 0;
  }

  /** Milliseconds, on top of what the server itself named. */
  const waitAfter = ({ retry, retryAfter = 0 }: MailwatchdError, times: number): number =>
    retryAfter + backoff(times, retry, random());

  async function failed(error: MailwatchdError): Promise<void> {
    failures += 1;
    reporter.failed(error, failures);
    // Only another canary proves that the trouble is over.
    due = clock.monotonic();
    await sleep(clock, waitAfter(error, failures), nudged.signal);
    takeNudge();
  }

  function takeNudge(): boolean {
    const wasNudged = nudged.signal.aborted;
    if (wasNudged && !signal.aborted) nudged = new AbortController();
    return wasNudged;
  }

  /** The folder is made where it is missing. */
  async function open(connection: Connection): Promise<Selected> {
    try {
      return await connection.select(mailbox.folder);
    } catch (error) {
      if (!(error instanceof MailwatchdError && error.code === 'FOLDER_MISSING')) throw error;
      await connection.createFolder(mailbox.folder);
      return connection.select(mailbox.folder);
    }
  }

  /** Waits until the next canary is due, as a mailbox waits for mail; a nudge makes it due. */
  async function rest(connection: Connection): Promise<void> {
    for (;;) {
      const left = due - clock.monotonic();
      if (left <= 0 || signal.aborted) return;
      const idle = connection.canIdle();
      reporter.state(idle ? 'idle' : 'polling');
      reporter.looked(idle ? 0 : account.pollEvery, connection.heardAt());
      await connection.wait(Math.min(left, account.idleRenewEvery), nudged.signal);
      if (takeNudge()) due = clock.monotonic();
      if (signal.aborted) return;
      await connection.noop();
      connection.takeNews();
    }
  }

  /** Leaves one canary and waits for it until the deadline, monotonic ms. */
  async function trip(connection: Connection, folder: Selected, deadline: number): Promise<Fate> {
    const id = randomBytes(16).toString('hex');
    const over = new AbortController();
    const endWait = () => over.abort();
    signal.addEventListener('abort', endWait, { once: true });
    const wait = async () => {
      const idle = connection.canIdle();
      const begun = clock.monotonic();
      const most = Math.min(deadline - begun, idle ? account.idleRenewEvery : account.pollEvery);
      await connection.wait(most, over.signal);
      const at = clock.monotonic();
      const pushed = connection.hasNews();
      return { at, pushed, inVain: idle && !pushed && at - begun >= most };
    };
    try {
      connection.takeNews();
      // The wait begins first, so that IDLE is there before the canary is.
      const first = wait();
      const left = await (smtp === null ? append(id) : send(id, smtp));
      if (left instanceof MailwatchdError) {
        endWait();
        // Ends IDLE as well: a wait must not begin within another one.
        await connection.noop();
        return { kind: 'refused', error: left };
      }
      for (let waited = await first; ; waited = await wait()) {
        if (signal.aborted) throw new Stopped();
        connection.takeNews();
        if (!waited.pushed) await connection.noop();
        const found = await find(connection, folder.uidNext, (canary) => canary.id === id);
        reporter.heard(connection.heardAt());
        if (found.length > 0) {
          if (waited.pushed) reporter.pushed();
          await remove(connection, found);
          if (waited.inVain) return { kind: 'unpushed' };
          return { kind: 'seen', milliseconds: Math.max(0, Math.round(waited.at - left)) };
        }
        if (clock.monotonic() < deadline) continue;
        return smtp === null ? { kind: 'missing' } : await seekAstray(connection, smtp.token);
      }
    } finally {
      endWait();
      signal.removeEventListener('abort', endWait);
    }
  }

  /** Returns when the server was given it, monotonic ms, or why it refused it: full, or forbidden. */
  async function append(id: string): Promise<number | MailwatchdError> {
    const connection = await connectAccount(account, options);
    try {
      const address = addressOf(account.user);
      const begun = clock.monotonic();
      await connection.append(mailbox.folder, canaryMessage(id, { from: address, to: address }, clock.now()));
      return begun;
    } catch (error) {
      if (error instanceof MailwatchdError && REFUSALS.has(error.code)) return error;
      throw error;
    } finally {
      await connection.logout();
    }
  }

  /** As `append`, but from before the connection. Whatever keeps it from being sent is its refusal: IMAP is well. */
  async function send(id: string, server: SubmissionSettings): Promise<number | MailwatchdError> {
    const begun = clock.monotonic();
    try {
      await submit(server, canaryMessage(id, server, clock.now()), options);
      return begun;
    } catch (error) {
      if (error instanceof MailwatchdError) return error;
      throw error;
    }
  }

  async function seekAstray(connection: Connection, token: string): Promise<Fate> {
    const path = await removeAstray(connection, token);
    // What is waited for next comes into our own folder.
    await open(connection);
    return path === null ? { kind: 'missing' } : { kind: 'astray', path };
  }

  /** Removes canaries of ours from where the mail server filed them instead, and returns where that was; null: nowhere. */
  async function removeAstray(connection: Connection, token: string): Promise<string | null> {
    const listed = await connection.listFolders();
    // A copy that the provider keeps of what was sent proves nothing.
    const sent = findFolder('\\Sent', listed);
    const paths = [...options.watched, 'INBOX', '\\Junk'].map((name) => findFolder(name, listed));
    for (const path of new Set(paths)) {
      if (path === null || path === sent) continue;
      const { uidNext } = await connection.select(path);
      const found = await find(connection, uidNext - MOST_MESSAGES, (canary) => canary.token === token);
      if (found.length === 0) continue;
      await remove(connection, found);
      return path;
    }
    return null;
  }

  /** What a crash left behind, and what came too late. Younger ones may be another daemon's. */
  async function removeOld(connection: Connection, folder: Selected): Promise<void> {
    const before = clock.now() - 2 * every;
    const old = await find(connection, folder.uidNext - MOST_MESSAGES, (_canary, at) => at < before);
    if (old.length > 0) await remove(connection, old);
  }

  /** Gmail keeps in All Mail what is expunged from a label, but not what is moved to the trash, which it empties itself. */
  async function remove(connection: Connection, uids: readonly number[]): Promise<void> {
    if (connection.can('X-GM-EXT-1')) await connection.move(uids, await connection.resolveFolder('\\Trash'));
    else await connection.deleteAndExpunge(uids);
    connection.takeNews();
  }

  /** Those of the open folder's last messages, from a UID on, that are canaries and wanted. */
  async function find(
    connection: Connection,
    from: number,
    isWanted: (canary: Mark, at: number) => boolean,
  ): Promise<number[]> {
    const last = (await connection.search(Math.max(1, from), null)).slice(-MOST_MESSAGES);
    const described = await connection.metadata(last, { messageId: false });
    const small = [...described.values()].filter(isSmall).map(({ uid }) => uid);
    const found: number[] = [];
    if (small.length === 0) return found;
    await connection.fetchStarts(small, CANARY_BYTES, ({ uid, internalDate }, start) => {
      const canary = markOf(start);
      if (canary !== null && isWanted(canary, internalDate)) found.push(uid);
    });
    return found;
  }

  function tell(fate: Fate): void {
    if (fate.kind === 'seen') {
      reporter.tally.stored(false, fate.milliseconds);
      reporter.synced(null);
      log.debug('canary_seen', { milliseconds: fate.milliseconds });
      return;
    }
    reporter.tally.dropped();
    reporter.synced(new MailwatchdError('CANARY_MISSING', { where, detail: wordsOf(fate) }));
  }

  function wordsOf(fate: Exclude<Fate, { kind: 'seen' }>): string {
    switch (fate.kind) {
      case 'unpushed':
        return 'a canary came into its folder, but the server did not tell of it (IDLE)';
      case 'missing':
        return `a canary was not seen within ${Math.round(every / 1000)} s${
          smtp === null ? '' : `: does the mail server file it in ${printable(mailbox.folder)}?`
        }`;
      case 'astray':
        return `a canary came into ${printable(fate.path)}: let the mail server file it in ${printable(mailbox.folder)}`;
      case 'refused':
        return smtp === null
          ? `the server refuses the canary: ${fate.error.detail ?? fate.error.message}`
          : `the canary cannot be sent: ${fate.error.message}`;
    }
  }

  const done = retryForEver(attempt, failed, signal).finally(() => {
    signal.removeEventListener('abort', nudge);
    reporter.stopped();
  });
  return { done, nudge, report: reporter.report };
}

/**
 * Throws DELETE_UNSUPPORTED where the server cannot expunge a canary without what others have marked (RFC 4315), and
 * CANARY_MISSING where one would show in a `watched` folder as well, and so be published.
 */
export async function assertSuitable(
  { connection, where }: Pick<Session, 'connection' | 'where'>,
  watched: readonly string[],
): Promise<void> {
  if (!connection.can('UIDPLUS'))
    throw new MailwatchdError('DELETE_UNSUPPORTED', {
      where,
      detail: 'a canary cannot be removed: the server lacks UIDPLUS (RFC 4315)',
      remedy: OFF,
    });
  const listed = await connection.listFolders();
  const views = VIEWS.map((use) => findFolder(use, listed)).filter((path) => path !== null);
  const seen = watched.find((name) => views.some((view) => view === findFolder(name, listed)));
  if (seen !== undefined)
    throw new MailwatchdError('CANARY_MISSING', {
      where,
      detail: `a canary is not left, since it would show in ${printable(seen)} as well, which is watched`,
      remedy: OFF,
    });
}

/** Canaries are, whatever fields servers added to them. Of others a server that knows no partial FETCH would send all. */
const isSmall = ({ size, sizeUntold }: MessageMetadata): boolean =>
  sizeUntold === true || size <= 4 * CANARY_BYTES;

/** Folders that show messages of others (RFC 6154 §2, RFC 8457 §3). */
const VIEWS = ['\\All', '\\Important'];
const OFF = 'set `canary.every` to null';

/** A user name need not be an address. */
const addressOf = (user: string): string =>
  /^[\w.+-]+@[\w.-]+$/.test(user) ? user : 'canary@mailwatchd.invalid';
