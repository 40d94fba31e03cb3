/** One mailbox folder's loop: take a connection → open → catch up → wait → catch up …; whatever ends the wait, the same catch-up follows. */
import { type Clock, sleep } from '../clock.ts';
import { MailwatchdError, toMailwatchdError } from '../errors.ts';
import type { Log } from '../logging.ts';
import type { Mailbox } from '../model.ts';
import type { Intake, MailboxLedger } from '../ports.ts';
import type { AccountSettings } from './account.ts';
import { settleAfterActions } from './after.ts';
import { backoff } from './backoff.ts';
import { catchUp } from './catchup.ts';
import type { Connection } from './connection.ts';
import { compareAtOpening, Unclear } from './epoch.ts';
import { createFlight } from './flight.ts';
import { createQuietWatch } from './quiet.ts';
import { isUnchanged, reconcile } from './reconcile.ts';
import { createReporter, type MailboxReport } from './report.ts';
import { retryForEver } from './retry.ts';
import { GaveWay, ownConnection, type Seat } from './seat.ts';
import { emptyMemory, Held, holding, type Session } from './session.ts';

export type { AccountSettings } from './account.ts';
export type { MailboxReport } from './report.ts';

export interface WatchOptions {
  account: AccountSettings;
  mailbox: Mailbox;
  /** `once`: catch up and reconcile completely, then end. */
  mode: 'run' | 'once';
  limits: { messageBytes: number; operationSeconds: number };
  /** Milliseconds. */
  reconcileEvery: number;
  ledger: MailboxLedger;
  intake: Intake;
  clock: Clock;
  log: Log;
  /** Spaces out connections to one host; resolves at once when the signal aborts. */
  takeTurn(host: string, signal: AbortSignal): Promise<void>;
  /** Ends the watching: what is in flight is finished. */
  signal: AbortSignal;
  /** Its place among the folders that share the account's connections; absent: it has a connection of its own. */
  seat?: Seat;
  onReport?: (report: MailboxReport) => void;
  /** In [0, 1); for the jitter. */
  random?: () => number;
}

export interface Watcher {
  /** Resolves after the stop, or in mode `once` when all is stored; rejects only in mode `once`. */
  done: Promise<void>;
  /** Ends whatever the mailbox waits for: it looks again now. */
  nudge(): void;
  report(): MailboxReport;
}

/** An undecided epoch is looked at so often: `adopt` may have decided it. */
const UNCLEAR_MS = 60_000;
/** A message whose place is taken is tried again after this: somebody may have moved the stranger's file away. */
const OBSTRUCTED_MS = 60_000;
/** Storage that could not take mail is tried again after this, doubled up to that. */
const HOLD_MS = { first: 1_000, last: 15_000 };
/**
 * A connection that ends sooner after its sync, or before its after-actions are done, is one more failure, up to so
 * many: a server that drops us each time is not stormed, and mail waits no longer than 16 s for it.
 */
const STEADY_MS = 10_000;
const FAILURES_THOUGH_CAUGHT_UP = 5;
/** A server that lost a connection over the question for its quota is not asked again sooner. */
const QUOTA_UNANSWERED_MS = 24 * 60 * 60_000;
/** `once` gives up after so many failures in a row. */
const ONCE_ATTEMPTS = 4;

/** What to wait for, without a connection, before the folder needs one again. */
type Rest = () => Promise<void>;

/** Starts watching a mailbox. */
export function watchMailbox(options: WatchOptions): Watcher {
  const { account, mailbox, mode, limits, ledger, intake, clock, log, signal } = options;
  const random = options.random ?? Math.random;
  const where = `${mailbox.account}/${mailbox.folder}`;
  const reporter = createReporter(mailbox, clock, log, (report) => options.onReport?.(report));
  const flight = createFlight();
  const quietLongerThanEver = createQuietWatch(ledger, mailbox, clock);
  const seat = options.seat ?? ownConnection(account, options);
  let memory = emptyMemory(null, false);
  let nudged = new AbortController();
  let failures = 0;
  /** This connection fetched all that was there. */
  let caughtUp = false;
  /** When everything was compared last, monotonic ms; null: it is to be compared at the next opening. */
  let comparedAt: number | null = null;
  /** The folder gave way to others in the middle of its work. */
  let resuming = false;
  let hasConnection = false;
  /** When this connection had completed a sync, after-actions included. */
  let syncedAt: number | null = null;
  let holds = 0;
  /** From when on the quota may be asked for, monotonic ms. */
  let quotaFrom = 0;
  /** What `once` could not do although all else is done. */
  let unfinished: MailwatchdError | null = null;

  // A stop ends each wait as a nudge does. One controller, since AbortSignal.any leaves something of each wait behind.
  const nudge = () => nudged.abort();
  signal.addEventListener('abort', nudge, { once: true });
  if (signal.aborted) nudge();
  /** Whether somebody asks for a look: then at everything. */
  const takeNudge = (): boolean => {
    const wasNudged = nudged.signal.aborted;
    if (wasNudged) comparedAt = memory.complete = null;
    if (wasNudged && !signal.aborted) nudged = new AbortController();
    return wasNudged;
  };
  const pause = async (milliseconds: number) => {
    await sleep(clock, milliseconds, nudged.signal);
    takeNudge();
  };

  async function run(): Promise<void> {
    await retryForEver(attempt, failed, signal);
    if (unfinished !== null) throw unfinished;
  }

  async function attempt(): Promise<void> {
    try {
      for (;;) {
        const rest = await connected(watch);
        await rest?.();
        if (rest === null || signal.aborted) return;
      }
    } catch (thrown) {
      throw thrown instanceof Held ? thrown.error : toMailwatchdError(thrown, 'INTERNAL', { where });
    }
  }

  async function failed(error: MailwatchdError): Promise<void> {
    if (caughtUp) {
      const steady = syncedAt !== null && clock.monotonic() - syncedAt >= STEADY_MS;
      failures = steady ? 0 : Math.min(failures, FAILURES_THOUGH_CAUGHT_UP - 1);
    }
    caughtUp = false;
    syncedAt = null;
    failures = memory.progress ? 1 : failures + 1;
    memory.progress = false;
    comparedAt = null;
    reporter.failed(error, failures);
    const lasting = error.retry !== 'soon' || failures >= ONCE_ATTEMPTS || holds >= ONCE_ATTEMPTS;
    if (mode === 'once' && lasting) throw error;
    // Connecting for all folders of an account is backed off once for all of them.
    if (seat.shared && !hasConnection) return;
    // On top of the wait that a server named: the mailboxes that it named it to do not return at once.
    await pause((error.retryAfter ?? 0) + backoff(failures, error.retry, random()));
  }

  async function connected(work: (connection: Connection) => Promise<Rest | null>): Promise<Rest | null> {
    if (!seat.shared) reporter.state('connecting');
    const urgent = !resuming && (comparedAt === null || dueIn() > 0);
    hasConnection = false;
    const connection = await seat.take({ urgent, leave: nudge });
    hasConnection = true;
    resuming = false;
    let error: unknown = null;
    try {
      return await work(connection);
    } catch (thrown) {
      error = thrown;
      throw thrown;
    } finally {
      reporter.heard(connection.heardAt());
      await seat.giveBack(connection, error);
    }
  }

  /** Works on a connection for as long as the folder may have it. */
  async function watch(connection: Connection): Promise<Rest | null> {
    try {
      while (!signal.aborted) {
        try {
          const session = await open(connection);
          const fault = await sync(session, { everything: dueIn() <= 0 });
          if (mode === 'once') {
            unfinished = fault;
            return null;
          }
          await keepUp(session);
          if (!seat.keeps(connection)) return awaitNews;
        } catch (thrown) {
          if (thrown instanceof GaveWay) return awaitTurn;
          const wait = await hold(thrown);
          if (seat.shared) return () => pause(wait);
          await pause(wait);
        }
      }
      return null;
    } finally {
      // Nothing is in flight when the next connection asks the ledger what is handled, or another folder gets this one.
      await flight.land().catch((error: unknown) => reporter.notStored(error));
    }
  }

  async function awaitNews(): Promise<void> {
    reporter.state('polling');
    if (await seat.news(dueIn(), nudged.signal, reporter.looked)) reporter.pushed();
    takeNudge();
  }

  async function awaitTurn(): Promise<void> {
    resuming = true;
  }

  /** Milliseconds until everything is to be compared again. */
  function dueIn(): number {
    if (comparedAt === null) return 0;
    const most = memory.obstructed.size > 0 ? OBSTRUCTED_MS : Number.POSITIVE_INFINITY;
    return comparedAt + Math.min(options.reconcileEvery, most) - clock.monotonic();
  }

  /** Waits and catches up, until it is time to compare everything again, or a nudge asks for it, or others need the connection. */
  async function keepUp(session: Session): Promise<void> {
    while (dueIn() > 0 && seat.keeps(session.connection)) {
      await waitForNews(session, dueIn());
      // What is due begins with a catch-up.
      if (signal.aborted || takeNudge() || dueIn() <= 0) return;
      await sync(session, { everything: false });
      const { selected } = session;
      seat.saw({ ...selected, uidNext: Math.max(selected.uidNext, memory.arrivedThrough + 1) });
    }
  }

  /** SELECT, also for a folder that is open: UIDVALIDITY and UIDNEXT may have changed under the connection. */
  async function open(connection: Connection): Promise<Session> {
    reporter.state('syncing');
    const selected = await connection.select(mailbox.folder);
    seat.saw(selected);
    const { uidValidity, uidNext } = selected;
    const observation = {
      uidValidity,
      uidNext,
      ...(uidNext === 0 && { highestUid: await connection.highestUid() }),
      at: clock.now(),
      start: account.start,
    };
    const { epoch, hold, suspects, warnings } = await holding(ledger.openEpoch(mailbox, observation));
    if (memory.epochId !== epoch.id) {
      memory = emptyMemory(epoch.id, suspects);
      comparedAt = null;
      for (const warning of warnings) log.warn('mailbox_opened', { uidValidity: epoch.label, warning });
    }
    if (hold !== null) throw new Unclear();
    const { scannedThrough } = epoch;
    const { tally } = reporter;
    const { reconcileEvery } = options;
    const { filter } = account;
    const { giveWay } = seat;
    const shared = { ledger, intake, filter, limits, reconcileEvery, clock, log, signal, giveWay };
    const session = { where, connection, selected, epoch, scannedThrough, memory, flight, tally, ...shared };
    if (epoch.changedAt !== null && !epoch.compared) await compareAtOpening(session);
    return session;
  }

  /** Returns what stands against one message or an after-action, while the rest is done. */
  async function sync(
    session: Session,
    { everything }: { everything: boolean },
  ): Promise<MailwatchdError | null> {
    if (everything) memory.obstructed.clear();
    const unchanged = everything && isUnchanged(session);
    if (!unchanged) await catchUp(session);
    if (everything) {
      if (!unchanged) await reconcile(session);
      comparedAt = clock.monotonic();
    }
    memory.suspects = { arrivals: 0, backfill: 0 };
    caughtUp = true;
    const [obstructed] = memory.obstructed.values();
    const fault = (await settleAfterActions(session, account.after)) ?? obstructed ?? null;
    // Only a completed sync proves that the trouble is over.
    syncedAt ??= clock.monotonic();
    holds = 0;
    reporter.heard(session.connection.heardAt());
    reporter.synced(fault);
    if (everything && mode === 'run') await lookAhead(session);
    return fault;
  }

  /** After all else: neither mail nor after-actions wait for what is only nice to know. */
  async function lookAhead({ connection, selected }: Session): Promise<void> {
    const certificate = await connection.certificate();
    let quota = reporter.report().quota;
    if (clock.monotonic() >= quotaFrom) {
      quotaFrom = clock.monotonic() + QUOTA_UNANSWERED_MS;
      quota = await connection.quota(selected.path);
      quotaFrom = 0;
    }
    reporter.saw({ certificate, quota, quiet: await quietLongerThanEver() });
  }

  /**
   * Trouble with storage, or an undecided epoch, is not the connection's: returns how long to wait, ms, before all is
   * looked at again.
   */
  async function hold(thrown: unknown): Promise<number> {
    const unclear = thrown instanceof Unclear;
    if (!(thrown instanceof Held || unclear) || signal.aborted) throw thrown;
    await flight.land().catch((error: unknown) => reporter.notStored(error));
    const error = unclear ? new MailwatchdError('EPOCH_UNCLEAR', { where, remedy }) : thrown.error;
    memory.cautious = !unclear;
    reporter.holding(error);
    comparedAt = memory.complete = null;
    holds++;
    if (mode === 'once' && (unclear || holds >= ONCE_ATTEMPTS)) throw error;
    return unclear ? UNCLEAR_MS : Math.min(HOLD_MS.last, HOLD_MS.first * 2 ** (holds - 1));
  }
  const remedy = `decide with \`mailwatchd adopt ${where} --publish\` or \`--skip\``;

  /** IDLE, or the time until the next poll. IDLE is renewed: the SEARCH after it proves the connection alive. */
  async function waitForNews({ connection }: Session, atMost: number): Promise<void> {
    const idle = connection.canIdle();
    reporter.state(idle ? 'idle' : 'polling');
    reporter.looked(idle ? 0 : account.pollEvery, connection.heardAt());
    const most = Math.min(atMost, idle ? account.idleRenewEvery : account.pollEvery);
    const pushes = idle && !connection.hasNews();
    await connection.wait(most, nudged.signal);
    if (pushes && connection.hasNews()) reporter.pushed();
    if (!idle && !signal.aborted) await connection.noop();
  }

  const done = run().finally(async () => {
    signal.removeEventListener('abort', nudge);
    await seat.leave();
    reporter.stopped();
  });
  return {
    done,
    nudge() {
      nudge();
      seat.hurry();
    },
    report: reporter.report,
  };
}
