/** From the server's push to the JSON, one message at a time. */
import { type FSWatcher, mkdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { seededRandom } from '../test/servers/random.ts';
import type { Bench } from './bench.ts';
import { quantile } from './statistics.ts';
import { openTap } from './tap.ts';

const MESSAGES = 1_000;
/** The first ones find code that has not been compiled yet; they are told apart. */
const WARM_UP = 50;

export const latency: Bench = {
  name: 'latency',
  description: 'from the push of the server to the JSON, for messages that come one at a time',
  async run({ limit, tell }) {
    const count = Math.min(MESSAGES, limit) + WARM_UP;
    tell(`${count} messages`);
    const delays = await deliverOneByOne(count);
    const row = (name: string, values: number[]) => ({
      name,
      messages: values.length,
      'median ms': Number(quantile(values, 0.5).toFixed(1)),
      'p95 ms': Number(quantile(values, 0.95).toFixed(1)),
      'p99 ms': Number(quantile(values, 0.99).toFixed(1)),
      'slowest ms': Number(quantile(values, 1).toFixed(1)),
    });
    return [
      {
        title: 'from EXISTS on the wire to the JSON that a consumer sees',
        rows: [row('the first ones', delays.slice(0, WARM_UP)), row('all others', delays.slice(WARM_UP))],
      },
    ];
  },
};

async function deliverOneByOne(count: number): Promise<number[]> {
  await using server = await startDovecot({ users: { ann: 'a' } });
  // Each session of Dovecot notifies in a time of its own, half a second later: only on the daemon's own connection
  // can it be seen when it heard of a message.
  using tap = await openTap({ host: server.host, port: server.imapPort }, (chunk) =>
    / EXISTS\r\n/.test(chunk.toString('latin1')),
  );
  await using place = createWorkplace({
    accounts: [accountOn({ host: tap.host, imapPort: tap.port }, 'ann', 'ann', 'a')],
  });
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const directory = join(place.storage, 'ann');
  mkdirSync(directory);
  const daemon = place.start();
  await place.settled(daemon);
  const watcher = watch(directory);
  const random = seededRandom(1);
  const delays: number[] = [];
  while (delays.length < count) {
    tap.arm();
    const seen = documentIn(watcher);
    await server.deliver('ann', makeSmallMessage(random, `latency.${delays.length}`));
    const seenAt = await seen;
    const heardAt = tap.heardAt();
    if (heardAt === null) throw new Error('the document came before the push');
    delays.push(seenAt - heardAt);
  }
  watcher.close();
  await daemon.stop();
  return delays;
}

/** When the next document appears, as the kernel tells a consumer that watches the directory. */
function documentIn(watcher: FSWatcher): Promise<number> {
  return new Promise((resolve) => {
    const look = (_event: string, name: string | null) => {
      if (!name?.endsWith('.json')) return;
      watcher.off('change', look);
      resolve(performance.now());
    };
    watcher.on('change', look);
  });
}
