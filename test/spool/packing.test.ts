/** Proves: what is packed is told, recognized, replayed and kept from coming twice as before; and a ledger of an older version goes on. */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inspectPairing, requestReplays } from '../../src/spool/adopt.ts';
import { decodeBlock, encodeBlock, SPAN } from '../../src/spool/block.ts';
import { ledgerPath, openLedger, readLedger } from '../../src/spool/ledger.ts';
import { type ListFilter, listMessages } from '../../src/spool/reading.ts';
import type { Service } from '../../src/spool/service.ts';
import {
  type Content,
  hand,
  hashOf,
  INBOX,
  leftOut,
  MORNING,
  makePlace,
  metadata,
  observation,
  open,
  type Place,
  poison,
  staged,
  uidsIn,
  unsyncedFiles,
  watched,
} from './rig.ts';

const SALES = { account: 'sales', folder: 'Entwürfe' };
/** The last UID of the first block, the first of the second, and one far behind both. */
const [LAST, NEXT, FAR] = [SPAN - 1, SPAN, 50 * SPAN];
/** With gaps; the last one is never packed. */
const UIDS = [1, 2, 3, 7, LAST, NEXT, NEXT + 2, FAR];
const ALL = { messageBytes: 1e6, retryUnfetchable: true };

const quick = watched(
  () => undefined,
  () => undefined,
  unsyncedFiles,
);

/** Two mailboxes with the same messages, handed over in turn a minute apart. */
function stocked(content: (uid: number) => Content = () => ({})) {
  const place = makePlace();
  let minute = 0;
  const now = () => MORNING + minute * 60_000;
  const service = open(place, { ...quick, now });
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: FAR + 9 }));
  const sales = service.calls.openEpoch(SALES, observation({ uidNext: FAR + 9 })).epoch;
  for (const uid of UIDS) {
    for (const one of [epoch, sales]) {
      minute += 1;
      hand(service, staged(place, service, one, uid, content(uid)));
    }
  }
  service.flush();
  const later = () => {
    service.stop();
    minute += 1;
    return open(place, { ...quick, now });
  };
  return { place, service, epoch, sales, later };
}

function pack(service: Service): void {
  while (service.packer.due()) service.packer.step();
}

/** How many messages lie in rows of their own, and how many in blocks. */
function shape(place: Place) {
  const ledger = readLedger(place.state)!;
  const row = ledger.get(
    'SELECT (SELECT count(*) FROM message) AS rows, (SELECT coalesce(sum(count), 0) FROM block) AS packed',
  );
  ledger.close();
  return { ...row };
}

const list = (place: Place, filter: ListFilter = {}) => [...listMessages(place.state, filter)];

test('a block gives back every row as it was', () => {
  const text = fc.string({ unit: 'grapheme' });
  const row = fc.record({
    state: fc.constantFrom('published' as const, 'filtered' as const, 'carried' as const, 'skipped' as const),
    message_id: fc.option(text),
    declared_size: fc.maxSafeNat(),
    size: fc.option(fc.nat()),
    sha256: fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 })),
    internal_date: fc.maxSafeNat(),
    flags: text,
    path: fc.option(
      fc
        .constantFrom('a/{}.json', '{}/{}/0{}0.json', 'a.json')
        .chain((path) => fc.nat().map((n) => path.replaceAll('{}', String(n)))),
    ),
    copies: fc.nat(),
    recorded_at: fc.maxSafeNat(),
    claimed: fc.constantFrom(0, 1),
    extensions: fc.option(text),
    reason: fc.option(text),
  });
  const uids = fc.uniqueArray(fc.nat({ max: SPAN - 1 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(
      uids,
      fc.array(row, { minLength: 20, maxLength: 20 }),
      fc.nat({ max: 2 ** 22 - 1 }),
      (bits, facts, span) => {
        const rows = bits
          .sort((a, b) => a - b)
          .map((bit, index) => ({ uid: span * SPAN + bit, ...facts[index]! }));
        const { hashes, ...block } = encodeBlock(rows);
        // As SQLite returns it.
        expect(decodeBlock(span, { ...block, hashes: new Uint8Array(hashes) })).toEqual(rows);
      },
    ),
  );
});

test('a block of version 2 gives back its rows, without what it did not know', () => {
  const row = {
    ...{ uid: 1, state: 'published' as const, message_id: null, declared_size: 1, size: 1, sha256: null },
    ...{ internal_date: 1, flags: '[]', path: null, copies: 1, recorded_at: 1, claimed: 0, extensions: '{}' },
    reason: 'newsletters',
  };
  const { facts, ...block } = encodeBlock([row, { ...row, uid: 2 }]);
  const columns = JSON.parse(inflateRawSync(facts).toString()).slice(0, 11);
  const old = deflateRawSync(JSON.stringify(columns));
  expect(decodeBlock(0, { ...block, facts: old })).toEqual([
    { ...row, extensions: null, reason: null },
    { ...row, uid: 2, extensions: null, reason: null },
  ]);
});

test('what lies behind is packed, and list tells the same of it, in the same order, by every filter', () => {
  const { place, later } = stocked((uid) => ({
    metadata: {
      messageId: uid === 2 ? null : `<${uid}>"\\'é\n@x`,
      internalDate: MORNING - uid * 1000,
      size: uid,
    },
  }));
  const filters: ListFilter[] = [
    {},
    { account: 'sales' },
    { folder: 'INBOX' },
    { folder: 'none' },
    { state: 'published' },
    { state: 'carried' },
    { state: 'quarantined' },
    { since: MORNING + 4 * 60_000 },
    { since: MORNING + 99 * 60_000 },
    ...[0, 1, 2, 5, 15, 99].map((limit) => ({ limit })),
    { account: 'support', since: MORNING + 3 * 60_000, limit: 3 },
  ];
  const before = filters.map((filter) => list(place, filter));
  expect(shape(place)).toEqual({ rows: 16, packed: 0 });
  pack(later());
  expect(shape(place)).toEqual({ rows: 2, packed: 14 });
  expect(filters.map((filter) => list(place, filter))).toEqual(before);
  expect(before[0]).toHaveLength(16);
});

test('list of many handled at the same instant keeps their order', () => {
  const place = makePlace();
  const service = open(place, quick);
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: FAR + 9 }));
  hand(service, ...UIDS.map((uid) => staged(place, service, epoch, uid)));
  service.stop();
  pack(open(place, quick));
  expect(list(place).map(({ uid }) => uid)).toEqual(UIDS.toReversed());
});

test('what is packed is handled, whatever the window, and never published again', () => {
  const { place, epoch, later } = stocked();
  const service = later();
  pack(service);
  const handled = (low: number, high: number) => uidsIn(service.calls.handled(epoch.id, low, high, ALL));
  expect(handled(1, 2 ** 32 - 1)).toEqual(UIDS);
  expect(handled(3, NEXT)).toEqual([3, 7, LAST, NEXT]);
  expect(handled(4, 6)).toEqual([]);
  expect(handled(FAR + 1, FAR + SPAN)).toEqual([]);
  const before = list(place);
  expect(hand(service, staged(place, service, epoch, 3), poison(epoch, 7))).toEqual([null, null]);
  service.calls.recordUnfetchable(epoch.id, metadata(2), { code: 'MESSAGE_UNFETCHABLE' });
  service.flush();
  expect(list(place)).toEqual(before);
  expect(inspectPairing(place.state, place.storage).messages).toBe(16);
});

test('ranges are as long as they can be, within a block, across blocks, and with rows among them', () => {
  const { place, service, epoch, later } = stocked();
  hand(service, poison(epoch, 4), staged(place, service, epoch, NEXT + 1));
  const after = later();
  pack(after);
  expect([...after.calls.handled(epoch.id, 1, 2 ** 32 - 1, ALL)]).toEqual([
    ...[1, 4, 7, 7],
    ...[LAST, NEXT + 2],
    ...[FAR, FAR],
  ]);
});

test('nothing that is owed, asked for, or not at its end is packed', () => {
  const owing = (uid: number) => (uid === 2 ? { change: { after: true } } : {});
  const { place, service, epoch, later } = stocked(owing);
  hand(service, poison(epoch, 10), poison(epoch, 11, { complete: false }));
  service.calls.recordUnfetchable(epoch.id, metadata(12), { code: 'MESSAGE_UNFETCHABLE' });
  service.flush();
  requestReplays(place.state, ['support/INBOX-1700000000-3'], { again: true, now: MORNING });
  const after = later();
  pack(after);
  // Two that owe, one that is asked for, three left aside, two in the last block.
  expect(shape(place)).toEqual({ rows: 8, packed: 11 });
  expect(after.calls.owedAfterActions(epoch.id, 9)).toEqual([2]);
  expect(after.calls.pendingReplays()).toHaveLength(1);
  expect(after.calls.counts(INBOX)).toEqual({ quarantined: 2, unfetchable: 1, filtered: 0 });
});

test('a block takes up later what came late, and only where that is worth making it anew', () => {
  const { place, epoch, later } = stocked();
  let service = later();
  pack(service);
  hand(service, staged(place, service, epoch, 4));
  service.stop();
  service = open(place, quick);
  pack(service);
  // For one beside five it is not.
  expect(shape(place)).toEqual({ rows: 3, packed: 14 });
  hand(service, staged(place, service, epoch, 5));
  service.stop();
  pack(open(place, quick));
  expect(shape(place)).toEqual({ rows: 2, packed: 16 });
  expect(
    list(place, { account: 'support' })
      .map(({ uid }) => uid)
      .sort((a, b) => a - b),
  ).toEqual([1, 2, 3, 4, 5, 7, LAST, NEXT, NEXT + 2, FAR]);
});

test('packing begins by itself when a block’s worth of messages came in', () => {
  const place = makePlace();
  const service = open(place, quick);
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 }));
  const come = (uid: number) => hand(service, staged(place, service, epoch, uid));
  for (let uid = 1; uid < SPAN; uid++) come(uid);
  expect(service.packer.due()).toBe(false);
  come(SPAN);
  expect(service.packer.due()).toBe(true);
  pack(service);
  expect(shape(place)).toEqual({ rows: 1, packed: SPAN - 1 });
});

test('a crash at any statement of packing or unpacking leaves each message once', () => {
  const stock = stocked((uid) => ({ source: uid === 3 }));
  stock.service.stop();
  const before = list(stock.place);
  const origin = ledgerPath(stock.place.state);
  for (const packedFirst of [false, true]) {
    if (packedFirst) {
      const service = open(stock.place, quick);
      pack(service);
      service.stop();
    }
    for (let statement = 1, crashed = true; crashed; statement++) {
      const place = { ...stock.place, ...makePlace() };
      copyFileSync(origin, ledgerPath(place.state));
      let left = Number.POSITIVE_INFINITY;
      const openFailing = (directory: string) => {
        const ledger = openLedger(directory);
        return {
          ...ledger,
          run(sql: string, ...values: Parameters<typeof ledger.run>[1][]) {
            left -= 1;
            if (left < 0) throw new Error('crash');
            return ledger.run(sql, ...values);
          },
        };
      };
      const service = open(
        { ...place, storage: stock.place.storage, settings: stock.place.settings },
        {
          ...quick,
          openLedger: openFailing,
        },
      );
      const fresh = packedFirst
        ? service.calls.openEpoch(INBOX, observation({ uidValidity: '18', uidNext: 9 })).epoch
        : null;
      left = statement;
      try {
        if (fresh === null) pack(service);
        else while (service.calls.makeClaimable(fresh.id));
        crashed = false;
      } catch (error) {
        expect(String(error)).toContain('crash');
      }
      expect(list(place), `crash at statement ${statement}`).toEqual(before);
    }
  }
});

test('again: a packed message is published once more, and packed again', () => {
  const { place, later } = stocked((uid) => ({ source: uid === 3 }));
  const service = later();
  pack(service);
  const ask = (id: string, again: boolean) =>
    requestReplays(place.state, [id], { again, now: MORNING }).map((answer) =>
      'error' in answer ? answer.error.code : 'asked',
    );
  const before = shape(place);
  expect(ask('support/INBOX-1700000000-3', false)).toEqual(['ALREADY_PUBLISHED']);
  expect(ask('sales/INBOX-1700000000-3', true)).toEqual(['UNKNOWN_MESSAGE']);
  expect(ask('support/INBOX-1700000000-4', true)).toEqual(['UNKNOWN_MESSAGE']);
  expect(shape(place)).toEqual(before);
  expect(ask('support/INBOX-1700000000-3', true)).toEqual(['asked']);
  const [replay] = service.calls.pendingReplays();
  const begun = service.calls.beginReplay(replay!);
  expect(begun).toMatchObject({
    name: 'INBOX-1700000000-3~2',
    identity: { flags: ['\\Seen'], internalDate: MORNING },
  });
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: FAR + 9 }));
  const parts = { name: begun.name, change: { replay: replay!.number } };
  expect(hand(service, staged(place, service, epoch, 3, parts))).toEqual([null]);
  service.flush();
  expect(existsSync(join(place.storage, 'support/2026/11/20/INBOX-1700000000-3~2.json'))).toBe(true);
  service.stop();
  pack(open(place, quick));
  expect(shape(place)).toEqual(before);
  expect(ask('support/INBOX-1700000000-3', true)).toEqual(['asked']);
});

test('a new epoch recognizes what is packed, each message once, and it is packed again when it has', () => {
  const { place, later } = stocked();
  const service = later();
  pack(service);
  const change = { uidValidity: '18', uidNext: 900, at: MORNING + 86_400_000 };
  const fresh = service.calls.openEpoch(INBOX, observation(change)).epoch;
  expect(fresh).toMatchObject({ compared: false });
  const moved = (uid: number, more = {}) => metadata(uid, { uid: 600 + UIDS.indexOf(uid), ...more });
  const nameless = moved(7, { messageId: null });
  const twice = [metadata(LAST, { uid: 700 }), metadata(LAST, { uid: 701 })];
  const other = metadata(9, { uid: 702 });
  const candidates = [moved(1), moved(2), moved(NEXT), nameless, ...twice, other];
  expect(service.calls.matchEarlier(fresh.id, candidates)).toEqual({
    matched: [600, 601, 605],
    ambiguous: [603, 700, 701],
    unmatched: [702],
  });
  expect(service.calls.matchByHash(fresh.id, nameless, hashOf(7))).toBe(true);
  expect(service.calls.matchByHash(fresh.id, twice[0]!, hashOf(LAST))).toBe(true);
  expect(service.calls.matchByHash(fresh.id, twice[1]!, hashOf(LAST))).toBe(false);
  // Neither those that are claimed, nor the other mailbox's.
  expect(service.calls.matchEarlier(fresh.id, [metadata(1, { uid: 800 })]).unmatched).toEqual([800]);
  expect(shape(place)).toMatchObject({ packed: 7 });
  service.calls.markCompared(fresh.id);
  pack(service);
  // Of the former epoch what no message has claimed, and of both epochs the last block, is not packed.
  expect(shape(place)).toMatchObject({ packed: 7 + 5 });
  expect(service.calls.matchEarlier(fresh.id, [moved(3), moved(FAR), metadata(2, { uid: 801 })])).toEqual({
    matched: [602, 607],
    ambiguous: [],
    unmatched: [801],
  });
  const third = service.calls.openEpoch(INBOX, observation({ ...change, uidValidity: '19' })).epoch;
  expect(
    service.calls.matchEarlier(third.id, [metadata(1, { uid: 601 }), metadata(9, { uid: 602 })]),
  ).toEqual({
    matched: [601],
    ambiguous: [],
    unmatched: [602],
  });
});

test('a UID that was handled and packed keeps an epoch from beginning below it, and its date tells when that ended', () => {
  const ahead = MORNING + 10 * 60_000;
  const absurd = MORNING + 1000 * 86_400_000;
  const dates: Record<number, number> = { 1: ahead, 2: absurd };
  const { place, later } = stocked((uid) => ({ metadata: { internalDate: dates[uid] ?? MORNING } }));
  const service = later();
  pack(service);
  // As if the rows behind the blocks had never been.
  const database = new DatabaseSync(ledgerPath(place.state));
  database.exec('DELETE FROM message; UPDATE epoch SET highest_uid_next = 0');
  database.close();
  const look = (change: object) => service.calls.openEpoch(INBOX, observation(change)).epoch;
  expect(look({ uidNext: NEXT + 3 }).label).toBe('1700000000');
  const fresh = look({ uidNext: NEXT + 2, at: MORNING + 86_400_000 });
  expect(fresh).toMatchObject({ label: '1700000000.2', changedAt: ahead + 1 });
});

/** The ledger as version 1 made it, in its own words. */
const VERSION_1 = `
  PRAGMA journal_mode = WAL;
  CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE epoch (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, folder TEXT NOT NULL, label TEXT NOT NULL,
    uid_validity TEXT NOT NULL, opened_at INTEGER NOT NULL, seen_at INTEGER NOT NULL,
    watched_since INTEGER NOT NULL, first_uid_next INTEGER NOT NULL, highest_uid_next INTEGER NOT NULL,
    scanned_through INTEGER NOT NULL, start TEXT NOT NULL, configured_start TEXT NOT NULL, changed_at INTEGER,
    compared INTEGER NOT NULL, unclear INTEGER, UNIQUE (account, folder, label)
  ) STRICT;
  CREATE TABLE message (
    epoch INTEGER NOT NULL REFERENCES epoch, uid INTEGER NOT NULL, state TEXT NOT NULL, message_id TEXT,
    declared_size INTEGER NOT NULL, size INTEGER, sha256 BLOB, internal_date INTEGER NOT NULL,
    flags TEXT NOT NULL, path TEXT, copies INTEGER NOT NULL DEFAULT 0, recorded_at INTEGER NOT NULL, code TEXT,
    reason TEXT, complete INTEGER NOT NULL DEFAULT 1, owes_after INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (epoch, uid)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX message_by_id ON message (message_id, declared_size);
  CREATE INDEX message_by_hash ON message (sha256) WHERE sha256 IS NOT NULL;
  CREATE INDEX message_owing ON message (epoch, uid) WHERE owes_after = 1;
  CREATE INDEX message_by_state ON message (epoch, state);
  CREATE TABLE staging (
    epoch INTEGER NOT NULL, uid INTEGER NOT NULL, kind TEXT NOT NULL, run TEXT NOT NULL, stem TEXT NOT NULL,
    path TEXT NOT NULL, has_attachments INTEGER NOT NULL, has_source INTEGER NOT NULL, code TEXT, reason TEXT,
    complete INTEGER NOT NULL, PRIMARY KEY (epoch, uid), FOREIGN KEY (epoch, uid) REFERENCES message
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE alone (
    epoch INTEGER NOT NULL, uid INTEGER NOT NULL, deaths INTEGER NOT NULL, in_work INTEGER NOT NULL,
    PRIMARY KEY (epoch, uid)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE replay (
    number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, uid INTEGER NOT NULL, again INTEGER NOT NULL,
    requested_at INTEGER NOT NULL, run TEXT, deaths INTEGER NOT NULL DEFAULT 0, code TEXT, reason TEXT,
    UNIQUE (epoch, uid), FOREIGN KEY (epoch, uid) REFERENCES message
  ) STRICT;
  PRAGMA user_version = 1;

  INSERT INTO epoch VALUES
    (1, 'support', 'INBOX', '17', '17', 0, 0, 0, 1, 5000, 4999, '{"kind":"all"}', '{"kind":"all"}', NULL, 1, NULL),
    (2, 'support', 'INBOX', '18', '18', 0, 0, 0, 5000, 9000, 8999, '{"kind":"all"}', '{"kind":"all"}', 1, 1, NULL);
  WITH RECURSIVE number (uid) AS (SELECT 1 UNION ALL SELECT uid + 1 FROM number WHERE uid < 3000)
  INSERT INTO message (epoch, uid, state, message_id, declared_size, size, sha256, internal_date, flags, path, copies,
    recorded_at, claimed)
  SELECT epoch.id, uid, iif(epoch.id = 2 AND uid <= 1000, 'carried', 'published'), 'm' || epoch.id || '-' || uid, 100,
    100, unhex(printf('%064x', epoch.id * 10000 + uid)), 0, '[]', 'support/' || uid || '.json', 1,
    epoch.id * 10000 + uid, iif(epoch.id = 1 AND uid <= 1000, 1, 0)
  FROM epoch, number;
  UPDATE message SET state = 'quarantined', code = 'PARSE_FAILED' WHERE epoch = 2 AND uid = 1500;
  UPDATE message SET owes_after = 1 WHERE epoch = 2 AND uid = 1600;
`;

test('a ledger of version 1 goes on: nothing of it is lost, and it is packed in time', () => {
  const place = makePlace();
  const database = new DatabaseSync(ledgerPath(place.state));
  database.exec(VERSION_1);
  database.close();
  // A reader may come first.
  const before = list(place);
  expect(before).toHaveLength(6000);
  expect(before[1500]).toEqual({
    account: 'support',
    folder: 'INBOX',
    uid: 1500,
    id: 'INBOX-18-1500',
    state: 'quarantined',
    messageId: 'm2-1500',
    size: 100,
    sha256: (21500).toString(16).padStart(64, '0'),
    path: 'support/1500.json',
    receivedAt: 0,
    publishedAt: null,
    reason: 'PARSE_FAILED',
  });
  const service = open(place, quick);
  pack(service);
  const { rows, packed } = shape(place) as { rows: number; packed: number };
  expect([rows + packed, rows]).toEqual([6000, 2 * (3000 - 2 * SPAN + 1) + 2]);
  expect(list(place)).toEqual(before);
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidValidity: '18', uidNext: 9000 }));
  expect(epoch.id).toBe(2);
  expect([...service.calls.handled(2, 1, 9000, ALL)]).toEqual([1, 3000]);
  expect(service.calls.counts(INBOX)).toEqual({ quarantined: 1, unfetchable: 0, filtered: 0 });
  expect(service.calls.owedAfterActions(2, 9)).toEqual([1600]);
  // What was claimed before is claimed still.
  const third = service.calls.openEpoch(INBOX, observation({ uidValidity: '19', uidNext: 9000 })).epoch;
  const candidate = (uid: number, messageId: string) => metadata(uid, { size: 100, messageId });
  expect(
    service.calls.matchEarlier(third.id, [
      candidate(1, 'm1-1'),
      candidate(2, 'm1-1001'),
      candidate(3, 'm2-1'),
      candidate(4, 'm2-3000'),
    ]),
  ).toEqual({ matched: [2, 3, 4], ambiguous: [], unmatched: [1] });
});

/** Takes from a ledger what version 3 had not, and what version 2 had not. */
const TO_VERSION_3 = `
  DROP INDEX block_filtered;
  DROP INDEX message_filtered;
  ALTER TABLE block DROP COLUMN filtered;
  PRAGMA user_version = 3;
`;
const TO_VERSION_2 = `
  ${TO_VERSION_3}
  ALTER TABLE message DROP COLUMN extensions;
  PRAGMA user_version = 2;
`;

test('a ledger of version 2 goes on: its blocks are read, and packed anew with what is filtered', () => {
  const { place, service, epoch } = stocked();
  pack(service);
  service.stop();
  const before = list(place);
  const database = new DatabaseSync(ledgerPath(place.state));
  for (const { span, facts } of database.prepare('SELECT span, facts FROM block').all()) {
    const columns = JSON.parse(inflateRawSync(facts as Uint8Array).toString()) as unknown[][];
    const update = database.prepare('UPDATE block SET facts = ? WHERE span = ?');
    update.run(deflateRawSync(JSON.stringify(columns.slice(0, 11))), span as number);
  }
  database.exec(TO_VERSION_2);
  database.close();
  expect(list(place)).toEqual(before);
  const first = open(place, quick);
  first.batch([], [leftOut(epoch, NEXT + 4), leftOut(epoch, NEXT + SPAN)]);
  first.stop();
  // A start looks through all.
  const again = open(place, quick);
  pack(again);
  expect(shape(place)).toEqual({ rows: 2, packed: 16 });
  expect(again.calls.counts(INBOX).filtered).toBe(2);
  expect(uidsIn(again.calls.handled(epoch.id, 1, FAR, ALL))).toEqual(
    [...UIDS, NEXT + 4, NEXT + SPAN].toSorted((a, b) => a - b),
  );
  expect(list(place, { state: 'filtered' }).map(({ uid, reason }) => [uid, reason])).toEqual([
    [NEXT + SPAN, 'newsletters'],
    [NEXT + 4, 'newsletters'],
  ]);
});

test.each([
  ['1', VERSION_1],
  ['2', TO_VERSION_2],
  ['3', TO_VERSION_3],
])('a ledger of version %s that was brought up to date has the tables and indexes of a new one', (_, sql) => {
  const [old, fresh] = [makePlace(), makePlace()];
  if (sql !== VERSION_1) openLedger(old.state).close();
  const database = new DatabaseSync(ledgerPath(old.state));
  database.exec(sql);
  database.close();
  const schema = (place: Place) => {
    const ledger = openLedger(place.state);
    const names = ledger.all(
      "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name",
    );
    const columns = ledger.all(
      `SELECT t.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_schema t, pragma_table_info(t.name) c
       WHERE t.type = 'table' ORDER BY t.name, c.cid`,
    );
    ledger.close();
    return { names, columns };
  };
  expect(schema(old)).toEqual(schema(fresh));
});
