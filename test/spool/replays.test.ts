/** Proves: a replay is asked for by id, served from quarantine or the kept source, and published once. */
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { requestReplays } from '../../src/spool/adopt.ts';
import { SPAN } from '../../src/spool/block.ts';
import { messageIdentity } from '../../src/spool/names.ts';
import { listMessages } from '../../src/spool/reading.ts';
import type { Service } from '../../src/spool/service.ts';
import {
  codeOf,
  hand,
  INBOX,
  MORNING,
  makePlace,
  metadata,
  observation,
  open,
  poison,
  staged,
  tree,
  watched,
} from './rig.ts';

const DAY = 'support/2026/11/20';
const QUARANTINED = '.quarantine/support/INBOX-1700000000-5';

/** Message 1 published with its source kept, 2 without, 5 in quarantine, 6 only with its header. */
function stocked() {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 }));
  hand(
    service,
    staged(place, service, epoch, 1, { source: true, attachments: true }),
    staged(place, service, epoch, 2),
    poison(epoch, 5),
    poison(epoch, 6, { complete: false, error: { code: 'DAEMON_KILLED' } }),
  );
  service.calls.recordUnfetchable(
    epoch.id,
    { uid: 7, size: 1, internalDate: 0, flags: [] },
    { code: 'MESSAGE_UNFETCHABLE' },
  );
  service.flush();
  const request = (ids: string[] | 'quarantined', again = false) =>
    requestReplays(place.state, ids, { again, now: MORNING }).map((answer) =>
      'error' in answer ? `${answer.name}: ${answer.error.code}` : `${answer.name}: asked`,
    );
  return { place, service, epoch, request };
}

/** Serves the oldest request as the daemon would. */
function serve({ place, service, epoch }: ReturnType<typeof stocked>, by: Service = service) {
  const [replay] = by.calls.pendingReplays();
  const begun = by.calls.beginReplay(replay!);
  const content = readFileSync(begun.file, 'utf8');
  const parts = { name: begun.name, source: true, attachments: true, change: { replay: replay!.number } };
  const uid = replay!.uid;
  return { begun, content, deliver: () => hand(by, staged(place, by, epoch, uid, parts)) };
}

test('what extensions told is there again for a replay, also of a message that was packed', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 2 * SPAN }));
  const gmail = { labels: ['\\Inbox', 'Entwürfe'], messageId: '1278455344230334865', threadId: null };
  const extensions = { emailId: 'M6d99', threadId: 'T64b4', gmail };
  const identity = messageIdentity(epoch, metadata(5, { extensions }));
  hand(
    service,
    staged(place, service, epoch, 1, { source: true, metadata: { extensions } }),
    staged(place, service, epoch, 2, { source: true }),
    poison(epoch, 5, { identity }),
    staged(place, service, epoch, 2 * SPAN - 1),
  );
  service.flush();
  while (service.packer.due()) service.packer.step();
  expect(JSON.parse(readFileSync(join(place.storage, `${QUARANTINED}.error`), 'utf8'))).toMatchObject(
    extensions,
  );
  requestReplays(
    place.state,
    [1, 2, 5].map((uid) => `INBOX-1700000000-${uid}`),
    { again: true, now: MORNING },
  );
  const begun = service.calls.pendingReplays().map((replay) => service.calls.beginReplay(replay).identity);
  expect(begun.map(({ uid, extensions: told }) => [uid, told])).toEqual([
    [1, extensions],
    [2, undefined],
    [5, extensions],
  ]);
});

test('each request is answered by itself', () => {
  const { request } = stocked();
  expect(
    request([
      'INBOX-1700000000-5',
      'support/INBOX-1700000000-5',
      'INBOX-1700000000-1',
      'INBOX-1700000000-6',
      'INBOX-1700000000-7',
      'INBOX-1700000000-8',
      'sales/INBOX-1700000000-5',
      '../../etc/passwd',
      '',
    ]),
  ).toEqual([
    'INBOX-1700000000-5: asked',
    'support/INBOX-1700000000-5: asked',
    'INBOX-1700000000-1: ALREADY_PUBLISHED',
    'INBOX-1700000000-6: SOURCE_MISSING',
    'INBOX-1700000000-7: SOURCE_MISSING',
    'INBOX-1700000000-8: UNKNOWN_MESSAGE',
    'sales/INBOX-1700000000-5: UNKNOWN_MESSAGE',
    '../../etc/passwd: UNKNOWN_MESSAGE',
    ': UNKNOWN_MESSAGE',
  ]);
  expect(request('quarantined')).toEqual(['support/INBOX-1700000000-5: asked']);
  expect(request(['INBOX-1700000000-1'], true)).toEqual(['INBOX-1700000000-1: asked']);
});

test('an id that two accounts have must be named with its account', () => {
  const { place, service, request } = stocked();
  const { epoch } = service.calls.openEpoch({ account: 'sales', folder: 'INBOX' }, observation());
  hand(service, poison(epoch, 5));
  service.flush();
  const [answer] = requestReplays(place.state, ['INBOX-1700000000-5'], { again: false, now: 0 });
  expect(answer).toMatchObject({ error: { code: 'UNKNOWN_MESSAGE', remedy: 'name one of them' } });
  expect(request(['sales/INBOX-1700000000-5'])).toEqual(['sales/INBOX-1700000000-5: asked']);
});

test('a running daemon sees a request of another process, and its own writing is none', () => {
  const { service, epoch, place, request } = stocked();
  expect(service.changedOutside()).toBe(false);
  hand(service, staged(place, service, epoch, 8));
  expect(service.changedOutside()).toBe(false);
  request('quarantined');
  expect(service.changedOutside()).toBe(true);
  expect(service.changedOutside()).toBe(false);
  expect(service.calls.pendingReplays()).toEqual([
    {
      number: 1,
      epochId: epoch.id,
      account: 'support',
      folder: 'INBOX',
      uid: 5,
      id: 'INBOX-1700000000-5',
      requestedAt: MORNING,
    },
  ]);
});

test('from quarantine: published under its id, and its quarantined form goes', () => {
  const stock = stocked();
  stock.request('quarantined');
  const { begun, content, deliver } = serve(stock);
  expect(content).toBe('source of 5');
  expect(begun.file.startsWith(`${stock.service.run.directory}/`)).toBe(true);
  expect(begun).toMatchObject({
    name: 'INBOX-1700000000-5',
    declaredSize: 105,
    identity: {
      account: 'support',
      id: 'INBOX-1700000000-5',
      uid: 5,
      uidValidity: '1700000000',
      flags: ['\\Seen'],
    },
  });
  expect(deliver()).toEqual([null]);
  stock.service.flush();
  expect(stock.service.calls.pendingReplays()).toEqual([]);
  const files = Object.keys(tree(stock.place.storage));
  expect(files).toContain(`${DAY}/INBOX-1700000000-5.json`);
  expect(files.filter((path) => path.startsWith(QUARANTINED))).toEqual([]);
  expect(stock.service.calls.counts(INBOX)).toEqual({ quarantined: 1, unfetchable: 1, filtered: 0 });
  expect([...listMessages(stock.place.state, { state: 'published' })]).toHaveLength(3);
});

test('a second answer to the same request publishes nothing', () => {
  const stock = stocked();
  stock.request('quarantined');
  const { deliver } = serve(stock);
  expect(deliver()).toEqual([null]);
  rmSync(join(stock.place.storage, 'support'), { recursive: true });
  expect(deliver()).toEqual([null]);
  expect(existsSync(join(stock.place.storage, 'support'))).toBe(false);
});

test('again: a published message gets ~2, then ~3, and stays published', () => {
  const stock = stocked();
  for (const copy of [2, 3]) {
    expect(stock.request(['INBOX-1700000000-1'], true)).toEqual(['INBOX-1700000000-1: asked']);
    const { begun, content, deliver } = serve(stock);
    expect(begun.name).toBe(`INBOX-1700000000-1~${copy}`);
    expect(begun.identity.id).toBe('INBOX-1700000000-1');
    expect(content).toBe('source of 1');
    expect(deliver()).toEqual([null]);
    stock.service.flush();
  }
  expect(Object.keys(tree(join(stock.place.storage, DAY))).filter((path) => path.endsWith('.json'))).toEqual([
    'INBOX-1700000000-1.json',
    'INBOX-1700000000-1~2.json',
    'INBOX-1700000000-1~3.json',
    'INBOX-1700000000-2.json',
  ]);
});

test("a stranger's file in a replay's way: the request stays until it is gone", () => {
  const stock = stocked();
  stock.request('quarantined');
  const stranger = join(stock.place.storage, DAY, 'INBOX-1700000000-5.json');
  writeFileSync(stranger, 'not ours');
  expect(serve(stock).deliver()).toEqual(['FILE_EXISTS']);
  expect(stock.service.calls.pendingReplays()).toHaveLength(1);
  rmSync(stranger);
  expect(serve(stock).deliver()).toEqual([null]);
  stock.service.flush();
  expect(stock.service.calls.pendingReplays()).toEqual([]);
});

test('without a kept source there is nothing to parse again', () => {
  const stock = stocked();
  expect(stock.request(['INBOX-1700000000-2'], true)).toEqual(['INBOX-1700000000-2: asked']);
  expect(codeOf(() => serve(stock))).toBe('SOURCE_MISSING');
});

test('a link put in place of the source is not followed', () => {
  const stock = stocked();
  stock.request('quarantined');
  rmSync(join(stock.place.storage, `${QUARANTINED}.eml`));
  symlinkSync('/etc/passwd', join(stock.place.storage, `${QUARANTINED}.eml`));
  expect(codeOf(() => serve(stock))).toBe('SOURCE_MISSING');
});

test('a replay that fails leaves its message where it was, tells why, and can be asked for again', () => {
  const stock = stocked();
  stock.request('quarantined');
  const [replay] = stock.service.calls.pendingReplays();
  stock.service.calls.failReplay(replay!, { code: 'PARSE_FAILED', detail: 'still broken' });
  expect(stock.service.calls.pendingReplays()).toEqual([]);
  const reason = () => [...listMessages(stock.place.state)].find(({ uid }) => uid === 5)?.reason;
  expect(reason()).toBe('replay failed: PARSE_FAILED: still broken');
  expect(existsSync(join(stock.place.storage, `${QUARANTINED}.eml`))).toBe(true);
  stock.request('quarantined');
  expect(stock.service.calls.pendingReplays()).toHaveLength(1);
  expect(reason()).not.toContain('replay failed');
});

test('a replay during which three runs died is not begun a fourth time; clean stops do not count', () => {
  const stock = stocked();
  stock.request('quarantined');
  let service = stock.service;
  const begin = () => codeOf(() => serve(stock, service));
  expect(begin()).toBe('nothing thrown');
  service.stop();
  for (const death of [1, 2, 3]) {
    service = open(stock.place);
    expect(begin(), `before death ${death}`).toBe('nothing thrown');
  }
  service = open(stock.place);
  expect(begin()).toBe('DAEMON_KILLED');
});

class Crash extends Error {}

test('a crash at any operation of a replay from quarantine: published once, or still there to be asked for', () => {
  let crashAt = 1;
  for (; ; crashAt++) {
    const stock = stocked();
    stock.request('quarantined');
    stock.service.stop();
    let steps = Number.NEGATIVE_INFINITY;
    const service = open(
      stock.place,
      watched(() => {
        steps += 1;
        if (steps >= crashAt) throw new Crash();
      }),
    );
    const { deliver } = serve(stock, service);
    steps = 0;
    const crashed = codeOf(() => {
      deliver();
      service.flush();
    });
    const next = open(stock.place);
    if (next.calls.pendingReplays().length > 0) expect(serve(stock, next).deliver()).toEqual([null]);
    next.stop();
    const { '.mailwatchd': _id, ...files } = tree(stock.place.storage);
    const about5 = Object.keys(files).filter((path) => path.includes('-5'));
    expect(about5, `crash at operation ${crashAt}`).toEqual([
      `${DAY}/INBOX-1700000000-5.eml`,
      `${DAY}/INBOX-1700000000-5.json`,
      `${DAY}/INBOX-1700000000-5/1-a.txt`,
    ]);
    if (crashed === 'nothing thrown') break;
  }
  expect(crashAt).toBeGreaterThan(10);
});
