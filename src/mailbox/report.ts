/** What a mailbox tells of itself: state, health, count; and the log lines of its changes. */
import type { Clock } from '../clock.ts';
import type { MailwatchdError } from '../errors.ts';
import type { Log } from '../logging.ts';
import type { Mailbox, Quiet, Quota, Validity } from '../model.ts';
import { createDelays, type DelayFigures } from './delay.ts';
import { Held, type Tally } from './session.ts';

export type MailboxState = 'connecting' | 'syncing' | 'idle' | 'polling' | 'holding' | 'failing';

/** Times are milliseconds since the epoch. */
export interface MailboxReport extends Mailbox {
  state: MailboxState;
  healthy: boolean;
  /** Why it is not healthy, or what was the last trouble while it reconnects: `CODE: words`; null where all is well. */
  reason: string | null;
  /** Since when it is in this state. */
  since: number;
  /** When the server was heard last. */
  lastHeardAt: number | null;
  /** When the server last told of a change by itself (RFC 2177, RFC 5465). */
  lastPushAt: number | null;
  /** How long news waited at most until it was looked for, lately, ms; 0: the server pushes. Null before the first look. */
  worstDelay: number | null;
  lastPublishedAt: number | null;
  /** Messages on the server since the start point. */
  expected: number;
  /** Of these, those that are published, in quarantine, left out by a rule or known from an earlier epoch. */
  stored: number;
  missing: number;
  /** Since when the oldest of the missing ones is known; a stuck one goes on counting while others come and go. */
  oldestWaiting: number | null;
  /** Of the last messages that arrived while we watched; null before the first. */
  delay: DelayFigures | null;
  /** Of the server, at the last connection; null without TLS. */
  certificate: Validity | null;
  /** At the last reconciliation; null where the server does not tell. */
  quota: Quota | null;
  /** Longer than it ever was, at the last reconciliation; null until then, and once mail comes. */
  quiet: Quiet | null;
}

/** A connection lost for less is routine: the mailbox reconnects and stays healthy. */
const ROUTINE_FAILURES = 3;

/** The code first: it is what docs/operations.md is sorted by. */
const reasonOf = (error: MailwatchdError): string => `${error.code}: ${error.message}`;

const keysOf = (changes: Partial<MailboxReport>) => Object.keys(changes) as (keyof MailboxReport)[];

export interface Reporter {
  report(): MailboxReport;
  tally: Tally;
  state(state: MailboxState): void;
  heard(at: number): void;
  /** The server told of a change by itself. */
  pushed(): void;
  /** What was seen at a reconciliation. */
  saw(seen: Pick<MailboxReport, 'certificate' | 'quota' | 'quiet'>): void;
  /** News is looked for at least so often (ms), and was just now. */
  looked(worstDelay: number, at: number): void;
  /** The `failures`-th failure in a row. */
  failed(error: MailwatchdError, failures: number): void;
  holding(error: MailwatchdError): void;
  /** What a message in flight failed with while the connection ended. */
  notStored(error: unknown): void;
  /** A sync completed, but for what an after-action may lack. */
  synced(fault: MailwatchdError | null): void;
  stopped(): void;
}

/** `onChange` hears of every change but of when the server was heard, pushed and is looked at, at any rate: whoever listens paces himself. */
export function createReporter(
  mailbox: Mailbox,
  clock: Clock,
  log: Log,
  onChange: (report: MailboxReport) => void,
): Reporter {
  let current: MailboxReport = {
    ...mailbox,
    state: 'connecting',
    healthy: true,
    reason: null,
    since: clock.now(),
    lastHeardAt: null,
    lastPushAt: null,
    worstDelay: null,
    lastPublishedAt: null,
    expected: 0,
    stored: 0,
    missing: 0,
    oldestWaiting: null,
    delay: null,
    certificate: null,
    quota: null,
    quiet: null,
  };
  const delays = createDelays();
  let troubleAt: number | null = null;
  let troubleKind: string | null = null;
  let fault: string | null = null;

  function change(changes: Partial<MailboxReport>): void {
    if (keysOf(changes).every((key) => changes[key] === current[key])) return;
    const since =
      changes.state !== undefined && changes.state !== current.state ? clock.now() : current.since;
    const next = { ...current, ...changes, since };
    next.missing = Math.max(0, next.expected - next.stored);
    next.oldestWaiting = next.missing === 0 ? null : (next.oldestWaiting ?? clock.now());
    current = next;
    onChange(next);
  }

  function enter(state: MailboxState): void {
    // Trouble shows until a sync has completed.
    if (troubleAt !== null && (current.state === 'failing' || current.state === 'holding')) return;
    change({ state });
  }

  /** One line for a trouble, not for each try: the words of one kind differ, by a file's name for example. */
  function trouble(event: string, error: MailwatchdError): void {
    const kind = `${event} ${error.code}`;
    const first = troubleAt === null || troubleKind !== kind;
    troubleAt ??= clock.monotonic();
    troubleKind = kind;
    log[first ? 'warn' : 'debug'](event, { code: error.code, reason: error.message });
  }

  return {
    report: () => current,
    tally: {
      counted: (expected, stored) => change({ expected, stored }),
      arrived(count) {
        if (count === 0) return;
        enter('syncing');
        change({ expected: current.expected + count });
      },
      stored: (published, delay = null) =>
        change({
          stored: current.stored + 1,
          ...(published && { lastPublishedAt: clock.now(), quiet: null }),
          ...(delay !== null && { delay: delays.add(delay) }),
        }),
      dropped: () => change({ expected: Math.max(0, current.expected - 1) }),
    },
    state: enter,
    // Of a thousand mailboxes one hears from its server all the time: that is told with what else changes.
    heard(at) {
      current = { ...current, lastHeardAt: at };
    },
    pushed() {
      current = { ...current, lastPushAt: clock.now() };
    },
    saw: change,
    looked(worstDelay, at) {
      current = { ...current, worstDelay, lastHeardAt: at };
    },
    failed(error, failures) {
      // A server that names a wait keeps mail waiting for as long.
      const isRoutine = failures < ROUTINE_FAILURES && error.retryAfter === undefined;
      const failing = error.retry !== 'soon' || !isRoutine;
      trouble(failing ? 'mailbox_failing' : 'connection_lost', error);
      change({
        state: failing ? 'failing' : 'connecting',
        healthy: current.healthy && !failing,
        reason: reasonOf(error),
      });
    },
    holding(error) {
      trouble('mailbox_holding', error);
      change({ state: 'holding', healthy: false, reason: reasonOf(error) });
    },
    notStored(error) {
      const reason = error instanceof Held ? error.error.message : String(error);
      log.warn('not_stored', { reason });
    },
    synced(found) {
      if (troubleAt !== null) {
        log.info('recovered', { milliseconds: Math.round(clock.monotonic() - troubleAt) });
        troubleAt = null;
        enter('syncing');
      }
      if (found !== null && found.message !== fault)
        log.warn('mailbox_fault', { code: found.code, reason: found.message });
      fault = found?.message ?? null;
      change({ healthy: found === null, reason: found && reasonOf(found) });
    },
    stopped: () => log.debug('mailbox_stopped', {}),
  };
}
