/** How mail came to a mailbox, read from rows and blocks alike, and whatever dates it has. */
import { expect, test } from 'vitest';
import { SPAN } from '../../src/spool/block.ts';
import type { Service } from '../../src/spool/service.ts';
import { hand, INBOX, MORNING, makePlace, observation, open, staged, unsyncedFiles, watched } from './rig.ts';

const HOUR = 3_600_000;
const quick = watched(
  () => undefined,
  () => undefined,
  unsyncedFiles,
);

/** Messages at these hours, by UID; `later` is when they are all handled, in hours. */
function stocked(hours: Record<number, number>, later = 1_000) {
  const place = makePlace();
  const service = open(place, { ...quick, now: () => MORNING + later * HOUR });
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 * SPAN }));
  for (const [uid, hour] of Object.entries(hours)) {
    const internalDate = MORNING + hour * HOUR;
    hand(service, staged(place, service, epoch, Number(uid), { metadata: { internalDate } }));
  }
  service.flush();
  return { service, epoch };
}

/** All of the history, in hours since MORNING. */
function rhythm(service: Service) {
  let reading = service.calls.readRhythm(INBOX, null);
  let calls = 1;
  for (; !reading.rhythm.complete; calls++) reading = service.calls.readRhythm(INBOX, reading);
  const { arrivals, firstAt, lastAt, longest } = reading.rhythm;
  const hour = (at: number) => (at - MORNING) / HOUR;
  return { arrivals, first: hour(firstAt), last: hour(lastAt), longest: longest / HOUR, calls };
}

const lastArrival = (service: Service) => (service.calls.lastArrival(INBOX)! - MORNING) / HOUR;

test('nothing is known of a mailbox without mail', () => {
  const { service } = stocked({});
  expect(service.calls.lastArrival(INBOX)).toBeNull();
  expect(rhythm(service)).toMatchObject({ arrivals: 0, longest: 0, calls: 1 });
});

test('the longest time between two arrivals, the same before and after packing', () => {
  const hours = Object.fromEntries(
    [1, 2, SPAN - 1, SPAN, SPAN + 1, 3 * SPAN, 5 * SPAN, 6 * SPAN, 8 * SPAN].map((uid, n) => [uid, n * n]),
  );
  const { service, epoch } = stocked(hours);
  const told = { arrivals: 9, first: 0, last: 64, longest: 15 };
  expect(rhythm(service)).toMatchObject(told);
  expect(lastArrival(service)).toBe(64);
  // A new numbering that has been compared makes it look through all.
  service.calls.markCompared(epoch.id);
  while (service.packer.due()) service.packer.step();
  // Six spans, four at a call: others have their turn in between.
  expect(rhythm(service)).toEqual({ ...told, calls: 2 });
  expect(lastArrival(service)).toBe(64);
});

test('an old message that is moved here is no gap, and one dated into the future hides none', () => {
  const { service } = stocked({ 1: 0, 2: 10, 3: -5_000, 4: 20, 5: 90_000 }, 30);
  expect(rhythm(service)).toMatchObject({ arrivals: 5, first: 0, last: 30, longest: 10 });
  expect(lastArrival(service)).toBe(30);
});

test('what is older than a year is no measure any more', () => {
  const year = 366 * 24;
  const { service } = stocked({ 1: 0, 2: 8_000, 3: 8_100, 4: year + 90 }, year + 100);
  expect(rhythm(service)).toMatchObject({ arrivals: 3, first: 8_000, longest: year + 90 - 8_100 });
});

test('the history goes on over a new UIDVALIDITY', () => {
  const { service } = stocked({ 1: 0, 2: 10 });
  service.calls.openEpoch(INBOX, observation({ uidValidity: '1700000001', uidNext: 1 }));
  expect(rhythm(service)).toMatchObject({ arrivals: 2, last: 10, longest: 10 });
  expect(lastArrival(service)).toBe(10);
});
