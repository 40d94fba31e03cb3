/** Proves: the thread answers every question, stops cleanly, and neither its death nor that of the process loses a message. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import type { Epoch } from '../../src/model.ts';
import { requestReplays } from '../../src/spool/adopt.ts';
import { listMessages } from '../../src/spool/reading.ts';
import { openSpool, type Spool } from '../../src/spool/spool.ts';
import { until } from '../servers/until.ts';
import {
  hashOf,
  INBOX,
  MORNING,
  makePlace,
  metadata,
  observation,
  type Place,
  staging,
  tree,
  uidsIn,
} from '../spool/rig.ts';

async function start(place: Place): Promise<Spool> {
  const spool = await openSpool({ stateDirectory: place.state, storage: place.settings });
  onTestFinished(() => spool.stop());
  return spool;
}

function stage(spool: Spool, epoch: Epoch, uid: number) {
  const identity = spool.identity(epoch, metadata(uid));
  const target = spool.target(identity, { many: false });
  writeFileSync(join(target.directory, `${target.stem}.json`), `{"uid":${uid}}\n`);
  return {
    epochId: epoch.id,
    identity,
    target,
    declaredSize: 10,
    after: true,
    staged: {
      messageId: null,
      size: 10,
      sha256: hashOf(uid),
      hasAttachments: false,
      hasSource: false,
      warnings: [],
    },
  };
}

test('every question gets its answer, in whatever order they are asked', async () => {
  const place = makePlace();
  const spool = await start(place);
  expect(spool.run).toEqual({
    id: expect.any(String),
    directory: expect.any(String),
    unclean: false,
    syncsBatches: expect.any(Boolean),
    canaryKey: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  const { epoch } = await spool.openEpoch(INBOX, observation({ uidNext: 700 }));
  const uids = Array.from({ length: 600 }, (_, index) => index + 1);
  await Promise.all([
    ...uids.map((uid) => spool.accept(stage(spool, epoch, uid))),
    spool.advance(epoch.id, 800),
    spool.quarantine({
      epochId: epoch.id,
      identity: spool.identity(epoch, metadata(650)),
      size: 4,
      sha256: null,
      messageId: null,
      source: Buffer.from('head'),
      complete: false,
      error: { code: 'MESSAGE_TOO_LARGE' },
    }),
    spool.recordUnfetchable(epoch.id, metadata(651), new MailwatchdError('MESSAGE_UNFETCHABLE')),
  ]);
  const options = { messageBytes: 1, retryUnfetchable: false };
  expect(uidsIn(await spool.handled(epoch.id, 1, 1_000, options))).toEqual([...uids, 650, 651]);
  expect(await spool.counts(INBOX)).toEqual({ quarantined: 1, unfetchable: 1, filtered: 0 });
  expect((await spool.openEpoch(INBOX, observation({ uidNext: 801 }))).epoch.scannedThrough).toBe(800);
  const owed = await spool.owedAfterActions(epoch.id, 1_000);
  await spool.settleAfterActions(epoch.id, owed.slice(1));
  expect(await spool.owedAfterActions(epoch.id, 1_000)).toEqual([1]);
  expect(await spool.matchEarlier(epoch.id, [metadata(900)])).toEqual({
    matched: [],
    ambiguous: [],
    unmatched: [900],
  });
  expect(await spool.matchByHash(epoch.id, metadata(900), hashOf(900))).toBe(false);
  await spool.holdEpoch(epoch.id, 101);
  await spool.markCompared(epoch.id);
  expect(await spool.beginAlone(epoch.id, 901)).toBe(0);
  await spool.endAlone(epoch.id, 901);
  await spool.settle();
});

test('an error keeps its code, place and remedy on its way', async () => {
  const place = makePlace();
  const spool = await start(place);
  const { epoch } = await spool.openEpoch(INBOX, observation());
  const item = stage(spool, epoch, 1);
  const json = join(place.storage, 'support/2026/11/20/INBOX-1700000000-1.json');
  await spool.accept(stage(spool, epoch, 2));
  writeFileSync(json, 'not ours');
  const refused = spool.accept(item);
  await expect(refused).rejects.toBeInstanceOf(MailwatchdError);
  await expect(refused).rejects.toMatchObject({ code: 'FILE_EXISTS', where: json, remedy: 'move it away' });
  await expect(spool.openEpoch(INBOX, observation({ uidValidity: 'x' }))).rejects.toMatchObject({
    code: 'SERVER_PROTOCOL',
  });
});

test('what lies behind is packed while nothing else is to do', async () => {
  const place = makePlace();
  const first = await openSpool({ stateDirectory: place.state, storage: place.settings });
  const { epoch } = await first.openEpoch(INBOX, observation({ uidNext: 9_000 }));
  for (const uid of [1, 2, 8_000]) await first.accept({ ...stage(first, epoch, uid), after: false });
  await first.stop();
  const before = [...listMessages(place.state)];
  await start(place);
  const packed = () => {
    using ledger = new DatabaseSync(join(place.state, 'ledger.db'), { readOnly: true });
    return ledger.prepare('SELECT count FROM block').all();
  };
  await until('a block', () => packed().length > 0);
  expect(packed()).toEqual([{ count: 2 }]);
  expect([...listMessages(place.state)]).toEqual(before);
});

test('staged names and download paths differ at each call', async () => {
  const spool = await start(makePlace());
  const { epoch } = await spool.openEpoch(INBOX, observation());
  const identity = spool.identity(epoch, metadata(1));
  const names = [
    ...[1, 2].map(() => spool.target(identity, { many: false }).stem),
    ...[1, 2].map(() => spool.downloadPath(epoch, 1)),
  ];
  expect(new Set(names).size).toBe(4);
  expect(spool.target(identity, { many: false })).toMatchObject({
    directory: spool.run.directory,
    name: 'INBOX-1700000000-1',
  });
  expect(spool.downloadPath(epoch, 1).startsWith(`${spool.run.directory}/`)).toBe(true);
});

test('stop finishes what was asked before, commits, tidies up and refuses what comes after', async () => {
  const place = makePlace();
  const spool = await start(place);
  const { epoch } = await spool.openEpoch(INBOX, observation());
  const accepted = spool.accept(stage(spool, epoch, 1));
  const stopped = spool.stop();
  await expect(spool.counts(INBOX)).rejects.toMatchObject({ code: 'INTERNAL' });
  await Promise.all([accepted, stopped]);
  expect(spool.stop()).toBe(stopped);
  expect(staging(place)).toEqual([]);
  expect([...listMessages(place.state)].map(({ state }) => state)).toEqual(['published']);
  const next = await start(place);
  expect(next.run).toMatchObject({ unclean: false, canaryKey: spool.run.canaryKey });
  expect(next.run.id).not.toBe(spool.run.id);
});

test('a start that is refused rejects with its reason', async () => {
  const place = makePlace();
  const storage = { ...place.settings, directory: join(place.root, 'nowhere') };
  await expect(openSpool({ stateDirectory: place.state, storage })).rejects.toMatchObject({
    code: 'STORAGE_MISSING',
  });
});

test('a request of another process calls back', async () => {
  const place = makePlace();
  const spool = await start(place);
  const { epoch } = await spool.openEpoch(INBOX, observation());
  await spool.quarantine({
    epochId: epoch.id,
    identity: spool.identity(epoch, metadata(1)),
    size: 4,
    sha256: null,
    messageId: null,
    source: Buffer.from('body'),
    complete: true,
    error: { code: 'PARSE_FAILED' },
  });
  await spool.counts(INBOX);
  const called = new Promise<void>((resolve) => spool.onChangedOutside(resolve));
  requestReplays(place.state, 'quarantined', { again: false, now: MORNING });
  await called;
  const [replay] = await spool.pendingReplays();
  const begun = await spool.beginReplay(replay!);
  expect(begun.target).toMatchObject({ name: 'INBOX-1700000000-1', directory: spool.run.directory });
  expect(existsSync(begun.file)).toBe(true);
  await spool.failReplay(replay!, { code: 'PARSE_FAILED' });
  expect(await spool.pendingReplays()).toEqual([]);
});

test('a thread that dies rejects all that waits and all that comes, and is reported once', async () => {
  const place = makePlace();
  const options = { stateDirectory: place.state, storage: place.settings };
  const spool = await openSpool(options, new URL('./doomed-thread.ts', import.meta.url));
  const fatal: MailwatchdError[] = [];
  spool.onFatal((error) => fatal.push(error));
  const waiting = [spool.counts(INBOX), spool.settle()];
  for (const promise of waiting) await expect(promise).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(spool.advance(1, 1)).rejects.toThrow(/the spool thread died: out of luck/);
  await expect(spool.stop()).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(fatal).toHaveLength(1);
});

test('a process killed again and again publishes each message once, though a consumer takes them at once', async () => {
  const place = makePlace();
  const options = JSON.stringify({ stateDirectory: place.state, storage: place.settings });
  const taken: string[] = [];
  const consume = () => {
    const directory = join(place.storage, 'support/1970/01/01');
    if (!existsSync(directory)) return;
    for (const name of readdirSync(directory)) {
      taken.push(name);
      rmSync(join(directory, name));
    }
  };
  const live = async (last: number, answersUntilKilled: number) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'victim.ts'), options, String(last)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    let answers = 0;
    for await (const _ of createInterface(child.stdout)) {
      answers += 1;
      consume();
      if (answers >= answersUntilKilled) child.kill('SIGKILL');
    }
    const [status, signal] = (await exited) as [number | null, string | null];
    consume();
    return signal ?? status;
  };
  // It would go on for ever, so that each of these lives ends by its kill.
  for (const answers of [1, 5, 20, 30]) expect(await live(2 ** 32 - 1, answers)).toBe('SIGKILL');
  const last = Math.max(...taken.map((name) => Number(/(\d+)\.json$/.exec(name)?.[1]))) + 10;
  expect(await live(last, Number.POSITIVE_INFINITY)).toBe(0);
  const expected = Array.from({ length: last }, (_, index) => `INBOX-17-${index + 1}.json`);
  expect(taken.toSorted()).toEqual(expected.toSorted());
  expect(staging(place)).toEqual([]);
  const { '.mailwatchd': _id, ...left } = tree(place.storage);
  expect(left).toEqual({});
  expect([...listMessages(place.state, { state: 'published' })]).toHaveLength(last);
});
