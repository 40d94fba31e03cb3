/** More folders than connections on a scripted server: everything injected, nothing waited for by the clock. */
import { shareConnections } from '../../src/mailbox/sharing.ts';
import { type MailboxReport, type Watcher, watchMailbox } from '../../src/mailbox/watcher.ts';
import { createManualClock } from '../clock.ts';
import { type Script, type ScriptedOptions, startScriptedServer } from '../servers/scripted.ts';
import { createIntake, createLedger, type FakeIntake } from './fakes.ts';
import { collectLog, IDLE_RENEW_MS, PASSWORD, POLL_MS, RECONCILE_MS } from './harness.ts';

/** RFC 3501 §5.1.3. */
export const onTheWire = (name: string) => name.replaceAll('&', '&-').replaceAll('ä', '&AOQ-');
export const CAPABILITIES = ['IDLE', 'UIDPLUS', 'MOVE', 'UNSELECT'];

/** A server on which a folder must not be opened. */
export function forbids(folder: string): Script {
  return ({ name, rest, tag, session }) => {
    if (name !== 'SELECT' || !rest.includes(folder)) return undefined;
    session.send(`${tag} NO [NOPERM] not for you`);
    return true;
  };
}

export async function share(
  names: string[],
  connections: number,
  {
    mode = 'run',
    pollEvery = POLL_MS,
    ...options
  }: ScriptedOptions & { mode?: 'run' | 'once'; pollEvery?: number } = {},
) {
  const server = await startScriptedServer({ capabilities: CAPABILITIES, ...options });
  for (const name of names) if (name !== 'INBOX') server.createFolder(onTheWire(name));
  const clock = createManualClock();
  const logged: string[] = [];
  const log = collectLog(logged);
  const controller = new AbortController();
  const account = {
    name: 'support',
    host: '127.0.0.1',
    port: server.port,
    security: 'none' as const,
    provider: null,
    ca: null,
    user: 'ann@example.org',
    credential: async () => ({ password: PASSWORD }),
    start: { kind: 'all' as const },
    filter: null,
    after: { seen: false, move: null, delete: false },
    pollEvery,
    idleRenewEvery: IDLE_RENEW_MS,
  };
  const limits = { messageBytes: 1 << 26, operationSeconds: 60 };
  const more = { limits, clock, log, takeTurn: async () => undefined, random: () => 0.5 };
  const sharing = shareConnections({ account, connections, ...more });
  const intakes = new Map<string, FakeIntake>();
  const watchers = new Map<string, Watcher>();
  for (const folder of names) {
    const ledger = createLedger();
    const intake = createIntake(ledger);
    intakes.set(folder, intake);
    const watcher = watchMailbox({
      account,
      mailbox: { account: 'support', folder },
      mode,
      reconcileEvery: RECONCILE_MS,
      ledger,
      intake,
      signal: controller.signal,
      seat: sharing.seat(controller.signal),
      ...more,
    });
    watcher.done.catch(() => undefined);
    watchers.set(folder, watcher);
  }
  const report = (folder: string) => watchers.get(folder)!.report();
  const until = async (condition: () => boolean) => {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  };
  const waits = ({ state }: MailboxReport) => state === 'idle' || state === 'polling';
  return {
    server,
    clock,
    logged,
    report,
    until,
    watchers,
    published: (folder: string) => intakes.get(folder)!.published.map(({ uid }) => uid),
    intake: (folder: string) => intakes.get(folder)!,
    states: () => names.map((name) => report(name).state),
    /** Until every folder waits for news. */
    quiet: () => until(() => names.every((name) => waits(report(name)))),
    /** Until every folder was looked at now, or is in IDLE. */
    looked: () =>
      until(() =>
        names
          .map(report)
          .every(
            ({ state, lastHeardAt }) =>
              state === 'idle' || (state === 'polling' && lastHeardAt === clock.now()),
          ),
      ),
    async stop() {
      controller.abort();
      await Promise.all([...watchers.values()].map(({ done }) => done));
    },
    async [Symbol.asyncDispose]() {
      controller.abort();
      server.script = undefined;
      for (const session of server.sessions) session.destroy();
      await Promise.all([...watchers.values()].map(({ done }) => done.catch(() => undefined)));
      await server.close();
      for (const intake of intakes.values()) intake[Symbol.dispose]();
    },
  };
}

export const NAMES = ['INBOX', 'Orders', 'Bills', 'Geschäft', 'Old'];
export const count = (commands: string[], pattern: RegExp) =>
  commands.filter((line) => pattern.test(line)).length;
