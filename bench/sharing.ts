/** More folders than connections: how long mail waits, where the server has NOTIFY (RFC 5465) and where it has not. */
import { mkdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { seededRandom } from '../test/servers/random.ts';
import { until } from '../test/servers/until.ts';
import type { Bench } from './bench.ts';
import { median, quantile } from './statistics.ts';

const FOLDERS = [40, 150];
const CONNECTIONS = 2;
/** Twice `pollEvery`, and longer than Dovecot takes to notify. */
const MESSAGES = 120;
const APART_MS = 1_000;
const WITHIN_MS = 120_000;
/** Of Dovecot, as far as it matters here. */
const WITHOUT_NOTIFY = ['IDLE', 'UNSELECT', 'NAMESPACE', 'UIDPLUS', 'LIST-EXTENDED', 'LIST-STATUS'];

export const sharing: Bench = {
  name: 'sharing',
  description: `many folders on ${CONNECTIONS} connections: from the delivery to the JSON, with and without NOTIFY`,
  async run({ limit, tell }) {
    const count = Math.min(MESSAGES, limit);
    const rows = [];
    const figures: Record<string, number[]> = {};
    for (const folders of FOLDERS) {
      tell(`${folders} folders: ${count} messages, one a second to any of them`);
      // Beside one another: both mostly wait.
      const both = await Promise.all([delays(folders, count), delays(folders, count, WITHOUT_NOTIFY)]);
      for (const [index, times] of both.entries()) {
        const name = `${folders} folders, ${index === 0 ? 'with' : 'without'} NOTIFY`;
        figures[name] = times;
        const seconds = (value: number) => Number((value / 1_000).toFixed(2));
        rows.push({
          name,
          messages: times.length,
          'median s': seconds(median(times)),
          'p95 s': seconds(quantile(times, 0.95)),
          'slowest s': seconds(quantile(times, 1)),
        });
      }
    }
    return [
      { title: `from the delivery to the JSON, ${CONNECTIONS} connections, pollEvery 60s`, rows, figures },
    ];
  },
};

async function delays(folders: number, count: number, capabilities?: string[]): Promise<number[]> {
  const names = Array.from({ length: folders }, (_, index) => `folder${index}`);
  await using server = await startDovecot({ users: { ann: 'a' }, ...(capabilities && { capabilities }) });
  for (const name of names) await server.createFolder('ann', name);
  await using place = createWorkplace({
    accounts: [accountOn(server, 'ann', 'ann', 'a', { folders: names })],
    limits: { connectionsPerAccount: CONNECTIONS },
  });
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const directory = join(place.storage, 'ann');
  mkdirSync(directory);
  /** When each document came, by its name's end. */
  const seen = new Map<string, number>();
  using stack = new DisposableStack();
  const watcher = stack.adopt(watch(directory), (each) => each.close());
  watcher.on('change', (_event, name) => {
    const [, folder, uid] = /^(folder\d+)-\d+-(\d+)\.json$/.exec(String(name)) ?? [];
    if (folder !== undefined && !seen.has(`${folder} ${uid}`))
      seen.set(`${folder} ${uid}`, performance.now());
  });
  const daemon = place.start();
  await place.settled(daemon, WITHIN_MS);
  const random = seededRandom(1);
  const delivered = new Map<string, number>();
  while (delivered.size < count) {
    // The first one is in IDLE.
    const folder = random.pick(names.slice(1));
    const uid = await server.append('ann', folder, makeSmallMessage(random, `sharing.${delivered.size}`));
    delivered.set(`${folder} ${uid}`, performance.now());
    await pause(APART_MS);
  }
  await until('all documents', () => seen.size >= count, WITHIN_MS);
  await daemon.stop();
  // Then it notifies every 30 seconds at best, which says nothing of us.
  if (/inotify instance limit/i.test(server.log())) throw new Error('Dovecot is out of inotify instances');
  return [...delivered].map(([name, at]) => seen.get(name)! - at);
}
