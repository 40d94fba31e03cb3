/** One watched mailbox on a scripted server: everything injected, nothing waited for by the clock. */

import type { Log } from '../../src/logging.ts';
import type { AccountSettings, ConnectAccountOptions } from '../../src/mailbox/account.ts';
import { type Probe, probeMailbox } from '../../src/mailbox/probe.ts';
import { visitAccount } from '../../src/mailbox/visit.ts';
import { type MailboxReport, type WatchOptions, watchMailbox } from '../../src/mailbox/watcher.ts';
import { createManualClock, type ManualClock } from '../clock.ts';
import { type ScriptedOptions, type ScriptedServer, startScriptedServer } from '../servers/scripted.ts';
import { createIntake, createLedger, type FakeIntake, type FakeLedger } from './fakes.ts';

export const PASSWORD = 'secret-pa55word';
export const OPERATION_MS = 60_000;
export const IDLE_RENEW_MS = 300_000;
export const POLL_MS = 60_000;
export const RECONCILE_MS = 900_000;

export type WatchChanges = Omit<Partial<WatchOptions>, 'account'> & {
  account?: Partial<WatchOptions['account']>;
};

export interface Harness extends AsyncDisposable {
  server: ScriptedServer;
  clock: ManualClock;
  ledger: FakeLedger;
  intake: FakeIntake;
  /** Lines as `level event {fields}`. */
  logged: string[];
  /** Starts watching; `report` and `until` are of the last one started. */
  watch(options?: WatchChanges): Promise<void>;
  done(): Promise<void>;
  nudge(): void;
  report(): MailboxReport;
  /** Resolves as soon as the condition holds, which is looked at in every turn of the event loop. */
  until(condition: (report: MailboxReport) => boolean): Promise<MailboxReport>;
  /** Waits until the mailbox waits: idle or polling, with its timer set. */
  idle(): Promise<MailboxReport>;
  /** How many connections failed since the start. */
  failures(): number;
  /** Waits for the `count`-th failed connection since the start, then moves the clock to the next try. */
  retry(count: number): Promise<MailboxReport>;
  /** Moves the clock to the next try after each failed connection until the mailbox idles; returns how many failed. */
  survive(): Promise<number>;
  stop(): Promise<void>;
}

export function collectLog(lines: string[]): Log {
  const write =
    (level: string) =>
    (event: string, fields: Record<string, unknown> = {}) => {
      lines.push(`${level} ${event} ${JSON.stringify(fields)}`);
    };
  const log: Log = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  };
  return log;
}

export async function createHarness(options: ScriptedOptions = {}): Promise<Harness> {
  const server = await startScriptedServer(options);
  const clock = createManualClock();
  const ledger = createLedger();
  const intake = createIntake(ledger);
  const logged: string[] = [];
  let controller = new AbortController();
  let watcher: ReturnType<typeof watchMailbox> | undefined;

  let retried = 0;
  const failures = () => logged.filter((line) => /connection_lost|mailbox_failing/.test(line)).length;
  const harness: Harness = {
    server,
    clock,
    ledger,
    intake,
    logged,
    async watch(given = {}) {
      controller = new AbortController();
      watcher = watchMailbox({
        mailbox: { account: 'support', folder: 'INBOX' },
        mode: 'run',
        limits: { messageBytes: 64 * 1024 * 1024, operationSeconds: OPERATION_MS / 1000 },
        reconcileEvery: RECONCILE_MS,
        ledger,
        intake,
        clock,
        log: collectLog(logged),
        takeTurn: async () => undefined,
        signal: controller.signal,
        random: () => 0.5,
        ...given,
        account: {
          name: 'support',
          host: '127.0.0.1',
          port: server.port,
          security: options.security ?? 'none',
          provider: null,
          ca: null,
          user: 'ann@example.org',
          credential: async () => ({ password: PASSWORD }),
          start: { kind: 'all' },
          filter: null,
          after: { seen: false, move: null, delete: false },
          pollEvery: POLL_MS,
          idleRenewEvery: IDLE_RENEW_MS,
          ...given.account,
        },
      });
      // Tests of failures look at it themselves; the rest must not end the process.
      watcher.done.catch(() => undefined);
    },
    done: () => watcher!.done,
    nudge: () => watcher!.nudge(),
    report: () => watcher!.report(),
    async until(condition) {
      while (!condition(watcher!.report())) await new Promise((resolve) => setImmediate(resolve));
      return watcher!.report();
    },
    idle: () => harness.until(({ state }) => state === 'idle' || state === 'polling'),
    failures,
    async survive() {
      for (;;) {
        const { state } = await harness.until((report) => report.state === 'idle' || failures() > retried);
        if (state === 'idle') return retried;
        retried++;
        clock.advance(clock.timers()[0] ?? 0);
      }
    },
    async retry(count) {
      const report = await harness.until(() => failures() >= count);
      retried = count;
      clock.advance(clock.timers()[0] ?? 0);
      return report;
    },
    async stop() {
      controller.abort();
      await watcher?.done;
    },
    async [Symbol.asyncDispose]() {
      server.script = undefined;
      controller.abort();
      for (const session of server.sessions) session.destroy();
      await watcher?.done.catch(() => undefined);
      await server.close();
      intake[Symbol.dispose]();
    },
  };
  return harness;
}

/** A small message; `subject` tells it from others. */
export const mail = (subject: string, messageId: string | null = `${subject}@example.org`) =>
  [
    'From: Bob <bob@example.org>',
    `Subject: ${subject}`,
    ...(messageId === null ? [] : [`Message-ID: <${messageId}>`]),
    '',
    `Hello from ${subject}.`,
    '',
  ].join('\r\n');

/** Probes one folder on a connection of its own. */
export async function probeAlone(
  account: AccountSettings,
  folder: string,
  options: ConnectAccountOptions,
): Promise<Probe> {
  await using visit = visitAccount(account, options);
  return await probeMailbox(visit, folder);
}
