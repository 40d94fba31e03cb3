/** Many mailboxes in one process, each a connection in IDLE over TLS: what they cost at their start, in silence, and in trouble. */
import { mkdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { accountOn, createWorkplace, type RunningDaemon, type Workplace } from '../test/dovecot/workplace.ts';
import { createCertificates } from '../test/servers/certificates.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { type Dovecot, startDovecot } from '../test/servers/dovecot.ts';
import { seededRandom } from '../test/servers/random.ts';
import { openTap, type Tap } from '../test/servers/tap.ts';
import { until } from '../test/servers/until.ts';
import type { Bench, Result } from './bench.ts';
import { cpuOf, memoryOf } from './measure.ts';
import { quantile } from './statistics.ts';

/** As fast as we let the daemon connect: more than Dovecot can log in on a small machine. */
const CONNECTS_PER_SECOND = 100;
/** A message to each of a thousand within a minute. */
const DELIVER_EVERY_MS = 60;
const WITHIN_MS = 300_000;

type Row = Result['rows'][number];

export const idle: Bench = {
  name: 'idle',
  description: 'many mailboxes over TLS: start, silence, a message to each, the server restarted, stop',
  async run({ seconds, mailboxes, tell }) {
    using certificates = createCertificates();
    const users = Array.from({ length: mailboxes }, (_, index) => `user${String(index).padStart(4, '0')}`);
    await using server = await startDovecot({
      users: Object.fromEntries(users.map((user) => [user, user])),
      certificate: certificates.valid,
      sessions: mailboxes,
    });
    using taps = new DisposableStack();
    const tapOf = new Map<string, Tap>();
    const traffic = createTraffic();
    for (const user of users) {
      const port = server.imapsPort;
      tapOf.set(user, taps.use(await openTap({ host: server.host, port }, undefined, traffic.ofOne())));
    }
    await using place = createWorkplace({
      accounts: [...tapOf].map(([user, { host, port }]) =>
        accountOn({ host, imapPort: port }, user, user, user, { security: 'tls', ca: certificates.ca }),
      ),
      limits: { connectsPerSecond: CONNECTS_PER_SECOND },
    });
    place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
    for (const user of users) mkdirSync(join(place.storage, user));

    tell(`${mailboxes} mailboxes start`);
    const daemon = place.start();
    const phase = phases(daemon.pid);
    const rows: Row[] = [];
    rows.push(await phase('start until all watch', () => place.settled(daemon, WITHIN_MS)));

    tell(`idle for ${seconds} s`);
    const lines = daemon.output().split('\n').length;
    const { bytes, roundTrips } = traffic;
    const quiet = await phase('idle', () => wait(seconds * 1000));
    rows.push(quiet);
    const hourOfOne = (figure: number) => (figure * 3600) / seconds / mailboxes;
    const anHour = {
      'round trips': round(hourOfOne(traffic.roundTrips - roundTrips), 1),
      bytes: Math.round(hourOfOne(traffic.bytes - bytes)),
      'CPU ms': round(hourOfOne(Number(quiet['CPU s']) * 1000), 1),
      'server CPU ms': round(hourOfOne(Number(quiet['server CPU s']) * 1000), 1),
    };
    const silence = daemon.output().split('\n').length - lines;

    tell('a message to each');
    const delays: Delays = { pushed: [], delivered: [] };
    rows.push(await phase('a message to each', () => deliverToEach({ server, place, tapOf, delays })));

    tell('the server restarts');
    const before = connects(tapOf).length;
    // Dovecot takes ten seconds to end its sessions.
    await server.down();
    const since = Date.now();
    rows.push(
      await phase('server back until all watch', async () => {
        await server.up();
        await allHeard(daemon, place, since);
      }),
    );
    const again = connects(tapOf).slice(before);

    tell('stop');
    const begun = performance.now();
    const status = await daemon.stop();
    const stopping = (performance.now() - begun) / 1000;
    if (status !== 0) throw new Error(`the daemon ended with ${status}: ${daemon.output().slice(-2000)}`);

    const delay = (name: string, values: number[]): Row => ({
      name,
      messages: values.length,
      'median ms': round(quantile(values, 0.5), 1),
      'p95 ms': round(quantile(values, 0.95), 1),
      'slowest ms': round(quantile(values, 1), 1),
    });
    return [
      { title: `${mailboxes} mailboxes over TLS`, rows },
      { title: 'an hour of silence, of one mailbox', rows: [anHour] },
      {
        title: 'until the JSON that a consumer sees',
        rows: [delay('from the push', delays.pushed), delay('from the delivery', delays.delivered)],
      },
      {
        title: 'silence, restart and stop',
        rows: [
          {
            'log lines while idle': silence,
            'connects after the restart': again.length,
            'of them in one second, most': mostInOneSecond(again),
            'stop s': round(stopping, 2),
          },
        ],
      },
    ];
  },
};

/** What goes over the connections of all mailboxes: bytes, TLS and all, and how often the server answers. */
interface Traffic {
  bytes: number;
  roundTrips: number;
  /** Counts the chunks of one mailbox's connections, of which there is one at a time. */
  ofOne(): (from: 'client' | 'server', chunk: Buffer) => void;
}

function createTraffic(): Traffic {
  const traffic: Traffic = {
    bytes: 0,
    roundTrips: 0,
    ofOne() {
      let asked = false;
      return (from, chunk) => {
        traffic.bytes += chunk.length;
        if (from === 'server' && asked) traffic.roundTrips++;
        asked = from === 'client';
      };
    },
  };
  return traffic;
}

interface Delays {
  pushed: number[];
  delivered: number[];
}

/** What each phase takes of us and of the server, and what memory stands at its end. */
function phases(pid: number) {
  const cpu = () => {
    const ours = cpuOf(pid);
    const { user, system } = process.cpuUsage();
    return { ours, server: cpuOf(process.pid) - ours - (user + system) / 1e6 };
  };
  return async (name: string, work: () => Promise<void>): Promise<Row> => {
    const before = cpu();
    const begun = performance.now();
    await work();
    const seconds = (performance.now() - begun) / 1000;
    const after = cpu();
    const ours = after.ours - before.ours;
    return {
      name,
      seconds: round(seconds, 1),
      'CPU s': round(ours, 2),
      '% of a core': round((ours / seconds) * 100, 2),
      'server CPU s': round(after.server - before.server, 2),
      'PSS MB': Math.round(memoryOf(pid) / 1e6),
    };
  };
}

/** One after the other, all within a minute; resolves once every JSON is there. */
async function deliverToEach({
  server,
  place,
  tapOf,
  delays,
}: {
  server: Dovecot;
  place: Workplace;
  tapOf: ReadonlyMap<string, Tap>;
  delays: Delays;
}): Promise<void> {
  const random = seededRandom(1);
  const deliveredAt = new Map<string, number>();
  const watchers = [...tapOf].map(([user, tap]) => {
    const watcher = watch(join(place.storage, user), (_event, name) => {
      const from = deliveredAt.get(user);
      if (!name?.endsWith('.json') || from === undefined) return;
      const now = performance.now();
      delays.delivered.push(now - from);
      delays.pushed.push(now - tap.heardAt()!);
      watcher.close();
    });
    return watcher;
  });
  const begun = performance.now();
  let turn = 0;
  for (const [user, tap] of tapOf) {
    await wait(Math.max(0, begun + turn++ * DELIVER_EVERY_MS - performance.now()));
    tap.arm();
    await server.deliver(user, makeSmallMessage(random, user));
    deliveredAt.set(user, performance.now());
  }
  try {
    await until('a document of each', () => delays.delivered.length === tapOf.size, WITHIN_MS);
  } finally {
    for (const watcher of watchers) watcher.close();
  }
}

/** Resolves once each mailbox waits for mail again and has heard from its server since then. */
async function allHeard(daemon: RunningDaemon, place: Workplace, since: number): Promise<void> {
  await daemon.until(
    'all to watch again',
    () =>
      (place.mailboxes() ?? []).every(
        ({ state, lastHeardAt }) => state === 'idle' && Date.parse(lastHeardAt ?? '') > since,
      ),
    WITHIN_MS,
  );
}

const connects = (taps: ReadonlyMap<string, Tap>): number[] =>
  [...taps.values()].flatMap(({ connectedAt }) => connectedAt).sort((a, b) => a - b);

function mostInOneSecond(times: readonly number[]): number {
  let from = 0;
  let most = 0;
  for (const [index, at] of times.entries()) {
    while (at - times[from]! >= 1000) from++;
    most = Math.max(most, index - from + 1);
  }
  return most;
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
