/** Proves that no SIGKILL loses a message, publishes one twice or shows half a file, on a real Dovecot. */
import { expect, test } from 'vitest';
import { makeCorpus } from '../servers/corpus.ts';
import { startDovecot } from '../servers/dovecot.ts';
import { runSeed, seededRandom } from '../servers/random.ts';
import { until } from '../servers/until.ts';
import { startConsumer } from './consumer.ts';
import {
  expectContent,
  expectEachOnce,
  expectListed,
  expectStagingEmpty,
  readTruth,
  type WatchedFolder,
} from './ground-truth.ts';
import { accountOn, createWorkplace } from './workplace.ts';

const MESSAGES = 500;
const KILLS = 20;

/** From a start's first moments to well into its work: a start takes about 300 ms, a message about 5. */
const LATEST_KILL = 1_500;

const FOLDERS: WatchedFolder[] = [
  { account: 'support', user: 'ann', folder: 'INBOX' },
  { account: 'support', user: 'ann', folder: 'Rechnungen/März' },
  { account: 'sales', user: 'bob', folder: 'INBOX' },
  { account: 'sales', user: 'bob', folder: 'Leads' },
];

test(`${MESSAGES} messages, ${KILLS} times SIGKILL, a consumer that deletes at once: each exactly once`, async () => {
  const seed = runSeed();
  console.log(`MAILWATCHD_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const corpus = makeCorpus(seed, MESSAGES);

  await using server = await startDovecot({ users: { ann: 'a', bob: 'b' } });
  for (const { user, folder } of FOLDERS) if (folder !== 'INBOX') await server.createFolder(user, folder);
  await using place = createWorkplace({
    accounts: [
      accountOn(server, 'support', 'ann', 'a', { folders: ['INBOX', 'Rechnungen/März'] }),
      accountOn(server, 'sales', 'bob', 'b', { folders: ['INBOX', 'Leads'] }),
    ],
  });
  const consumer = startConsumer(place.storage);

  // Mail comes in while the daemon starts, works and dies, some of it at each of its lives.
  let sent = 0;
  let allowed = 0;
  const delivering = (async () => {
    for (const { raw } of corpus) {
      await until('the next life', () => sent < allowed, 120_000);
      const { user, folder } = random.pick(FOLDERS);
      if (folder === 'INBOX' && random.fraction() < 0.5) await server.deliver(user, raw);
      else await server.append(user, folder, raw);
      sent++;
    }
  })();

  let daemon = place.start();
  for (let kill = 1; kill <= KILLS; kill++) {
    allowed = Math.ceil((MESSAGES * kill) / KILLS);
    // Not waiting for anything: the moment is the point.
    await new Promise((resolve) => setTimeout(resolve, random.between(0, LATEST_KILL)));
    await daemon.kill();
    daemon = place.start();
  }
  await delivering;

  const truth = await readTruth(server, FOLDERS);
  expect(truth).toHaveLength(MESSAGES);
  await place.settled(daemon);

  // A message that was alone in work when three of the kills came is one that a killed daemon must
  // suspect: it is not lost, and comes back.
  const quarantined = (await place.list()).filter(({ state }) => state === 'quarantined');
  if (quarantined.length > 0) {
    expect(quarantined.map(({ reason }) => reason)).toEqual(
      quarantined.map(() => expect.stringContaining('DAEMON_KILLED')),
    );
    expect(await place.command(['replay', '--quarantined'])).toMatchObject({ status: 0 });
  }
  await until('the last document', () => consumer.consumed.length >= MESSAGES, 60_000).catch(() => undefined);
  expect(await daemon.stop()).toBe(0);
  consumer.stop();

  expectEachOnce(consumer, truth, 'uid');
  expectContent(consumer.consumed, corpus);
  expectListed(consumer.consumed, await place.list(), place.storage);
  expectStagingEmpty(place.storage);
});
