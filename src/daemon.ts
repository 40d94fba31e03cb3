/** The mailboxes' life: starts them on the engine, reports, reloads, and stops in reverse. */
import { type Clock, sleep } from './clock.ts';
import { describeChange } from './config/change.ts';
import {
  type AccountConfig,
  authservIdsOf,
  type Config,
  connectionsOf,
  mailboxFolders,
  sharesConnections,
} from './config/types.ts';
import { type CredentialProspects, openCredentials } from './credentials.ts';
import { openEngine } from './engine.ts';
import { type MailwatchdError, toMailwatchdError } from './errors.ts';
import type { Log } from './logging.ts';
import { watchCanary } from './mailbox/canary.ts';
import { canaryToken, withoutCanaries } from './mailbox/canary-message.ts';
import { type Sharing, shareConnections } from './mailbox/sharing.ts';
import { type MailboxReport, type Watcher, watchMailbox } from './mailbox/watcher.ts';
import type { Mailbox } from './model.ts';
import { paceConnections } from './pace.ts';
import { serveReplays } from './replay.ts';
import { watchDisks } from './supervision/disks.ts';
import { type MailboxStatus, openStatusFile, type StatusSnapshot } from './supervision/status.ts';
import { createAnnouncer, diskWarnings, mailboxWarnings } from './supervision/warnings.ts';

/** How long a stop waits for what is in flight; the rest is left to the next start (the Contract). */
const FINISH_WITHIN_MS = 5_000;

/** What was left aside is counted so long after the first message of it. */
const COUNT_AFTER_MS = 1_000;

/** How long a replay that met a full disk waits before it is tried again: as a holding mailbox does at most. */
const REPLAY_AGAIN_MS = 15_000;

export interface DaemonOptions {
  config: Config;
  /** Where secrets with `env:` are read, at each login anew. */
  environment: NodeJS.ProcessEnv;
  log: Log;
  clock: Clock;
  version: string;
  /** `once`: each mailbox catches up and ends. `run`: each is watched until `stop`. */
  mode: 'run' | 'once';
  /** Told at every change of a mailbox's report; for the progress bar of `once`. */
  onReport?: (report: MailboxReport) => void;
}

/** A mailbox that could not catch up, `account/folder`, and why. */
export interface Failure {
  mailbox: string;
  error: MailwatchdError;
}

export interface Daemon {
  /**
   * `once`: resolves when every mailbox has ended, with what stopped those that could not catch up.
   * `run`: resolves after `stop`. Rejects with what the daemon cannot go on without.
   */
  finished: Promise<Failure[]>;
  /** Takes over another configuration: mailboxes that did not change are not disturbed. */
  reload(config: Config): Promise<void>;
  /** Stops fetching, finishes what is in flight within 5 s, logs out, releases everything. Idempotent. */
  stop(): Promise<void>;
}

interface Watched {
  account: AccountConfig;
  folder: string;
  watcher: Watcher;
  controller: AbortController;
}

const nameOf = ({ account, folder }: Mailbox): string => `${account}/${folder}`;

/** Starts it all; what the last run left is settled when this resolves. Errors: those of `openEngine`. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { log, clock, mode } = options;
  let config = options.config;
  const watched = new Map<string, Watched>();
  /** By mailbox: what was left aside, as `status` tells it. */
  const counts = new Map<string, { quarantined: number; filtered: number }>();
  const stopping = new AbortController();
  const finished = Promise.withResolvers<Failure[]>();
  const releases = new AsyncDisposableStack();

  const engine = await openEngine({
    config,
    log,
    clock,
    owesAfterAction: (mailbox) => {
      const after = watched.get(nameOf(mailbox))?.account.after;
      return after !== undefined && (after.seen || after.delete || after.move !== null);
    },
    authservIds: (account) => authservIdsOf(config, account),
    onHandled: (mailbox, outcome) => {
      const mayBeFewer = (counts.get(nameOf(mailbox))?.filtered ?? 0) > 0;
      if (outcome !== 'published' || mayBeFewer) countSoon(mailbox);
    },
  });
  releases.defer(() => engine.stop());
  engine.spool.onFatal((error) => finished.reject(error));

  const { directory } = config.state;
  const credentials = openCredentials({
    stateDirectory: directory,
    environment: options.environment,
    clock,
  });
  const startedAt = isoTime(clock.now());
  const places = [config.storage.directory, directory, config.log.directory];
  const disks = watchDisks(
    places.filter((place) => place !== null),
    clock,
  );
  const announce = createAnnouncer(log);

  /** What was told of each mailbox last, with all that it was made of. */
  const told = new WeakMap<Watched, { parts: readonly unknown[]; status: MailboxStatus }>();

  /** The same object while nothing of it changes (reports are replaced, never changed): it is not written down anew. */
  function mailboxStatus(name: string, entry: Watched): MailboxStatus {
    const report = entry.watcher.report();
    const { certificate, quota, quiet } = report;
    const prospects = credentials.prospects(entry.account);
    const { loginEndsAt, credentialChangedAt } = prospects;
    const warnings = mailboxWarnings({ certificate, quota, quiet, loginEndsAt }, clock.now());
    announce(name, warnings);
    const aside = counts.get(name) ?? NONE_ASIDE;
    const parts = [report, loginEndsAt, credentialChangedAt, aside, ...warnings.map(({ text }) => text)];
    const before = told.get(entry);
    if (before !== undefined && isSame(before.parts, parts)) return before.status;
    const status = { ...statusOf(report, prospects), ...aside, warnings };
    told.set(entry, { parts, status });
    return status;
  }

  function* mailboxStatuses(): Generator<MailboxStatus> {
    for (const [name, entry] of watched) yield mailboxStatus(name, entry);
  }

  function daemonStatus(): StatusSnapshot {
    const figures = disks.figures();
    const warnings = diskWarnings(figures);
    announce(null, warnings);
    return {
      state: stopping.signal.aborted ? 'STOPPING' : 'RUNNING',
      pid: process.pid,
      version: options.version,
      startedAt,
      disks: figures,
      warnings,
      mailboxes: mailboxStatuses(),
    };
  }

  const status = openStatusFile({
    directory,
    clock,
    snapshot: daemonStatus,
    onError: (error) => log.warn('status_failed', { directory, error }),
  });
  releases.defer(() => status.close());

  /** By mailbox: cancels a count that is due. */
  const counting = new Map<string, () => void>();
  releases.defer(() => {
    for (const cancel of counting.values()) cancel();
  });

  /** Once for all that is handled within a second: a count commits what is due. */
  function countSoon(mailbox: Mailbox): void {
    const name = nameOf(mailbox);
    if (counting.has(name)) return;
    const count = () => {
      counting.delete(name);
      void countAside(mailbox);
    };
    counting.set(name, clock.after(COUNT_AFTER_MS, count));
  }

  /** Never rejects: a figure of the status that cannot be had is no reason to end. */
  async function countAside(mailbox: Mailbox): Promise<void> {
    try {
      const { quarantined, filtered } = await engine.spool.counts(mailbox);
      counts.set(nameOf(mailbox), { quarantined, filtered });
      status.changed();
    } catch (error) {
      log.debug('count_failed', {
        mailbox: nameOf(mailbox),
        error: toMailwatchdError(error, 'LEDGER_FAILED'),
      });
    }
  }

  const takeTurn = paceConnections(config.limits.connectsPerSecond, clock);

  /** Of accounts with more folders than connections, by name. */
  const sharing = new Map<string, Sharing>();

  function sharingOf(account: AccountConfig): Sharing {
    const known = sharing.get(account.name);
    if (known !== undefined) return known;
    const shared = shareConnections({
      account: { ...account, credential: credentials.of(account) },
      connections: connectionsOf(account, config.limits),
      limits: config.limits,
      clock,
      log: log.child({ account: account.name }),
      takeTurn,
    });
    sharing.set(account.name, shared);
    return shared;
  }

  /** Of `once`: each mailbox's end, and what stopped those that failed. */
  const outcomes: Promise<void>[] = [];
  const failures: Failure[] = [];
  const failed = (mailbox: string, error: unknown): void => {
    failures.push({ mailbox, error: toMailwatchdError(error, 'INTERNAL') });
  };

  async function start(account: AccountConfig, folder: string): Promise<void> {
    const mailbox = { account: account.name, folder };
    const controller = new AbortController();
    const submission = credentials.submission(account);
    const token = canaryToken(engine.spool.run.canaryKey, account.name);
    const common = {
      account: {
        ...account,
        credential: credentials.of(account),
        // Wherever the mail server files canaries, they are no mail.
        filter: submission === null ? account.filter : withoutCanaries(account.filter, token),
      },
      mailbox,
      limits: config.limits,
      clock,
      log: log.child({ mailbox: nameOf(mailbox) }),
      takeTurn,
      signal: controller.signal,
      onReport: (report: MailboxReport) => {
        status.changed();
        options.onReport?.(report);
      },
    };
    const watcher =
      folder === account.canary?.folder
        ? watchCanary({
            ...common,
            every: account.canary.every,
            watched: account.folders,
            smtp: submission && { ...submission, token },
          })
        : watchMailbox({
            ...common,
            mode,
            reconcileEvery: config.reconcileEvery,
            ledger: engine.spool,
            intake: engine.intake,
            ...(sharesConnections(account, config.limits) && {
              seat: sharingOf(account).seat(controller.signal),
            }),
          });
    watched.set(nameOf(mailbox), { account, folder, watcher, controller });
    // At once: it may fail before the next one is started, and a rejection that nobody hears ends the process.
    if (mode === 'once')
      outcomes.push(watcher.done.catch((error: unknown) => failed(nameOf(mailbox), error)));
    await countAside(mailbox);
  }

  async function end(mailbox: Mailbox): Promise<void> {
    const name = nameOf(mailbox);
    const entry = watched.get(name);
    entry?.controller.abort();
    await entry?.watcher.done;
    watched.delete(name);
    counts.delete(name);
    announce(name, []);
    // The last folder took its connections with it.
    const others = [...watched.values()].filter(({ account }) => account.name === mailbox.account);
    if (others.every(({ account, folder }) => folder === account.canary?.folder))
      sharing.delete(mailbox.account);
  }

  let serving: Promise<void> | null = null;
  let asked = false;
  /** One at a time. What is asked for meanwhile is served after it. */
  function serve(): void {
    asked = true;
    serving ??= serveWaiting().finally(() => {
      serving = null;
    });
  }

  async function serveWaiting(): Promise<void> {
    while (asked && !stopping.signal.aborted) {
      asked = false;
      try {
        await serveReplays(engine, log);
        const toJudge = new Set((await engine.spool.mailboxesToJudge()).map(nameOf));
        nudge((report) => toJudge.has(nameOf(report)));
      } catch (error) {
        log.warn('replay_waits', { error: toMailwatchdError(error, 'INTERNAL') });
        await sleep(clock, REPLAY_AGAIN_MS, stopping.signal);
        asked = true;
      }
      for (const { account, folder } of watched.values()) {
        await countAside({ account: account.name, folder });
      }
    }
  }

  /** One at a time: a mailbox that one reload ends must be gone before the next one starts it again. */
  let reloading: Promise<void> = Promise.resolve();

  async function takeOver(next: Config): Promise<void> {
    const change = describeChange(config, next);
    config = change.effective;
    if (change.needRestart.length > 0) {
      log.warn('restart_needed', { keys: change.needRestart.join(',') });
    }
    await Promise.all([...change.removed, ...change.changed].map(end));
    for (const { account: name, folder } of [...change.changed, ...change.added]) {
      const account = config.accounts.find((each) => each.name === name);
      if (account !== undefined && !stopping.signal.aborted) await start(account, folder);
    }
    // Whoever corrected a password file, or logged in, does not want to wait for the next try.
    credentials.retry();
    nudge(({ healthy }) => !healthy);
    log.info('reloaded', {
      added: change.added.length,
      removed: change.removed.length,
      changed: change.changed.length,
    });
    status.changed();
  }

  /** Makes those mailboxes look again now, whatever they wait for. */
  function nudge(which: (report: MailboxReport) => boolean): void {
    for (const { watcher } of watched.values()) if (which(watcher.report())) watcher.nudge();
  }

  async function stopAll(): Promise<void> {
    stopping.abort();
    for (const { controller } of watched.values()) controller.abort();
    const ended = Promise.allSettled([
      serving,
      reloading,
      ...[...watched.values()].map(({ watcher }) => watcher.done),
    ]);
    const patience = new AbortController();
    await Promise.race([ended, sleep(clock, FINISH_WITHIN_MS, patience.signal)]);
    patience.abort();
    try {
      await releases.disposeAsync();
    } catch (thrown) {
      const error = toMailwatchdError(thrown, 'INTERNAL');
      if (error.retry !== 'soon') throw error;
      // A full disk: everything else is released, and the next start settles what this one could not.
      log.warn('stop_incomplete', { error });
    }
    finished.resolve([]);
  }
  let stopped: Promise<void> | null = null;

  for (const account of config.accounts) {
    const folders = mode === 'once' ? account.folders : mailboxFolders(account);
    for (const folder of folders) await start(account, folder);
  }
  // Whoever looks once we are ready finds every mailbox.
  await status.written();
  if (mode === 'once') {
    void Promise.all(outcomes).then(() => finished.resolve(failures));
  } else {
    engine.spool.onChangedOutside(() => {
      serve();
      // `adopt` may have decided what one of them waits for.
      nudge(({ state }) => state === 'holding');
    });
    serve();
  }

  return {
    finished: finished.promise,
    reload(next) {
      const turn = reloading.then(() => takeOver(next));
      // Whoever comes next waits for the end of this one, not for its success.
      reloading = turn.catch(() => undefined);
      return turn;
    },
    stop() {
      stopped ??= stopAll();
      return stopped;
    },
  };
}

const NONE_ASIDE = { quarantined: 0, filtered: 0 };

const isSame = (some: readonly unknown[], others: readonly unknown[]): boolean =>
  some.length === others.length && some.every((one, index) => one === others[index]);

const isoTime = (milliseconds: number): string => new Date(milliseconds).toISOString();

const isoTimeOrNull = (milliseconds: number | null): string | null =>
  milliseconds === null ? null : isoTime(milliseconds);

const statusOf = (
  { certificate, quiet: _, ...report }: MailboxReport,
  { loginEndsAt, credentialChangedAt }: CredentialProspects,
) => ({
  ...report,
  certificateEndsAt: isoTimeOrNull(certificate?.until ?? null),
  loginEndsAt: isoTimeOrNull(loginEndsAt),
  credentialChangedAt: isoTimeOrNull(credentialChangedAt),
  since: isoTime(report.since),
  lastHeardAt: isoTimeOrNull(report.lastHeardAt),
  lastPushAt: isoTimeOrNull(report.lastPushAt),
  lastPublishedAt: isoTimeOrNull(report.lastPublishedAt),
  oldestWaiting: isoTimeOrNull(report.oldestWaiting),
});
