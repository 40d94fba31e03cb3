/** From a message's delivery to its JSON, Dovecot's notify delay taken off: node bench/delay.ts [times]. */
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { seededRandom } from '../test/servers/random.ts';
import { until } from '../test/servers/until.ts';

const TIMES = Number(process.argv[2] ?? 200);

/** The error of what is measured, ms. */
const LOOK_EVERY = 1;

await using server = await startDovecot({ users: { ann: 'a' } });

// Each IMAP process of Dovecot notifies in its own time: only on the daemon's own connection can it be
// seen when the daemon heard of a message.
let heardAt: number | null = null;
const tap = createServer((client) => {
  const upstream = connect(server.imapPort, server.host);
  upstream.on('data', (chunk) => {
    if (/ EXISTS\r\n/.test(chunk.toString('latin1'))) heardAt ??= performance.now();
  });
  upstream.pipe(client).on('error', () => upstream.destroy());
  client.pipe(upstream).on('error', () => client.destroy());
}).listen(0, '127.0.0.1');
await once(tap, 'listening');
const { port } = tap.address() as { port: number };

await using place = createWorkplace({
  accounts: [accountOn({ host: '127.0.0.1', imapPort: port }, 'ann', 'ann', 'a')],
});
place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
const daemon = place.start();
await place.settled(daemon);

const published = join(place.storage, 'ann');
const documents = () =>
  existsSync(published) ? readdirSync(published).filter((name) => name.endsWith('.json')).length : 0;
const random = seededRandom(1);
const total: number[] = [];
const own: number[] = [];
for (let number = 1; number <= TIMES; number++) {
  heardAt = null;
  await server.deliver('ann', makeSmallMessage(random, `delay.${number}`));
  const deliveredAt = performance.now();
  let seenAt: number | null = null;
  await until(
    `message ${number}`,
    () => {
      if (documents() === number) seenAt ??= performance.now();
      return seenAt !== null && heardAt !== null;
    },
    60_000,
    LOOK_EVERY,
  );
  total.push(seenAt! - deliveredAt);
  own.push(seenAt! - heardAt!);
}
await daemon.stop();
tap.close();

const at = (values: number[], fraction: number) =>
  [...values]
    .sort((a, b) => a - b)
    [Math.min(values.length - 1, Math.floor(values.length * fraction))]!.toFixed(1);
const line = (name: string, values: number[]) =>
  console.log(
    `${name}: median ${at(values, 0.5)} ms, p95 ${at(values, 0.95)} ms, slowest ${at(values, 1)} ms`,
  );
console.log(`${TIMES} messages by LMTP`);
line('delivered → JSON visible', total);
line('the same less the notify delay of Dovecot', own);
