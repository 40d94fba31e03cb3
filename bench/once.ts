/** How fast `once` empties a mailbox, and what memory all processes together take: node bench/once.ts [messages]. */

import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { makeSmallMessage } from '../test/servers/corpus.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { familyOf } from '../test/servers/processes.ts';
import { seededRandom } from '../test/servers/random.ts';

const MESSAGES = Number(process.argv[2] ?? 8_000);

/** Reading smaps_rollup costs a millisecond a process: often enough for a peak, seldom enough not to slow what is measured. */
const SAMPLE_EVERY = 100;

await using server = await startDovecot({ users: { ann: 'a' }, driver: 'sdbox' });
const random = seededRandom(1);
for (let number = 0; number < MESSAGES; number++) {
  await server.append('ann', 'INBOX', makeSmallMessage(random, `once.${number}`));
}

await using place = createWorkplace({
  accounts: [accountOn(server, 'ann', 'ann', 'a')],
  log: { directory: null, level: 'warn' },
});
let peak = 0;
let processes = 0;
let cpu = 0;
const begun = performance.now();
const running = place.launch(['once']);
const sampling = setInterval(() => {
  const family = familyOf(running.pid);
  peak = Math.max(
    peak,
    family.reduce((sum, one) => sum + one.pss(), 0),
  );
  processes = Math.max(processes, family.length);
  // Of processes that ended meanwhile the last sample is lost; none does while there is work.
  cpu = Math.max(
    cpu,
    family.reduce((sum, one) => sum + one.cpuSeconds(), 0),
  );
}, SAMPLE_EVERY);
const { status, stderr } = await running.finished;
const seconds = (performance.now() - begun) / 1000;
clearInterval(sampling);

const published = (await place.list('--state', 'published', '--limit', String(MESSAGES + 1))).length;
if (status !== 0 || published !== MESSAGES)
  throw new Error(`exit ${status}, ${published} published: ${stderr.slice(-2000)}`);
console.log(`${MESSAGES} messages in ${seconds.toFixed(2)} s: ${Math.round(MESSAGES / seconds)} a second`);
console.log(
  `at most ${processes} processes, ${(peak / 2 ** 20).toFixed(0)} MB PSS together, ${cpu.toFixed(1)} s CPU`,
);
