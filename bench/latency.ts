/** From the server's push to the JSON, one message at a time, and what each step on that way takes. */
import { type FSWatcher, mkdirSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { seededRandom } from '../test/servers/random.ts';
import { isPush, openTap } from '../test/servers/tap.ts';
import type { Bench, Result } from './bench.ts';
import { median, quantile } from './statistics.ts';

const MESSAGES = 1_000;
/** The first ones find code that has not been compiled yet; they are told apart. */
const WARM_UP = 50;

/** What is seen of a message on its way, and when, ms. */
interface Mark {
  name: string;
  at: number;
}

export const latency: Bench = {
  name: 'latency',
  description: 'from the push of the server to the JSON, for messages that come one at a time',
  async run({ limit, tell }) {
    const count = Math.min(MESSAGES, limit) + WARM_UP;
    tell(`${count} messages, half a second each, since Dovecot waits so long before it notifies`);
    const journeys = await deliverOneByOne(count);
    const delays = journeys.map((marks) => marks.at(-1)!.at - marks[0]!.at);
    return [
      {
        title: 'from EXISTS on the wire to the JSON that a consumer sees',
        rows: [
          { name: 'the first ones', ...spread(delays.slice(0, WARM_UP)) },
          { name: 'all others', ...spread(delays.slice(WARM_UP)) },
        ],
        figures: { ms: delays },
      },
      {
        title: 'where that time goes: from one sight of the message to the next',
        rows: steps(journeys.slice(WARM_UP)),
        plot: {
          name: 'latency-steps',
          kind: 'bars',
          by: 'step',
          values: ['median ms', 'p95 ms'],
          unit: 'ms',
        },
      },
    ];
  },
};

const spread = (values: number[]) => ({
  messages: values.length,
  'median ms': round(median(values)),
  'p95 ms': round(quantile(values, 0.95)),
  'p99 ms': round(quantile(values, 0.99)),
  'slowest ms': round(quantile(values, 1)),
});

/** Of the journeys that went the way that most went. */
function steps(journeys: Mark[][]): Result['rows'] {
  const ways = Map.groupBy(journeys, (marks) => marks.map(({ name }) => name).join('\n'));
  const [usual] = [...ways.values()].toSorted((a, b) => b.length - a.length);
  return (usual?.[0] ?? []).slice(1).map(({ name }, index) => {
    const times = usual!.map((marks) => marks[index + 1]!.at - marks[index]!.at);
    return {
      step: name,
      messages: times.length,
      'median ms': round(median(times), 2),
      'p95 ms': round(quantile(times, 0.95), 2),
    };
  });
}

async function deliverOneByOne(count: number): Promise<Mark[][]> {
  await using server = await startDovecot({ users: { ann: 'a' } });
  /** Of the message that is on its way, from the push on. */
  let marks: Mark[] = [];
  const mark = (name: string) => {
    if (tap.heardAt() !== null && marks.at(-1)?.name !== name) marks.push({ name, at: performance.now() });
  };
  using tap = await openTap({ host: server.host, port: server.imapPort }, isPush, conversation(mark));
  await using place = createWorkplace({
    accounts: [accountOn({ host: tap.host, imapPort: tap.port }, 'ann', 'ann', 'a')],
  });
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const directory = join(place.storage, 'ann');
  mkdirSync(directory);
  const daemon = place.start();
  await place.settled(daemon);
  const staging = join(place.storage, '.staging');
  const watchers = [
    // A write to a file opened with O_DSYNC is told of once it is on the disk.
    watch(join(staging, readdirSync(staging)[0]!), (event, name) => {
      if (event === 'change' && name?.endsWith('.json')) mark('staged');
    }),
    watch(place.state, (_, name) => {
      if (name === 'ledger.db-wal' && marks.some(({ name }) => name === 'staged')) mark('ledger written');
    }),
  ];
  const published = watch(directory);
  const random = seededRandom(1);
  const journeys: Mark[][] = [];
  while (journeys.length < count) {
    marks = [];
    tap.arm();
    const seen = documentIn(published);
    await server.deliver('ann', makeSmallMessage(random, `latency.${journeys.length}`));
    await seen;
    mark('visible');
    const heardAt = tap.heardAt();
    if (heardAt === null) throw new Error('the document came before the push');
    journeys.push([{ name: 'EXISTS', at: heardAt }, ...marks]);
  }
  for (const watcher of [...watchers, published]) watcher.close();
  await daemon.stop();
  return journeys;
}

/** Tells each command that is sent, and each that is answered. */
function conversation(tell: (name: string) => void): (from: 'client' | 'server', chunk: Buffer) => void {
  let tag = '';
  return (from, chunk) => {
    const text = chunk.toString('latin1');
    if (from === 'client') {
      const [line = ''] = text.split('\r\n', 1);
      const command = /^(\S+) (.*)/.exec(line);
      if (command !== null) tag = command[1]!;
      tell(`sent ${(command?.[2] ?? line).replace(/\d+(?=[: ])/, 'n')}`);
    } else if (text.startsWith(`${tag} `) || text.includes(`\r\n${tag} `)) tell('answered');
  };
}

/** Resolves with the next document, as the kernel tells a consumer that watches the directory. */
export function documentIn(watcher: FSWatcher): Promise<void> {
  return new Promise((resolve) => {
    const look = (_event: string, name: string | null) => {
      if (!name?.endsWith('.json')) return;
      watcher.off('change', look);
      resolve();
    };
    watcher.on('change', look);
  });
}

const round = (value: number, digits = 1): number => Number(value.toFixed(digits));
