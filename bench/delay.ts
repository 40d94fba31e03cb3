/** From a message's delivery to its JSON, Dovecot's notify delay taken off: node bench/delay.ts [times]. */
import { existsSync, readdirSync } from 'node:fs';
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
await using place = createWorkplace({ accounts: [accountOn(server, 'ann', 'ann', 'a')] });
place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
const daemon = place.start();
await place.settled(daemon);

// A client of our own in IDLE on the same folder hears of each message when the daemon does.
await using client = await server.client('ann');
await client.command('SELECT INBOX');
let heardAt: number | null = null;
const idle = await client.idle((line) => {
  if (/ EXISTS$/.test(line.text)) heardAt ??= performance.now();
});

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
await idle.done();
await daemon.stop();

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
