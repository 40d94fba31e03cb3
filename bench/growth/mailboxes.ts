/** What a mailbox of any size costs of which one message is new. */
import { mkdirSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { ledgerPath, openLedger } from '../../src/spool/ledger.ts';
import { accountOn, createWorkplace } from '../../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../../test/servers/corpus.ts';
import { type Dovecot, startDovecot } from '../../test/servers/dovecot.ts';
import { familyOf } from '../../test/servers/processes.ts';
import { type Random, seededRandom } from '../../test/servers/random.ts';
import { openTap } from '../../test/servers/tap.ts';
import { until } from '../../test/servers/until.ts';
import type { BenchOptions, Result } from '../bench.ts';
import { documentIn } from '../latency.ts';
import { memoryOf } from '../measure.ts';
import { median } from '../statistics.ts';
import { fillLedger } from './fill.ts';

const SIZES = [10_000, 100_000, 1_000_000];
/** Appended; the others are copies that the server makes of them. */
const APPENDED = 1_000;
const EXPUNGED_AT_ONCE = 50_000;
/** Messages that come one at a time, each half a second after the one before: Dovecot notifies no sooner. */
const SINGLE_MESSAGES = 10;
/** Long enough for these. */
const RECONCILE_SECONDS = 20;
const SAMPLE_EVERY = 50;
/** The slowest step, with a million messages on a busy machine, ms. */
const WITHIN = 120_000;

export async function measureMailboxes({ limit, tell }: BenchOptions): Promise<Result> {
  const rows: Result['rows'] = [];
  for (const size of SIZES.filter((one) => one <= limit)) {
    for (const gaps of [false, true]) {
      tell(`a mailbox of ${size} messages${gaps ? ', every second of which is gone' : ''}`);
      rows.push(await measureMailbox(size, gaps));
    }
  }
  return { title: 'a mailbox of so many messages, one of which is new', rows };
}

async function measureMailbox(size: number, gaps: boolean): Promise<Result['rows'][0]> {
  await using server = await startDovecot({ users: { ann: 'a' }, driver: 'mdbox' });
  /** When each command was sent, ms. */
  const sent: Record<'SELECT' | 'IDLE', number[]> = { SELECT: [], IDLE: [] };
  using tap = await openTap(
    { host: server.host, port: server.imapPort },
    (chunk) => / EXISTS\r\n/.test(chunk.toString('latin1')),
    (_from, chunk) => {
      const [, name] = /^\w+ (SELECT|IDLE)\b/.exec(chunk.toString('latin1')) ?? [];
      if (name === 'SELECT' || name === 'IDLE') sent[name].push(performance.now());
    },
  );
  await using place = createWorkplace({
    accounts: [accountOn({ host: tap.host, imapPort: tap.port }, 'ann', 'ann', 'a')],
    reconcileEvery: `${RECONCILE_SECONDS}s`,
  });
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const directory = join(place.storage, 'ann');
  mkdirSync(directory);
  // Pairs storage and ledger, and opens the mailbox while it is empty.
  const opened = await place.command(['once']);
  if (opened.status !== 0) throw new Error(opened.stderr);
  const random = seededRandom(1);
  await populate(server, random, size, gaps);
  const { messages, uidNext, uidValidity } = await server.status('ann', 'INBOX');
  const ledger = openLedger(place.state);
  fillLedger(ledger, 1, String(uidValidity), 1, uidNext - 1);
  ledger.close();
  await server.deliver('ann', makeSmallMessage(random, 'new'));

  const watcher = watch(directory);
  const first = documentIn(watcher);
  const begun = performance.now();
  const daemon = place.start();
  const cpu = () => familyOf(daemon.pid).reduce((sum, one) => sum + one.cpuSeconds(), 0);
  let memory = 0;
  const sampling = setInterval(() => {
    memory = Math.max(memory, memoryOf(daemon.pid));
  }, SAMPLE_EVERY);
  await first;
  const idle = await until('the daemon to wait', () => sent.IDLE[0], WITHIN);
  const started = { seconds: (idle - begun) / 1000, cpu: cpu() };
  await place.settled(daemon);
  const [mailbox] = place.mailboxes()!;
  if (mailbox!.expected !== messages + 1)
    throw new Error(`${JSON.stringify(mailbox)}: ${messages} and one are there`);

  const delays: number[] = [];
  while (delays.length < SINGLE_MESSAGES) {
    tap.arm();
    const seen = documentIn(watcher);
    await server.deliver('ann', makeSmallMessage(random, `single.${delays.length}`));
    await seen;
    delays.push(performance.now() - tap.heardAt()!);
  }
  // It SELECTs anew to compare everything, and waits again once it has.
  const selects = sent.SELECT.length;
  const before = cpu();
  const [from, to] = await until(
    'a reconciliation',
    () => {
      const selected = sent.SELECT[selects];
      const waited = sent.IDLE.find((at) => selected !== undefined && at > selected);
      return selected !== undefined && waited !== undefined ? [selected, waited] : null;
    },
    WITHIN,
  );
  const reconciled = { seconds: (to! - from!) / 1000, cpu: cpu() - before };
  clearInterval(sampling);
  await daemon.stop();
  watcher.close();
  const rounded = (seconds: number) => Number(seconds.toFixed(2));
  return {
    messages: size,
    'every second gone': gaps ? 1 : 0,
    'start s': rounded(started.seconds),
    'start CPU s': rounded(started.cpu),
    'a message ms': Number(median(delays).toFixed(1)),
    'reconciliation s': rounded(reconciled.seconds),
    'reconciliation CPU s': rounded(reconciled.cpu),
    'peak PSS MB': Math.round(memory / 1e6),
    'ledger MB': Number((statSync(ledgerPath(place.state)).size / 1e6).toFixed(1)),
  };
}

/** Doubles what is there inside the server, which copies no bytes of it. */
async function populate(server: Dovecot, random: Random, size: number, gaps: boolean): Promise<void> {
  for (let index = 0; index < Math.min(APPENDED, size); index++) {
    const flags = gaps && index % 2 === 1 ? ['\\Deleted'] : [];
    await server.append('ann', 'INBOX', makeSmallMessage(random, `growth.${index}`), { flags });
  }
  await using client = await server.client('ann');
  await client.command('SELECT INBOX');
  for (let count = Math.min(APPENDED, size); count < size; count *= 2) {
    await client.command(`COPY 1:${Math.min(count, size - count)} INBOX`);
  }
  if (!gaps) return;
  // Dovecot gives a session 256 MB, which half a million at once exceed.
  for (let low = 1; low <= size; low += EXPUNGED_AT_ONCE) {
    await client.command(`UID EXPUNGE ${low}:${low + EXPUNGED_AT_ONCE - 1}`);
  }
}
