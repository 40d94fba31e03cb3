/** Proves that a mail server that restarts, cuts connections, renumbers and expunges loses and doubles nothing. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { type CorpusMessage, makeCorpus } from '../servers/corpus.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { runSeed, seededRandom } from '../servers/random.ts';
import { startConsumer } from './consumer.ts';
import { contentKey, type Truth } from './differences.ts';
import {
  expectContent,
  expectEachOnce,
  expectListed,
  expectStagingEmpty,
  readTruth,
  type WatchedFolder,
} from './ground-truth.ts';
import { accountOn, createWorkplace } from './workplace.ts';

const FOLDERS: WatchedFolder[] = [
  { account: 'support', user: 'ann', folder: 'INBOX' },
  { account: 'support', user: 'ann', folder: 'Archiv' },
  { account: 'sales', user: 'bob', folder: 'INBOX' },
  { account: 'sales', user: 'bob', folder: 'Leads' },
];
const USERS = { ann: 'a', bob: 'b' };

const MESSAGES = 500;
const TROUBLES = 20;

/** Everything that can happen to a folder between two commands, one after the other and all again. */
const troubles: ((server: Dovecot, folder: WatchedFolder) => unknown)[] = [
  (server) => server.cutConnections(),
  (server) => server.restart(),
  (server, { user, folder }) => server.changeUidValidity(user, folder),
  (server) => server.cutConnections(),
  (server, { user }) => server.loseIndexes(user),
];

async function prepare(server: Dovecot) {
  for (const { user, folder } of FOLDERS) if (folder !== 'INBOX') await server.createFolder(user, folder);
  const place = createWorkplace({
    accounts: [
      accountOn(server, 'support', 'ann', 'a', { folders: ['INBOX', 'Archiv'] }),
      accountOn(server, 'sales', 'bob', 'b', { folders: ['INBOX', 'Leads'] }),
    ],
    limits: { operationSeconds: 10 },
  });
  return { place, consumer: startConsumer(place.storage) };
}

test('connections cut, restarts, new UIDVALIDITYs and lost indexes: each message exactly once', async () => {
  const seed = runSeed();
  console.log(`MAILWATCHD_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const corpus = makeCorpus(seed, MESSAGES);
  await using server = await startDovecot({ users: USERS });
  const { place, consumer } = await prepare(server);
  await using _place = place;
  const daemon = place.start();

  const perTrouble = Math.ceil(MESSAGES / TROUBLES);
  for (let round = 0; round < TROUBLES; round++) {
    for (const { raw } of corpus.slice(round * perTrouble, (round + 1) * perTrouble)) {
      const { user, folder } = random.pick(FOLDERS);
      if (folder === 'INBOX' && random.fraction() < 0.5) await server.deliver(user, raw);
      else await server.append(user, folder, raw);
    }
    // In the midst of the work that these messages made, at no moment in particular.
    await new Promise((resolve) => setTimeout(resolve, random.between(0, 300)));
    await troubles[round % troubles.length]!(server, random.pick(FOLDERS));
  }

  const truth = await readTruth(server, FOLDERS);
  expect(truth).toHaveLength(MESSAGES);
  await daemon.until('every document', () => consumer.consumed.length >= MESSAGES, 90_000);
  await place.settled(daemon);
  expect(await daemon.stop()).toBe(0);
  consumer.stop();

  // A message that was published under one UIDVALIDITY has another UID under the next.
  expectEachOnce(consumer, truth, 'content');
  expectContent(consumer.consumed, corpus);
  expectListed(consumer.consumed, await place.list(), place.storage);
  expectStagingEmpty(place.storage);
});

test('messages that are expunged while they are fetched: the others exactly once', async () => {
  const seed = runSeed();
  console.log(`MAILWATCHD_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const corpus = makeCorpus(seed, MESSAGES / 2);
  await using server = await startDovecot({ users: USERS });
  const { place, consumer } = await prepare(server);
  await using _place = place;
  const daemon = place.start();

  const expunged: Truth = [];
  const perRound = 50;
  for (let begin = 0; begin < corpus.length; begin += perRound) {
    const uids = await Promise.all(
      corpus.slice(begin, begin + perRound).map(async (message) => {
        const watched = random.pick(FOLDERS);
        return { ...watched, message, uid: await server.append(watched.user, watched.folder, message.raw) };
      }),
    );
    // Half of them at once: the daemon has just heard of them.
    for (const watched of FOLDERS) {
      const here = uids.filter(({ user, folder }) => user === watched.user && folder === watched.folder);
      const doomed = here.filter(() => random.fraction() < 0.5);
      if (doomed.length === 0) continue;
      await server.expunge(
        watched.user,
        watched.folder,
        doomed.map(({ uid }) => uid),
      );
      expunged.push(
        ...doomed.map(({ account, folder, uid, message }) => asTruth(account, folder, uid, message)),
      );
    }
  }

  const truth = await readTruth(server, FOLDERS);
  expect(truth).toHaveLength(corpus.length - expunged.length);
  await place.settled(daemon);
  expect(await daemon.stop()).toBe(0);
  consumer.stop();

  // Of those that are gone some were read before: these are published as well, once.
  const counted = new Map<string, number>();
  for (const { document } of consumer.consumed) {
    const key = `${contentKey(document)} ${document.uid}`;
    counted.set(key, (counted.get(key) ?? 0) + 1);
  }
  const readBefore = expunged.filter((message) => counted.has(`${contentKey(message)} ${message.uid}`));
  console.log(`${readBefore.length} of ${expunged.length} expunged messages had been read before`);
  expectEachOnce(consumer, [...truth, ...readBefore], 'uid');
  expectContent(consumer.consumed, corpus);
  expectListed(consumer.consumed, await place.list(), place.storage);
  expectStagingEmpty(place.storage);
});

function asTruth(account: string, folder: string, uid: number, { raw }: CorpusMessage): Truth[number] {
  const sha256 = createHash('sha256').update(raw).digest('hex');
  return { account, folder, uid, size: raw.length, sha256, messageId: null, internalDate: 0, flags: [] };
}
