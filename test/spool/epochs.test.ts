/** Proves: how a mailbox's epochs begin, go on and change, what `start` means, and how old messages are recognized. */
import { expect, test } from 'vitest';
import { decideEpoch } from '../../src/spool/adopt.ts';
import type { Service } from '../../src/spool/service.ts';
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
  uidsIn,
} from './rig.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const look = (service: Service, change = {}) => service.calls.openEpoch(INBOX, observation(change));

test('the first opening fixes start point, UIDNEXT and time; later ones find them again', () => {
  const place = makePlace();
  const first = open(place);
  const opened = look(first, { uidNext: 41, start: { kind: 'new' } });
  expect(opened).toEqual({
    epoch: {
      id: 1,
      account: 'support',
      folder: 'INBOX',
      label: '1700000000',
      uidValidity: '1700000000',
      openedAt: MORNING,
      firstUidNext: 41,
      start: { kind: 'new' },
      watchedSince: MORNING,
      scannedThrough: 40,
      changedAt: null,
      compared: true,
    },
    hold: null,
    suspects: false,
    warnings: [],
  });
  first.stop();
  expect(look(open(place), { uidNext: 50, at: MORNING + DAY, start: { kind: 'new' } })).toEqual(opened);
});

test('mailboxes are told apart by account and folder', () => {
  const service = open(makePlace());
  const ids = ['INBOX', 'inbox', 'Übrig/es'].flatMap((folder) =>
    ['support', 'sales'].map(
      (account) => service.calls.openEpoch({ account, folder }, observation()).epoch.id,
    ),
  );
  expect(new Set(ids).size).toBe(6);
});

test('another UIDVALIDITY begins an epoch that carries the start point over', () => {
  const service = open(makePlace());
  look(service, { uidNext: 41, start: { kind: 'new' } });
  look(service, { uidNext: 43, start: { kind: 'new' }, at: MORNING + HOUR });
  const { epoch } = look(service, {
    uidValidity: '18',
    uidNext: 7,
    at: MORNING + DAY,
    start: { kind: 'new' },
  });
  expect(epoch).toMatchObject({
    id: 2,
    label: '18',
    openedAt: MORNING + DAY,
    firstUidNext: 7,
    scannedThrough: 6,
    start: { kind: 'new' },
    watchedSince: MORNING,
    changedAt: MORNING + HOUR,
    compared: false,
  });
});

test('UIDNEXT below one that was seen, or below a UID that was handled, begins a generation', () => {
  const service = open(makePlace());
  look(service, { uidNext: 41 });
  look(service, { uidNext: 50 });
  expect(look(service, { uidNext: 50 }).epoch.label).toBe('1700000000');
  expect(look(service, { uidNext: 49 }).epoch.label).toBe('1700000000.2');
  service.calls.recordUnfetchable(2, metadata(60), { code: 'MESSAGE_UNFETCHABLE' });
  expect(look(service, { uidNext: 61 }).epoch.label).toBe('1700000000.2');
  service.calls.recordUnfetchable(2, metadata(61), { code: 'MESSAGE_UNFETCHABLE' });
  expect(look(service, { uidNext: 61 }).epoch.label).toBe('1700000000.3');
  expect(look(service, { uidNext: 0 }).epoch.label).toBe('1700000000.3');
});

test('a UIDVALIDITY that comes back is a new epoch: its UIDs may be others', () => {
  const service = open(makePlace());
  const labels = ['17', '18', '17', '17', '18'].map(
    (uidValidity) => look(service, { uidValidity }).epoch.label,
  );
  expect(labels).toEqual(['17', '18', '17.2', '17.2', '18.2']);
});

test.each([-1, 1.5, Number.NaN, 2 ** 32 + 1])('UIDNEXT %d is refused', (uidNext) => {
  expect(codeOf(() => look(open(makePlace()), { uidNext }))).toBe('SERVER_PROTOCOL');
});

test('where the server tells no UIDNEXT, an epoch begins after the highest UID, which may sink', () => {
  const service = open(makePlace());
  const opened = look(service, { uidNext: 0, highestUid: 40 }).epoch;
  expect(opened).toMatchObject({ firstUidNext: 41, scannedThrough: 40 });
  expect(look(service, { uidNext: 0, highestUid: 30 }).epoch).toEqual(opened);
  expect(look(service, { uidNext: 0 }).epoch).toEqual(opened);
  expect(look(service, { uidNext: 0, uidValidity: '18' }).epoch).toMatchObject({
    firstUidNext: 1,
    scannedThrough: 0,
  });
});

test.each(['', '-1', '1e3', '../x', '1'.repeat(21)])('UIDVALIDITY %j is refused', (uidValidity) => {
  expect(codeOf(() => look(open(makePlace()), { uidValidity }))).toBe('SERVER_PROTOCOL');
});

const NEW = { kind: 'new' } as const;
const ALL = { kind: 'all' } as const;
const date = (at: number) => ({ kind: 'date', at }) as const;

test.each([
  ['new → all', NEW, ALL, ALL, false],
  ['new → an earlier date', NEW, date(MORNING - DAY), date(MORNING - DAY), false],
  ['new → a later date', NEW, date(MORNING + DAY), NEW, true],
  ['date → an earlier date', date(MORNING - DAY), date(MORNING - 2 * DAY), date(MORNING - 2 * DAY), false],
  ['date → a later date', date(MORNING - 2 * DAY), date(MORNING - DAY), date(MORNING - 2 * DAY), true],
  ['date → new', date(MORNING - DAY), NEW, date(MORNING - DAY), true],
  ['all → new', ALL, NEW, ALL, true],
  ['unchanged', date(MORNING - DAY), date(MORNING - DAY), date(MORNING - DAY), false],
])('start moves %s', (_, before, after, inForce, warned) => {
  const place = makePlace();
  const service = open(place);
  look(service, { start: before });
  const opened = look(service, { start: after, at: MORNING + HOUR });
  expect(opened.epoch.start).toEqual(inForce);
  expect(opened.warnings).toHaveLength(warned ? 1 : 0);
  // Said once a run, in force for good.
  const again = look(service, { start: after, at: MORNING + 2 * HOUR });
  expect([again.epoch.start, again.warnings]).toEqual([inForce, []]);
  expect(look(service, { start: after, uidValidity: '18' }).epoch.start).toEqual(inForce);
  service.stop();
  expect(look(open(place), { start: after, uidValidity: '18' }).warnings).toHaveLength(warned ? 1 : 0);
});

/** A mailbox with published messages 1 to 4 under one UIDVALIDITY, then reopened under another. */
function changed(messages = [1, 2, 3, 4]) {
  const place = makePlace();
  const service = open(place);
  const old = look(service, { uidNext: 10 }).epoch;
  hand(service, ...messages.map((uid) => staged(place, service, old, uid, { change: { after: uid === 4 } })));
  service.flush();
  const fresh = look(service, { uidValidity: '18', uidNext: 100, at: MORNING + DAY }).epoch;
  return { place, service, old, fresh };
}

test('changedAt is not before the newest INTERNALDATE that is known, by the server’s clock', () => {
  const place = makePlace();
  const service = open(place);
  const old = look(service, { uidNext: 10 }).epoch;
  const ahead = { internalDate: MORNING + 10 * 60_000 };
  const absurd = { internalDate: MORNING + 1000 * DAY };
  hand(
    service,
    staged(place, service, old, 1, { metadata: ahead }),
    staged(place, service, old, 2, { metadata: absurd }),
  );
  service.flush();
  expect(look(service, { uidValidity: '18', at: MORNING + DAY }).epoch.changedAt).toBe(
    MORNING + 10 * 60_000 + 1,
  );
});

/** The message that was `uid`, under its new UID. */
const moved = (uid: number, change = {}) => metadata(uid, { uid: uid + 50, ...change });

test('messages are recognized by Message-ID and size, each earlier one once', () => {
  const { service, fresh } = changed();
  const other = metadata(9);
  expect(service.calls.matchEarlier(fresh.id, [moved(1), moved(2), other])).toEqual({
    matched: [51, 52],
    ambiguous: [],
    unmatched: [9],
  });
  expect(service.calls.matchEarlier(fresh.id, [metadata(1, { uid: 71 }), moved(3, { size: 5 })])).toEqual({
    matched: [],
    ambiguous: [],
    unmatched: [71, 53],
  });
  // Asked again, as after a lost connection.
  expect(service.calls.matchEarlier(fresh.id, [moved(1), moved(2)]).matched).toEqual([51, 52]);
  const options = { messageBytes: 1e6, retryUnfetchable: false };
  expect(uidsIn(service.calls.handled(fresh.id, 1, 99, options))).toEqual([51, 52]);
});

test('what Message-ID and size cannot decide, the bytes do', () => {
  const { service, fresh } = changed();
  const twice = [metadata(1, { uid: 61 }), metadata(1, { uid: 62 })];
  const nameless = metadata(2, { uid: 63, messageId: null });
  expect(service.calls.matchEarlier(fresh.id, [...twice, nameless])).toEqual({
    matched: [],
    ambiguous: [61, 62, 63],
    unmatched: [],
  });
  expect(service.calls.matchByHash(fresh.id, twice[0]!, hashOf(1))).toBe(true);
  expect(service.calls.matchByHash(fresh.id, twice[1]!, hashOf(1))).toBe(false);
  expect(service.calls.matchByHash(fresh.id, nameless, hashOf(2))).toBe(true);
  expect(service.calls.matchByHash(fresh.id, nameless, hashOf(2))).toBe(true);
  expect(service.calls.matchByHash(fresh.id, metadata(8), hashOf(8))).toBe(false);
});

test('several earlier messages of one Message-ID and size: the same bytes match, others are ambiguous', () => {
  const place = makePlace();
  const service = open(place);
  const old = look(service, { uidNext: 10 }).epoch;
  const same = { messageId: 'twice@example.org', size: 7 };
  const copy = (uid: number, sha256: string) => {
    const arrival = staged(place, service, old, uid, { metadata: same });
    if (arrival.kind === 'document') arrival.item.staged.sha256 = sha256;
    return arrival;
  };
  hand(service, copy(1, hashOf(1)), copy(2, hashOf(1)));
  service.flush();
  const fresh = look(service, { uidValidity: '18', uidNext: 100 }).epoch;
  expect(service.calls.matchEarlier(fresh.id, [metadata(51, same)]).matched).toEqual([51]);
  expect(service.calls.matchEarlier(fresh.id, [metadata(52, same)]).matched).toEqual([52]);
  expect(service.calls.matchEarlier(fresh.id, [metadata(53, same)]).unmatched).toEqual([53]);
  hand(
    service,
    ...[3, 4].map((uid) => {
      const arrival = staged(place, service, fresh, uid, { metadata: same });
      if (arrival.kind === 'document') arrival.item.staged.sha256 = hashOf(uid);
      return arrival;
    }),
  );
  service.flush();
  const third = look(service, { uidValidity: '19', uidNext: 100 }).epoch;
  expect(service.calls.matchEarlier(third.id, [metadata(51, same)]).ambiguous).toEqual([51]);
});

test('an earlier message without Message-ID may be a candidate of its size', () => {
  const place = makePlace();
  const service = open(place);
  const old = look(service, { uidNext: 10 }).epoch;
  hand(service, staged(place, service, old, 1, { metadata: { messageId: 'x'.repeat(2_000), size: 7 } }));
  service.flush();
  const fresh = look(service, { uidValidity: '18', uidNext: 100 }).epoch;
  expect(
    service.calls.matchEarlier(fresh.id, [metadata(51, { size: 7 }), metadata(52, { size: 8 })]),
  ).toEqual({
    matched: [],
    ambiguous: [51],
    unmatched: [52],
  });
});

test('a chain of epochs: only the latest link can be claimed, and mail that came twice stays twice', () => {
  const { place, service, fresh } = changed([1]);
  expect(service.calls.matchEarlier(fresh.id, [moved(1)]).matched).toEqual([51]);
  // The same mail once more under the second UIDVALIDITY: never compared within its epoch.
  hand(service, staged(place, service, fresh, 60, { metadata: { ...metadata(1), uid: 60 } }));
  service.flush();
  const third = look(service, { uidValidity: '19', uidNext: 100, at: MORNING + 2 * DAY }).epoch;
  const candidates = [71, 72, 73].map((uid) => metadata(1, { uid }));
  expect(service.calls.matchEarlier(third.id, candidates).ambiguous).toEqual([71, 72, 73]);
  // 51 was carried, 60 came by itself: two links, so the third candidate is new mail.
  const hashes = [hashOf(1), hashOf(60), hashOf(1)];
  const verdicts = candidates.map((one, index) => service.calls.matchByHash(third.id, one, hashes[index]!));
  expect(verdicts).toEqual([true, true, false]);
});

test('quarantined messages count as known, and those of another mailbox never do', () => {
  const place = makePlace();
  const service = open(place);
  const old = look(service, { uidNext: 10 }).epoch;
  const elsewhere = service.calls.openEpoch({ account: 'sales', folder: 'INBOX' }, observation()).epoch;
  hand(service, poison(old, 1), staged(place, service, elsewhere, 2));
  service.flush();
  const fresh = look(service, { uidValidity: '18', uidNext: 100 }).epoch;
  expect(service.calls.matchEarlier(fresh.id, [moved(1), moved(2)])).toEqual({
    matched: [51],
    ambiguous: [],
    unmatched: [52],
  });
});

test('an after-action that is owed goes over to the new UID', () => {
  const { service, old, fresh } = changed();
  expect(service.calls.owedAfterActions(old.id, 10)).toEqual([4]);
  service.calls.matchEarlier(fresh.id, [moved(4), moved(1)]);
  expect(service.calls.owedAfterActions(old.id, 10)).toEqual([]);
  expect(service.calls.owedAfterActions(fresh.id, 10)).toEqual([54]);
});

test('owed after-actions come ascending, bounded, and only once published', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = look(service, { uidNext: 10 });
  const owing = { change: { after: true } };
  hand(service, ...[3, 1, 2].map((uid) => staged(place, service, epoch, uid, owing)), poison(epoch, 4));
  service.flush();
  expect(service.calls.owedAfterActions(epoch.id, 2)).toEqual([1, 2]);
});

test('a mailbox holds until the operator decides: publish', () => {
  const { place, service, fresh } = changed();
  service.calls.holdEpoch(fresh.id, 101);
  const again = () => look(service, { uidValidity: '18', uidNext: 100, at: MORNING + DAY });
  expect(again().hold).toBe('EPOCH_UNCLEAR');
  decideEpoch(place.state, INBOX, 'publish');
  expect(again()).toMatchObject({ hold: null, epoch: { compared: true, start: { kind: 'all' } } });
  expect(codeOf(() => decideEpoch(place.state, INBOX, 'publish'))).toBe('UNKNOWN_MESSAGE');
  expect(codeOf(() => decideEpoch(place.state, { account: 'nobody', folder: 'x' }, 'skip'))).toBe(
    'UNKNOWN_MESSAGE',
  );
});

test('a mailbox holds until the operator decides: skip, which the unchanged configuration does not undo', () => {
  const { place, service, fresh } = changed();
  service.calls.holdEpoch(fresh.id, 101);
  decideEpoch(place.state, INBOX, 'skip');
  const opened = look(service, { uidValidity: '18', uidNext: 100, at: MORNING + 2 * DAY });
  const since = fresh.changedAt as number;
  expect(opened).toMatchObject({
    hold: null,
    warnings: [],
    epoch: { compared: true, start: { kind: 'date', at: since }, watchedSince: since },
  });
});

test('compared is remembered', () => {
  const { service, fresh } = changed();
  expect(fresh.compared).toBe(false);
  service.calls.markCompared(fresh.id);
  expect(look(service, { uidValidity: '18', uidNext: 100 }).epoch.compared).toBe(true);
});

test('after an unclean end the mailboxes that were there have suspects until they are through', () => {
  const place = makePlace();
  const first = open(place);
  look(first, { uidNext: 10 });
  expect(first.run.unclean).toBe(false);
  // No stop: it died.
  const second = open(place);
  expect(second.run.unclean).toBe(true);
  const suspects = () => look(second, { uidNext: 20 }).suspects;
  expect([suspects(), suspects()]).toEqual([true, true]);
  const other = second.calls.openEpoch({ account: 'sales', folder: 'INBOX' }, observation());
  expect(other.suspects).toBe(false);
  second.batch([], [{ kind: 'advance', epochId: 1, scannedThrough: 18 }]);
  expect(suspects()).toBe(true);
  second.batch([], [{ kind: 'advance', epochId: 1, scannedThrough: 19 }]);
  expect(suspects()).toBe(false);
  second.stop();
  const third = open(place);
  expect([third.run.unclean, look(third, { uidNext: 20 }).suspects]).toEqual([false, false]);
});

test('only deaths of a run that had the message alone in work are counted', () => {
  const place = makePlace();
  let service = open(place);
  const { epoch } = look(service, { uidNext: 10 });
  const die = () => {
    service = open(place);
  };
  const attempt = (uid: number) => service.calls.beginAlone(epoch.id, uid);
  expect(attempt(5)).toBe(0);
  die();
  expect(attempt(5)).toBe(1);
  expect(attempt(5)).toBe(1);
  // Another one alone: 5 is not in work any more.
  expect(attempt(6)).toBe(0);
  die();
  expect([attempt(5), attempt(6)]).toEqual([1, 1]);
  // A clean stop clears without counting.
  service.stop();
  die();
  expect(attempt(6)).toBe(1);
  // A new opening: the connection that fetched it is gone.
  look(service, { uidNext: 10 });
  die();
  expect(attempt(6)).toBe(1);
  // A third death after it was begun again.
  die();
  expect(attempt(6)).toBe(2);
  // Staged: it got through.
  hand(service, staged(place, service, epoch, 6));
  die();
  expect(attempt(6)).toBe(0);
});

test('a message that was refused for the storage is not in work while its mailbox holds', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = look(service, { uidNext: 10 });
  service.calls.beginAlone(epoch.id, 5);
  const arrival = staged(place, service, epoch, 5);
  if (arrival.kind === 'document') arrival.item.target.stem += '-gone';
  expect(hand(service, arrival)).toEqual(['STAGED_MISSING']);
  const second = open(place);
  expect(second.calls.beginAlone(epoch.id, 5)).toBe(0);
  // Or before it came to the handoff, as its caller tells.
  second.calls.endAlone(epoch.id, 5);
  expect(open(place).calls.beginAlone(epoch.id, 5)).toBe(0);
});
