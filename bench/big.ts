/** Messages as large as may be, several at once, between small ones: memory, and what the small ones wait. */
import { mkdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { makeMessage, makeSmallMessage } from '../test/servers/corpus.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { familyOf } from '../test/servers/processes.ts';
import { publishedFiles } from '../test/servers/published.ts';
import { seededRandom } from '../test/servers/random.ts';
import { isPush, openTap } from '../test/servers/tap.ts';
import { sha256 } from './backfill/mail.ts';
import type { Bench, Result } from './bench.ts';
import { median } from './statistics.ts';

/** With attachments of a third each; just below limits.messageBytes, 64 MiB. */
const BIG_BYTES = 67_000_000;
/** In each of these mailboxes one big message, with small ones before and behind it. */
const USERS = ['ann', 'bob', 'cleo', 'eve', 'fay', 'gus', 'hal', 'ivy'];
const SMALL_BEFORE = 5;
const SMALL_BEHIND = 20;
/** Gets one small message after the other, in a mailbox of its own, before and meanwhile. */
const WITNESS = 'dan';
const QUIET_MESSAGES = 10;
/** ms; each look takes 9 ms, in which nobody is heard of. */
const SAMPLE_EVERY = 250;

/** When a message came to the server and was seen as a document, ms. */
interface Journey {
  kind: string;
  from: number;
  to: number;
}

export const big: Bench = {
  name: 'big',
  description: 'messages of 64 MB, several at once, between small ones: memory, and what the small ones wait',
  async run({ tell }) {
    const users = [...USERS, WITNESS];
    await using server = await startDovecot({ users: Object.fromEntries(users.map((user) => [user, user])) });
    using tap = await openTap({ host: server.host, port: server.imapPort }, isPush);
    await using place = createWorkplace({
      accounts: users.map((user) =>
        accountOn(user === WITNESS ? { host: tap.host, imapPort: tap.port } : server, user, user, user),
      ),
    });
    place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
    for (const user of users) mkdirSync(join(place.storage, user));
    const daemon = place.start();
    await place.settled(daemon);

    const sent: string[] = [];
    const journeys: Journey[] = [];
    const documents = watchDocuments(users.map((user) => join(place.storage, user)));
    const send = async (user: string, kind: string, raw: Buffer): Promise<void> => {
      sent.push(sha256(raw));
      const isWitness = user === WITNESS;
      if (isWitness) tap.arm();
      const uid = await server.append(user, 'INBOX', raw);
      const from = performance.now();
      const to = await documents.seen(join(place.storage, user), uid);
      journeys.push({ kind, from: (isWitness ? tap.heardAt() : null) ?? from, to });
    };
    const random = seededRandom(1);
    const small = () => makeSmallMessage(random, `small.${sent.length}`);
    const bigs = USERS.map((user) => makeMessage(random, `big.${user}`, BIG_BYTES).raw);
    for (let count = 0; count < QUIET_MESSAGES; count++) await send(WITNESS, 'witness, before', small());

    tell(`${USERS.length} messages of ${Math.round(bigs[0]!.length / 1e6)} MB`);
    const memory = watchMemory(daemon.pid);
    const all: Promise<void>[] = [];
    for (const [index, user] of USERS.entries()) {
      for (let count = 0; count < SMALL_BEFORE; count++)
        all.push(send(user, 'small, before a big one', small()));
      all.push(send(user, 'big', bigs[index]!));
      for (let count = 0; count < SMALL_BEHIND; count++)
        all.push(send(user, 'small, behind a big one', small()));
    }
    let arrived = false;
    const others = Promise.all(all).then(() => {
      arrived = true;
    });
    while (!arrived) await send(WITNESS, 'witness, meanwhile', small());
    await others;
    const samples = memory.end();
    documents.end();
    await daemon.stop();
    compare(place.storage, sent);

    const kinds = [...Map.groupBy(journeys, ({ kind }) => kind)].toSorted(([a], [b]) => a.localeCompare(b));
    const most = (column: string) => Math.max(...samples.map((sample) => Number(sample[column])));
    return [
      {
        title:
          'from the server to the JSON; of the witness from EXISTS on the wire, of the others from APPEND on',
        rows: kinds.map(([kind, of]) => ({ kind, ...spread(of.map(({ from, to }) => to - from)) })),
        figures: Object.fromEntries(kinds),
      },
      {
        title: `memory (PSS) at its most while ${USERS.length} messages of 64 MB come in`,
        rows: [
          { 'daemon MB': most('daemon MB'), 'parsers MB': most('parsers MB'), 'all MB': most('all MB') },
        ],
        figures: { samples },
        plot: {
          rows: samples,
          name: 'big-memory',
          kind: 'lines',
          by: 'seconds',
          values: ['daemon MB', 'parsers MB', 'all MB'],
          unit: 'MB',
        },
      },
    ];
  },
};

const spread = (values: number[]) => ({
  messages: values.length,
  'fastest ms': Math.round(Math.min(...values)),
  'median ms': Math.round(median(values)),
  'slowest ms': Math.round(Math.max(...values)),
});

/** When each document appears, as the kernel tells a consumer that watches its directory. */
function watchDocuments(directories: string[]) {
  const at = new Map<string, PromiseWithResolvers<number>>();
  const document = (directory: string, uid: string) => {
    const key = `${directory}/${uid}`;
    const known = at.get(key) ?? Promise.withResolvers<number>();
    at.set(key, known);
    return known;
  };
  const watchers = directories.map((directory) =>
    watch(directory, (_, name) => {
      const uid = /-(\d+)\.json$/.exec(name ?? '')?.[1];
      if (uid !== undefined) document(directory, uid).resolve(performance.now());
    }),
  );
  return {
    seen: (directory: string, uid: number) => document(directory, String(uid)).promise,
    end() {
      for (const watcher of watchers) watcher.close();
    },
  };
}

function watchMemory(pid: number): { end(): Result['rows'] } {
  const begun = performance.now();
  const samples: Result['rows'] = [];
  const sampling = setInterval(() => {
    const megabytes = (of: ReturnType<typeof familyOf>) =>
      Math.round(of.reduce((sum, one) => sum + one.pss(), 0) / 1e6);
    const family = familyOf(pid);
    const daemon = megabytes(family.filter((one) => one.pid === pid));
    const parsers = megabytes(family.filter((one) => one.pid !== pid));
    samples.push({
      seconds: Number(((performance.now() - begun) / 1000).toFixed(1)),
      'daemon MB': daemon,
      'parsers MB': parsers,
      'all MB': daemon + parsers,
    });
  }, SAMPLE_EVERY);
  return {
    end() {
      clearInterval(sampling);
      return samples;
    },
  };
}

/** Throws unless just these messages, by the SHA-256 of their bytes, are documents. */
function compare(storage: string, sent: readonly string[]): void {
  const stored = publishedFiles(storage).map(
    (file) => (JSON.parse(readFileSync(file, 'utf8')) as { sha256: string }).sha256,
  );
  if (stored.toSorted().join() !== sent.toSorted().join())
    throw new Error(`${stored.length} of ${sent.length} messages were stored, or not as they were sent`);
}
