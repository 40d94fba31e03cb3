/** Proves that many folders on few connections lose and double nothing, while connections are cut and refused. */
import { expect, test } from 'vitest';
import { makeCorpus } from '../servers/corpus.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { runSeed, seededRandom } from '../servers/random.ts';
import { accountOn, createWorkplace } from './workplace.ts';

const FOLDERS = ['INBOX', ...Array.from({ length: 39 }, (_, index) => `Faecher/Nr ${index}`)];
const MESSAGES = 300;
const CUT_EVERY = 75;

/** What Dovecot 2.3 says it can do, but for NOTIFY, as far as it matters here. */
const WITHOUT_NOTIFY = ['IDLE', 'UNSELECT', 'NAMESPACE', 'UIDPLUS', 'LIST-EXTENDED', 'LIST-STATUS', 'MOVE'];

test.each([
  ['with NOTIFY', {}],
  ['without NOTIFY', { capabilities: WITHOUT_NOTIFY }],
])('%s forty folders share the three connections that the server bears: each message exactly once', async (_, more) => {
  const seed = runSeed();
  console.log(`MAILWATCHD_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  await using server = await startDovecot({ users: { ann: 'a' }, connectionsPerUser: 4, ...more });
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

/** Looks at what Dovecot 2.3 keeps to itself while its list of folders is rotated, and tells it again. */
const SELDOM = { pollEvery: '1h', idleRenewEvery: '10s' };

/** Appends a message to each folder in turn, so many times. */
async function appendToEach(server: Dovecot, folders: readonly string[], rounds: number): Promise<void> {
  const corpus = makeCorpus(runSeed(), folders.length * rounds);
  for (const [index, { raw }] of corpus.entries())
    await server.append('ann', folders[index % folders.length]!, raw);
}

test.each([
  ['by their names', Array.from({ length: 40 }, (_, index) => `Faecher/Nr ${index}`)],
  ['all that is personal', Array.from({ length: 120 }, (_, index) => `Faecher/Nr ${index}`)],
  ['by names with other characters', ['say "hello"', 'back\\slash', '50 %', 'st*r', '(x) {3}']],
  [
    'whatever they are called',
    ['Ablage/Fächer', 'A & B', 'say "hello"', 'back\\slash', '50 %', 'st*r', '(x) {3}'],
  ],
])('NOTIFY tells of folders %s', async (_, folders) => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  for (const folder of folders) await server.createFolder('ann', folder);
  await using place = createWorkplace({
    accounts: [accountOn(server, 'support', 'ann', 'a', { folders, ...SELDOM })],
    limits: { connectionsPerAccount: 2, connectsPerSecond: 100 },
  });
  const daemon = place.start();
  await place.settled(daemon, 60_000);
  const pushed = () => place.mailboxes()!.filter(({ lastPushAt }) => lastPushAt !== null).length;
  // Dovecot 2.3 may have fallen silent while the folders were made: then the look that finds it out has it told again.
  for (let round = 1; pushed() <= folders.length / 2; round++) {
    expect(round).toBeLessThanOrEqual(4);
    await appendToEach(server, folders, 2);
    const there = async () => (await place.list('--state', 'published')).length >= 2 * round * folders.length;
    await daemon.until('all messages', there, 60_000);
  }
  expect(place.mailboxes()!.every(({ healthy }) => healthy)).toBe(true);
  expect(await daemon.stop()).toBe(0);
});

test('with one connection for all of them NOTIFY tells of each, also of the one that was open', async () => {
  const folders = FOLDERS.slice(0, 5);
  await using server = await startDovecot({ users: { ann: 'a' } });
  for (const folder of folders.slice(1)) await server.createFolder('ann', folder);
  await using place = createWorkplace({
    accounts: [accountOn(server, 'support', 'ann', 'a', { folders, ...SELDOM })],
    limits: { connectionsPerAccount: 1, connectsPerSecond: 100 },
  });
  const daemon = place.start();
  await place.settled(daemon, 60_000);
  await appendToEach(server, folders, 40);
  const there = async () => (await place.list('--state', 'published')).length >= 40 * folders.length;
  await daemon.until('all messages', there, 60_000);
  expect(await daemon.stop()).toBe(0);
});
