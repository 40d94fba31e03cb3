/** Proves: the ledger is durable, refuses what it cannot read, and can be read while it is written. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { openLedger, putSetting, readLedger } from '../../src/spool/ledger.ts';
import { listMessages, unclearMailboxes } from '../../src/spool/reading.ts';
import {
  codeOf,
  hand,
  hashOf,
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

test('every commit is synced: WAL with synchronous FULL', () => {
  const place = makePlace();
  const ledger = openLedger(place.state);
  expect(ledger.get('PRAGMA journal_mode')).toEqual({ journal_mode: 'wal' });
  expect(ledger.get('PRAGMA synchronous')).toEqual({ synchronous: 2 });
  ledger.close();
});

test('a transaction happens as a whole or not at all', () => {
  const place = makePlace();
  const ledger = openLedger(place.state);
  const boom = new Error('boom');
  expect(() =>
    ledger.transaction(() => {
      putSetting(ledger, 'a', '1');
      throw boom;
    }),
  ).toThrow(boom);
  expect(ledger.all('SELECT * FROM setting')).toEqual([]);
  ledger.transaction(() => putSetting(ledger, 'a', '2'));
  ledger.close();
  const again = openLedger(place.state);
  expect(again.get('SELECT value FROM setting')).toEqual({ value: '2' });
  again.close();
});

test('a file that is no ledger is refused and left as it is', () => {
  const place = makePlace();
  const path = join(place.state, 'ledger.db');
  writeFileSync(path, 'this is not a database, but it is long enough to look at '.repeat(20));
  const before = readFileSync(path);
  expect(codeOf(() => openLedger(place.state))).toBe('LEDGER_FAILED');
  expect(readFileSync(path)).toEqual(before);
});

test('a ledger of a newer program is refused with what to do', () => {
  const place = makePlace();
  openLedger(place.state).close();
  const database = new DatabaseSync(join(place.state, 'ledger.db'));
  database.exec('PRAGMA user_version = 99');
  database.close();
  for (const opening of [openLedger, readLedger]) {
    expect(() => opening(place.state)).toThrow(/newer mailwatchd \(schema 99, known 4\): run that version/);
  }
});

test('an error of SQLite is LEDGER_FAILED in its own words, and a full disk is called so', () => {
  const place = makePlace();
  const ledger = openLedger(place.state);
  ledger.transaction(() => ledger.run('CREATE TABLE big (text TEXT)'));
  expect(() => ledger.run('INSERT INTO nowhere VALUES (1)')).toThrow(/no such table: nowhere/);
  ledger.get('PRAGMA max_page_count = 1');
  const fill = () =>
    ledger.transaction(() => ledger.run('INSERT INTO big VALUES (?)', 'x'.repeat(1_000_000)));
  expect(codeOf(fill)).toBe('LEDGER_FAILED');
  expect(fill).toThrow(/no space left on the device/);
  ledger.close();
});

test('when "staged" cannot be committed, the staged files outlive it until a later commit proves that it failed', () => {
  const place = makePlace();
  let full = false;
  const parts = watched(({ name }) => {
    if (full && name === 'commit') throw new MailwatchdError('LEDGER_FAILED');
  });
  const service = open(place, parts);
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 }));
  full = true;
  const refused = staged(place, service, epoch, 1);
  expect(hand(service, refused)).toEqual(['LEDGER_FAILED']);
  expect(Object.keys(tree(service.run.directory))).toHaveLength(1);
  full = false;
  expect(hand(service, staged(place, service, epoch, 1))).toEqual([null]);
  service.flush();
  expect(tree(service.run.directory)).toEqual({});
});

test('"published" marks that cannot be committed stay due', () => {
  const place = makePlace();
  let full = false;
  const service = open(
    place,
    watched(({ name }) => {
      if (full && name === 'commit') throw new MailwatchdError('LEDGER_FAILED');
    }),
  );
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 }));
  hand(service, staged(place, service, epoch, 1));
  full = true;
  expect(codeOf(() => service.flush())).toBe('LEDGER_FAILED');
  full = false;
  service.flush();
  expect([...listMessages(place.state)].map((row) => row.state)).toEqual(['published']);
});

/** A ledger with one message of each state, a minute apart. */
function stocked() {
  const place = makePlace();
  let minute = 0;
  const service = open(place, { now: () => MORNING + minute * 60_000 });
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 }));
  const step = (work: () => void) => {
    minute += 1;
    work();
    service.flush();
  };
  step(() => hand(service, staged(place, service, epoch, 1)));
  step(() => hand(service, poison(epoch, 2)));
  step(() =>
    service.calls.recordUnfetchable(epoch.id, metadata(3), { code: 'MESSAGE_UNFETCHABLE', detail: 'gone?' }),
  );
  step(() => {
    const sales = service.calls.openEpoch({ account: 'sales', folder: 'Entwürfe' }, observation()).epoch;
    hand(service, staged(place, service, sales, 4, { metadata: { messageId: null } }));
  });
  return { place, service, epoch };
}

test('list tells all of a message while the daemon runs, the last handled first', () => {
  const { place } = stocked();
  const rows = [...listMessages(place.state)];
  expect(rows.map(({ uid, state }) => [uid, state])).toEqual([
    [4, 'published'],
    [3, 'unfetchable'],
    [2, 'quarantined'],
    [1, 'published'],
  ]);
  expect(rows[3]).toEqual({
    account: 'support',
    folder: 'INBOX',
    uid: 1,
    id: 'INBOX-1700000000-1',
    state: 'published',
    messageId: 'm1@example.org',
    size: 101,
    sha256: hashOf(1),
    path: 'support/2026/11/20/INBOX-1700000000-1.json',
    receivedAt: MORNING,
    publishedAt: MORNING + 60_000,
    reason: null,
  });
  expect(rows[2]).toMatchObject({
    path: '.quarantine/support/INBOX-1700000000-2.eml',
    publishedAt: null,
    reason: 'PARSE_TIMED_OUT: took 31 s',
  });
  expect(rows[1]).toMatchObject({
    path: null,
    sha256: null,
    size: 103,
    reason: 'MESSAGE_UNFETCHABLE: gone?',
  });
});

test('list keeps to its filters', () => {
  const { place } = stocked();
  const uids = (filter: object) => [...listMessages(place.state, filter)].map(({ uid }) => uid);
  expect(uids({ account: 'support' })).toEqual([3, 2, 1]);
  expect(uids({ folder: 'Entwürfe' })).toEqual([4]);
  expect(uids({ state: 'quarantined' })).toEqual([2]);
  expect(uids({ since: MORNING + 3 * 60_000 })).toEqual([4, 3]);
  expect(uids({ limit: 2 })).toEqual([4, 3]);
  expect(uids({ limit: 0 })).toEqual([]);
  expect(uids({ account: "x' OR 1=1 --" })).toEqual([]);
});

test('the reader ends cleanly when it is left half-way, and sees one state of the ledger', () => {
  const { place, service, epoch } = stocked();
  const rows = listMessages(place.state);
  expect(rows.next().value).toMatchObject({ uid: 4 });
  hand(service, staged(place, service, epoch, 5));
  service.flush();
  expect([...rows].map(({ uid }) => uid)).toEqual([3, 2, 1]);
  expect([...listMessages(place.state, { account: 'support', limit: 1 })]).toMatchObject([{ uid: 5 }]);
});

test('reading works after the daemon has stopped, and where there is no ledger yet', () => {
  const { place, service } = stocked();
  const counts = (account: string, folder: string) => service.calls.counts({ account, folder });
  expect(counts('sales', 'Entwürfe')).toEqual({ quarantined: 0, unfetchable: 0, filtered: 0 });
  expect(counts('support', 'INBOX')).toEqual({ quarantined: 1, unfetchable: 1, filtered: 0 });
  service.stop();
  expect([...listMessages(place.state)]).toHaveLength(4);
  rmSync(join(place.state, 'ledger.db'));
  expect([...listMessages(place.state)]).toEqual([]);
  expect(unclearMailboxes(place.state)).toEqual([]);
  rmSync(place.state, { recursive: true });
  expect(codeOf(() => [...listMessages(place.state)])).toBe('STORAGE_MISSING');
});

test('a published message is listed with the Message-ID of its document, whatever was read in its header before', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  service.calls.recordUnfetchable(epoch.id, metadata(5), { code: 'MESSAGE_UNFETCHABLE' });
  expect(hand(service, staged(place, service, epoch, 5, { metadata: { messageId: null } }))).toEqual([null]);
  service.flush();
  const [row] = [...listMessages(place.state)];
  expect(row).toMatchObject({ uid: 5, state: 'published', messageId: null });
});
