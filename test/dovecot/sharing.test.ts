/** Proves that many folders on few connections lose and double nothing, while connections are cut and refused. */
import { expect, test } from 'vitest';
import { makeCorpus } from '../servers/corpus.ts';
import { startDovecot } from '../servers/dovecot.ts';
import { runSeed, seededRandom } from '../servers/random.ts';
import { accountOn, createWorkplace } from './workplace.ts';

const FOLDERS = ['INBOX', ...Array.from({ length: 39 }, (_, index) => `Faecher/Nr ${index}`)];
const MESSAGES = 300;
const CUT_EVERY = 75;

test('forty folders share the three connections that the server bears: each message exactly once', async () => {
  const seed = runSeed();
  console.log(`MAILWATCHD_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  await using server = await startDovecot({ users: { ann: 'a' }, connectionsPerUser: 4 });
  for (const folder of FOLDERS.slice(1)) await server.createFolder('ann', folder);
  await using place = createWorkplace({
    // One of the four is the test's own, so one of these is refused.
    accounts: [accountOn(server, 'support', 'ann', 'a', { folders: FOLDERS, pollEvery: '2s' })],
    limits: { connectionsPerAccount: 5, connectsPerSecond: 100 },
  });
  const daemon = place.start();
  await daemon.until('a refused connection', () => daemon.output().includes('connections_limited'), 60_000);
  for (const [index, { raw }] of makeCorpus(seed, MESSAGES).entries()) {
    if (index % CUT_EVERY === CUT_EVERY - 1) server.cutConnections();
    await server.append('ann', random.pick(FOLDERS), raw);
  }
  const there = async () => {
    const found = await place.list('--state', 'published');
    return found.length >= MESSAGES ? found : null;
  };
  const published = await daemon.until('all messages', there, 120_000);
  await place.settled(daemon, 60_000);
  const expected: string[] = [];
  for (const folder of FOLDERS)
    for (const { uid } of await server.messages('ann', folder)) expected.push(`${folder} ${uid}`);
  expect(published.map(({ folder, uid }) => `${folder} ${uid}`).toSorted()).toEqual(expected.toSorted());
  expect(await daemon.stop()).toBe(0);
});
