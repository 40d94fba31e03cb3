/** A mailbox that is quieter than it ever was is warned of, by its own measure. */
import { expect, test } from 'vitest';
import { createHarness, mail, RECONCILE_MS } from './harness.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** 30 days, a message each hour from 8 to 18 on weekdays, 62 hours between them; ends on a Friday, `quietFor` before `now`. */
function officeHours(now: number, quietFor: number): number[] {
  const end = now - quietFor;
  return Array.from({ length: 30 * 24 }, (_, hour) => 30 * 24 - 1 - hour)
    .filter((hoursAgo) => hoursAgo % 24 <= 10 && Math.floor(hoursAgo / 24) % 7 <= 4)
    .map((hoursAgo) => end - hoursAgo * HOUR);
}

test.each([
  ['a weekend, which it knows', officeHours, 2.5 * DAY, false],
  ['a week, which it does not', officeHours, 7 * DAY, true],
  [
    'a week, with little history',
    (now: number, quiet: number) => [now - quiet - 30 * DAY, now - quiet],
    7 * DAY,
    false,
  ],
  [
    'a week, after one busy day',
    (now: number, quiet: number) => Array.from({ length: 24 }, (_, hour) => now - quiet - (23 - hour) * HOUR),
    7 * DAY,
    false,
  ],
  [
    'half an hour, after a message each minute for ten days',
    (now: number, quiet: number) =>
      Array.from({ length: 14_400 }, (_, n) => now - quiet - (14_399 - n) * 60_000),
    HOUR / 2,
    false,
  ],
])('quiet for %s', async (_what, history, quietFor, isTold) => {
  await using harness = await createHarness();
  const { ledger, clock } = harness;
  ledger.history = history(clock.now(), quietFor);
  await harness.watch();
  const { quiet, healthy, reason } = await harness.idle();
  expect(quiet !== null).toBe(isTold);
  expect({ healthy, reason }).toEqual({ healthy: true, reason: null });
  if (isTold) expect(quiet).toMatchObject({ since: ledger.history.at(-1) });
});

test('it is noticed at a reconciliation, and over with the next message', async () => {
  await using harness = await createHarness();
  const { server, ledger, clock } = harness;
  ledger.history = officeHours(clock.now(), 1.5 * 62 * HOUR - RECONCILE_MS / 2);
  await harness.watch();
  await server.idle();
  const before = harness.report().quiet;
  clock.advance(RECONCILE_MS);
  await harness.until(({ quiet }) => quiet !== null);
  expect(before).toBeNull();
  await server.idle();
  server.deliver('INBOX', mail('at last'));
  await harness.until(({ stored }) => stored === 1);
  expect(harness.report().quiet).toBeNull();
});
