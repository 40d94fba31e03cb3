/** What comparing a folder again costs on the wire, beside what QRESYNC (RFC 7162) would tell of the same changes. */
import type { Mailbox, Start } from '../src/model.ts';
import { diskFiles } from '../src/spool/files.ts';
import { openLedger } from '../src/spool/ledger.ts';
import { openService } from '../src/spool/service.ts';
import { accountOn, createWorkplace, type Workplace } from '../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { type Dovecot, startDovecot } from '../test/servers/dovecot.ts';
import { type Random, seededRandom } from '../test/servers/random.ts';
import { openTap } from '../test/servers/tap.ts';
import { until } from '../test/servers/until.ts';
import type { Bench, Result } from './bench.ts';
import { fillLedger } from './growth/fill.ts';

const SIZES = [100_000, 1_000_000];
const MAILBOX: Mailbox = { account: 'ann', folder: 'INBOX' };
/** Half of the messages are older, and lie before the start, where that is not `all`. */
const OLD = new Date(Date.UTC(2020, 0, 1));
const START = '2026-11-01';
const NEW = new Date(Date.UTC(2026, 10, 20));
/** Appended; the others are copies that the server makes of them. */
const APPENDED = 1_000;
/** A million messages take more than half of it. */
const SESSION_MEGABYTES = 2_048;
const RECONCILE_SECONDS = 3;
/** The slowest step, with a million messages on a busy machine, ms. */
const WITHIN = 120_000;

type Row = Result['rows'][number];

export const reconcile: Bench = {
  name: 'reconcile',
  description: 'round trips and bytes of comparing a folder of up to a million messages again (four minutes)',
  async run(options) {
    const ours: Row[] = [];
    const theirs: Row[] = [];
    for (const size of SIZES.filter((one) => one <= options.limit)) {
      await using server = await startDovecot({
        users: { ann: 'a' },
        driver: 'mdbox',
        sessionMegabytes: SESSION_MEGABYTES,
      });
      const random = seededRandom(1);
      options.tell(`a folder of ${size} messages`);
      await populate(server, random, size);
      for (const start of ['all', 'new', START]) {
        options.tell(`start: ${start}`);
        ours.push(...(await measureStart(server, random, size, start)));
      }
      options.tell('QRESYNC');
      theirs.push(...(await measureQresync(server, size)));
    }
    return [
      { title: 'what comparing a folder again takes, from SELECT until it waits again', rows: ours },
      { title: 'what SELECT with QRESYNC takes', rows: theirs },
    ];
  },
};

/** Half of it old; doubled inside the server. */
async function populate(server: Dovecot, random: Random, size: number): Promise<void> {
  await using client = await server.client('ann');
  await client.command('SELECT INBOX');
  for (const [half, date] of [OLD, NEW].entries()) {
    const first = (half * size) / 2;
    for (let index = 0; index < APPENDED; index++)
      await server.append('ann', 'INBOX', makeSmallMessage(random, `reconcile.${half}.${index}`), { date });
    await client.command('NOOP');
    for (let count = APPENDED; count < size / 2; count *= 2)
      await client.command(`COPY ${first + 1}:${first + Math.min(count, size / 2 - count)} INBOX`);
  }
}

interface Comparison {
  /** Commands. */
  trips: number;
  bytes: number;
}

async function measureStart(server: Dovecot, random: Random, size: number, start: string): Promise<Row[]> {
  const comparisons: Comparison[] = [];
  let comparison: Comparison | null = null;
  using tap = await openTap(
    { host: server.host, port: server.imapPort },
    () => false,
    (from, chunk) => {
      const [, name] = (from === 'client' && /^\w+ (\w+)/.exec(chunk.toString('latin1'))) || [];
      if (name === 'SELECT') comparison = { trips: 0, bytes: 0 };
      if (comparison === null) return;
      if (name === 'IDLE') {
        comparisons.push(comparison);
        comparison = null;
        return;
      }
      if (name !== undefined) comparison.trips++;
      comparison.bytes += chunk.length;
    },
  );
  await using place = createWorkplace({
    accounts: [accountOn({ host: tap.host, imapPort: tap.port }, 'ann', 'ann', 'a', { start })],
    reconcileEvery: `${RECONCILE_SECONDS}s`,
  });
  await fill(place, server, size, start);
  const daemon = place.start();
  const next = async () => {
    const from = comparisons.length + (comparison === null ? 0 : 1);
    return until('a comparison', () => comparisons[from], WITHIN);
  };
  await using client = await server.client('ann');
  const { uidNext } = await server.status('ann', 'INBOX');
  const CASES: [string, () => Promise<unknown>][] = [
    ['nothing', async () => undefined],
    ['a flag', () => client.command('SELECT INBOX').then(() => client.command('STORE 1 FLAGS (\\Flagged)'))],
    ['the last message removed', () => server.expunge('ann', 'INBOX', [uidNext - 1])],
    ['one of the first removed', () => server.expunge('ann', 'INBOX', [uidNext - size + 1])],
    ['a new message', () => server.deliver('ann', makeSmallMessage(random, `reconcile.${start}`))],
    // While it is told of them in IDLE, it loses its connection: they are too many.
    ['a flag of each message', () => client.command(`STORE 1:* FLAGS.SILENT ($${start.toUpperCase()})`)],
  ];
  const first = await until('the first comparison', () => comparisons[0], WITHIN);
  const rows = [row(size, { start, since: 'the start: all is compared' }, first)];
  for (const [what, change] of CASES) {
    await change();
    rows.push(row(size, { start, since: what }, await next()));
  }
  await place.settled(daemon);
  await daemon.stop();
  return rows;
}

/** A ledger that has all that is wanted, as if it had been there at the first opening, or for `new` half of it since. */
async function fill(place: Workplace, server: Dovecot, size: number, start: string): Promise<void> {
  const { uidNext, uidValidity } = await server.status('ann', 'INBOX');
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const service = openService(
    {
      stateDirectory: place.state,
      storage: {
        directory: place.storage,
        path: '{account}/{id}.json',
        attachments: 'files',
        source: 'none',
        fileMode: 0o640,
        directoryMode: 0o2770,
      },
    },
    { files: diskFiles, openLedger, now: () => Date.now() },
  );
  const half = size / 2 + 1;
  const { epoch } = service.calls.openEpoch(MAILBOX, {
    uidValidity: String(uidValidity),
    uidNext: start === 'new' ? half : uidNext,
    at: Date.now(),
    start: startOf(start),
  });
  service.stop();
  const ledger = openLedger(place.state);
  fillLedger(ledger, epoch.id, String(uidValidity), start === 'all' ? 1 : half, uidNext - 1);
  ledger.close();
}

const startOf = (start: string): Start =>
  start === 'all' || start === 'new' ? { kind: start } : { kind: 'date', at: Date.parse(start) };

const row = (messages: number, what: Record<string, string>, { trips, bytes }: Comparison): Row => ({
  messages,
  ...what,
  'round trips': trips,
  kB: Number((bytes / 1000).toFixed(1)),
});

/** In a session of its own, which has enabled it. */
async function measureQresync(server: Dovecot, size: number): Promise<Row[]> {
  const { uidNext, uidValidity } = await server.status('ann', 'INBOX');
  const select = async (modseq: string) => {
    await using client = await server.client('ann');
    await client.command('ENABLE QRESYNC');
    const command = `SELECT INBOX (QRESYNC (${uidValidity} ${modseq}))`;
    const lines = await client.command(command);
    const bytes = lines.reduce((sum, { text }) => sum + text.length + 2, command.length + 5);
    const told = lines.map(({ text }) => /HIGHESTMODSEQ (\d+)/.exec(text)?.[1]).find(Boolean);
    return { bytes, modseq: told ?? '1' };
  };
  await using other = await server.client('ann');
  await other.command('SELECT INBOX');
  const cases: [string, () => Promise<unknown>][] = [
    ['nothing', async () => undefined],
    ['a flag', () => other.command('STORE 1 FLAGS (\\Answered)')],
    ['a message removed', () => server.expunge('ann', 'INBOX', [uidNext - 2])],
    ['a new message', () => server.append('ann', 'INBOX', Buffer.from('Subject: new\r\n\r\n'))],
    ['a flag of each message', () => other.command('STORE 1:* +FLAGS.SILENT (\\Seen)')],
  ];
  const rows: Row[] = [];
  let { modseq } = await select('1');
  for (const [since, change] of cases) {
    await change();
    const told = await select(modseq);
    ({ modseq } = told);
    rows.push(row(size, { since }, { trips: 1, bytes: told.bytes }));
  }
  return rows;
}
