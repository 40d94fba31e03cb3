/** Proves: what a rule leaves out is handled for good, known again, listed with its rule, and gives way to nothing but a new verdict. */
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { decideEpoch, requestJudging, requestReplays } from '../../src/spool/adopt.ts';
import { SPAN } from '../../src/spool/block.ts';
import { openLedger } from '../../src/spool/ledger.ts';
import { listMessages } from '../../src/spool/reading.ts';
import type { Service } from '../../src/spool/service.ts';
import {
  hand,
  INBOX,
  leftOut,
  makePlace,
  metadata,
  observation,
  open,
  type Place,
  poison,
  staged,
  tree,
  uidsIn,
} from './rig.ts';

const ALL = { messageBytes: 1e6, retryUnfetchable: true };
const listed = (state: string) =>
  [...listMessages(state)].map(({ uid, state, reason }) => [uid, state, reason]);

test('it is handled, counted and listed with its rule, and comes in one commit with what rides beside it', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  const advance = { kind: 'advance' as const, epochId: epoch.id, scannedThrough: 3 };
  const { answers, ledger } = service.batch(
    [staged(place, service, epoch, 1)],
    [leftOut(epoch, 2), leftOut(epoch, 3, { rule: 'no rule of only' }), advance],
  );
  expect([answers, ledger]).toEqual([[null], null]);
  service.flush();
  expect(uidsIn(service.calls.handled(epoch.id, 1, 9, ALL))).toEqual([1, 2, 3]);
  expect(service.calls.counts(INBOX).filtered).toBe(2);
  // No clean stop: what was answered is committed.
  const again = open(place);
  expect(again.calls.openEpoch(INBOX, observation({ uidNext: 4 })).epoch.scannedThrough).toBe(3);
  expect(listed(place.state)).toEqual([
    [3, 'filtered', 'no rule of only'],
    [2, 'filtered', 'newsletters'],
    [1, 'published', null],
  ]);
  expect(again.calls.counts(INBOX).filtered).toBe(2);
});

test('it owes the server nothing', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  service.batch([staged(place, service, epoch, 1, { change: { after: true } })], [leftOut(epoch, 2)]);
  service.flush();
  expect(service.calls.owedAfterActions(epoch.id, 9)).toEqual([1]);
});

test('what was published or quarantined stays so', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  hand(service, staged(place, service, epoch, 1), poison(epoch, 2));
  service.batch([], [leftOut(epoch, 1), leftOut(epoch, 2)]);
  expect(listed(place.state).map(([, state]) => state)).toEqual(['quarantined', 'published']);
});

test('one that lay in quarantine for its size alone leaves it', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  const error = { code: 'MESSAGE_TOO_LARGE' };
  hand(service, poison(epoch, 1, { complete: false, sha256: null, error }));
  service.flush();
  expect(Object.keys(tree(`${place.storage}/.quarantine`))).toHaveLength(2);
  service.batch([], [leftOut(epoch, 1)]);
  expect(Object.keys(tree(`${place.storage}/.quarantine`))).toEqual([]);
  expect(listed(place.state)).toEqual([[1, 'filtered', 'newsletters']]);
});

test('where that cannot be committed, it is asked for again and leaves the next time', () => {
  const place = makePlace();
  let full = false;
  const service = open(place, {
    openLedger(directory) {
      const ledger = openLedger(directory);
      const transaction: typeof ledger.transaction = (work) =>
        ledger.transaction(() => {
          const result = work();
          if (full) throw new MailwatchdError('LEDGER_FAILED');
          return result;
        });
      return { ...ledger, transaction };
    },
  });
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  hand(service, poison(epoch, 1, { complete: false, sha256: null, error: { code: 'MESSAGE_TOO_LARGE' } }));
  service.flush();
  full = true;
  expect(service.batch([], [leftOut(epoch, 1)]).ledger).toMatchObject({ code: 'LEDGER_FAILED' });
  full = false;
  expect(listed(place.state)).toEqual([[1, 'quarantined', expect.anything()]]);
  expect(uidsIn(service.calls.handled(epoch.id, 1, 9, ALL))).toEqual([]);
  service.batch([], [leftOut(epoch, 1)]);
  expect(listed(place.state)).toEqual([[1, 'filtered', 'newsletters']]);
  expect(Object.keys(tree(`${place.storage}/.quarantine`))).toEqual([]);
});

test('under a new UIDVALIDITY it is known again, by name or by bytes, and stays left out', () => {
  const place = makePlace();
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  const sha256 = 'ab'.repeat(32);
  service.batch([], [leftOut(epoch, 1), leftOut(epoch, 2, { messageId: null, sha256, size: 102 })]);
  const later = observation({ uidValidity: '1800000000', uidNext: 20 });
  const next = service.calls.openEpoch(INBOX, later).epoch;
  const candidates = [
    metadata(11, { messageId: 'm1@example.org', size: 101 }),
    metadata(12, { messageId: null, size: 102 }),
  ];
  expect(service.calls.matchEarlier(next.id, candidates)).toMatchObject({ matched: [11], ambiguous: [12] });
  expect(service.calls.matchByHash(next.id, candidates[1]!, sha256)).toBe(true);
  const filtered = [...listMessages(place.state, { state: 'filtered' })].filter(({ uid }) => uid > 10);
  expect(filtered.map(({ uid, reason }) => [uid, reason])).toEqual([
    [12, 'newsletters'],
    [11, 'newsletters'],
  ]);
  // Each message counts once.
  expect(service.calls.counts(INBOX).filtered).toBe(2);
});

/** A mailbox of one message published, three left out, of which two are packed. */
function withFiltered() {
  const place = makePlace();
  const first = open(place);
  const { epoch } = first.calls.openEpoch(INBOX, observation({ uidNext: 2 * SPAN }));
  first.batch([staged(place, first, epoch, 1)], [leftOut(epoch, 2), leftOut(epoch, 3), leftOut(epoch, SPAN)]);
  first.stop();
  const service = open(place);
  while (service.packer.due()) service.packer.step();
  return { place, service, epoch };
}

test('a request to judge anew makes them unhandled, packed ones too, until there is a verdict', () => {
  const { place, service, epoch } = withFiltered();
  expect(service.calls.mailboxesToJudge()).toEqual([]);
  expect(requestJudging(place.state, 5)).toBe(3);
  expect(requestJudging(place.state, 6)).toBe(3);
  expect(service.changedOutside()).toBe(true);
  expect(service.calls.mailboxesToJudge()).toEqual([INBOX]);
  expect(service.calls.toJudgeAnew(epoch.id)).toEqual([2, 3, SPAN]);
  expect(uidsIn(service.calls.handled(epoch.id, 1, 2 * SPAN, ALL))).toEqual([1]);
  // No parser has anything to do with them, and nothing is forgotten meanwhile.
  expect(service.calls.pendingReplays()).toEqual([]);
  expect(service.calls.counts(INBOX).filtered).toBe(3);

  service.batch([staged(place, service, epoch, 2)], [leftOut(epoch, 3, { rule: 'another' })]);
  service.calls.recordGone(epoch.id, [SPAN]);
  service.flush();
  expect(service.calls.toJudgeAnew(epoch.id)).toEqual([]);
  expect(uidsIn(service.calls.handled(epoch.id, 1, 2 * SPAN, ALL))).toEqual([1, 2, 3, SPAN]);
  const now = new Map(listed(place.state).map(([uid, ...rest]) => [uid, rest]));
  expect(now.get(2)).toEqual(['published', null]);
  expect(now.get(3)).toEqual(['filtered', 'another']);
  expect(now.get(SPAN)).toEqual(['filtered', 'newsletters']);
  expect(service.calls.counts(INBOX).filtered).toBe(2);
});

test('a request outlives a crash between judging and committing, and nothing comes twice', () => {
  const { place, service, epoch } = withFiltered();
  requestJudging(place.state, 5);
  hand(service, staged(place, service, epoch, 2));
  // "published" is not committed: the next start settles it.
  const again = open(place);
  expect(again.calls.toJudgeAnew(epoch.id)).toEqual([3, SPAN]);
  expect(hand(again, staged(place, again, epoch, 2))).toEqual([null]);
  again.flush();
  expect(listed(place.state).filter(([uid]) => uid === 2)).toEqual([[2, 'published', null]]);
});

test('a request follows its message under a new UIDVALIDITY', () => {
  const { place, service } = withFiltered();
  requestJudging(place.state, 5);
  const later = observation({ uidValidity: '1800000000', uidNext: 20 });
  const next = service.calls.openEpoch(INBOX, later).epoch;
  const again = metadata(12, { messageId: 'm2@example.org', size: 102 });
  expect(service.calls.matchEarlier(next.id, [again]).matched).toEqual([12]);
  expect(service.calls.toJudgeAnew(next.id)).toEqual([12]);
  expect(uidsIn(service.calls.handled(next.id, 1, 20, ALL))).toEqual([]);
  service.batch([], [leftOut(next, 12, { rule: 'another' })]);
  expect(service.calls.toJudgeAnew(next.id)).toEqual([]);
});

test.each<[string, (place: Place, service: Service, epoch: number) => void]>([
  ['it has been compared', (_, service, epoch) => service.calls.markCompared(epoch)],
  ['the operator has decided', ({ state }) => decideEpoch(state, INBOX, 'skip')],
])('what a new UIDVALIDITY does not know again is asked for no longer once %s', (_, end) => {
  const { place, service } = withFiltered();
  requestJudging(place.state, 5);
  const next = service.calls.openEpoch(INBOX, observation({ uidValidity: '1800000000', uidNext: 20 })).epoch;
  service.calls.holdEpoch(next.id, 101);
  expect(service.calls.mailboxesToJudge()).toEqual([INBOX]);
  end(place, service, next.id);
  expect(service.calls.mailboxesToJudge()).toEqual([]);
  expect(requestJudging(place.state, 6)).toBe(0);
});

test('one alone cannot be replayed: its rule stands against it', () => {
  const { place } = withFiltered();
  expect(requestReplays(place.state, ['INBOX-1700000000-2'], { again: true, now: 5 })).toEqual([
    { name: 'INBOX-1700000000-2', error: expect.objectContaining({ code: 'SOURCE_MISSING' }) },
  ]);
});
