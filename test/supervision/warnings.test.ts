/** What will break is said before it does, neither too late nor all the time, and logged once while it lasts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { forecastDisk, watchDisks } from '../../src/supervision/disks.ts';
import {
  createAnnouncer,
  diskWarnings,
  mailboxWarnings,
  type Prospects,
} from '../../src/supervision/warnings.ts';
import { createManualClock } from '../clock.ts';
import { collectLog } from '../mailbox/harness.ts';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 20, 12);

const warnings = (known: Partial<Prospects>) =>
  mailboxWarnings({ certificate: null, loginEndsAt: null, quota: null, quiet: null, ...known }, NOW).map(
    ({ text }) => text,
  );
/** A certificate of so many days of life, with so many left. */
const certificate = (life: number, left: number) => ({
  certificate: { from: NOW - (life - left) * DAY, until: NOW + left * DAY },
});

test('where nothing is known nothing is warned of', () => expect(warnings({})).toEqual([]));

test.each([
  ['90 days, 22 left', certificate(90, 22), []],
  ['90 days, 20 left', certificate(90, 20), ["the mail server's certificate ends in 20 d (2026-12-10)"]],
  ['6 days, 3 left, as it is renewed then', certificate(6, 3), []],
  ['6 days, 1 left', certificate(6, 1), ["the mail server's certificate ends in 24 h (2026-11-21)"]],
  ['ended under a connection', certificate(90, -1), ["the mail server's certificate ended on 2026-11-19"]],
])('a certificate of %s', (_what, known, said) => expect(warnings(known)).toEqual(said));

test('a login by OAuth2, a quota and a quiet mailbox', () => {
  expect(warnings({ loginEndsAt: NOW + 15 * DAY })).toEqual([]);
  expect(warnings({ loginEndsAt: NOW + 13 * DAY })).toEqual([
    'the login by OAuth2 ends in 13 d (2026-12-03)',
  ]);
  expect(warnings({ quota: { resource: 'storage', used: 899, limit: 1000 } })).toEqual([]);
  expect(warnings({ quota: { resource: 'message', used: 936, limit: 1000 } })).toEqual([
    "93 % of the mailbox's quota (message) is used",
  ]);
  expect(warnings({ quiet: { since: NOW - 5 * DAY, longest: 2.5 * DAY } })).toEqual([
    'no mail for 5 d, before for 2 d at most',
  ]);
});

test('a disk is told of from 90 % on, and where it would be full within a week', () => {
  const disk = (free: number, daysLeft: number | null = null) => ({
    ...{ directory: '/var/spool/mailwatchd', free, size: 1000, daysLeft },
  });
  expect(diskWarnings([disk(101), disk(500, 7.1)])).toEqual([]);
  const { directory } = disk(0);
  expect(diskWarnings([disk(52), disk(500, 6.9)])).toEqual([
    { directory, what: 'disk', text: '94 % of the file system of /var/spool/mailwatchd is used' },
    {
      ...{ directory, what: 'disk' },
      text: '50 % of the file system of /var/spool/mailwatchd is used, and all of it in 6 d, if it fills as in the last day',
    },
  ]);
});

test('how long a disk lasts is told by what became of its free space within a day', () => {
  const clock = createManualClock();
  const lasts = forecastDisk(clock);
  /** What is told after each hour, in which so much is written; at midnight a consumer removes all that it has read. */
  const hours = (count: number, written: number) => {
    const told: (number | null)[] = [];
    for (let hour = 0; hour < count; hour++) {
      clock.advance(3_600_000);
      free -= written;
      told.push(lasts(free));
    }
    return told;
  };
  let free = 1000;
  lasts(free);
  expect(hours(23, 10)).toEqual(Array(23).fill(null));
  // 240 a day, and 760 are left.
  expect(hours(1, 10)).toEqual([3.17]);
  expect(hours(12, 10).at(-1)).toBe(2.67);
  expect(hours(24, 0).at(-1)).toBeNull();
  // As much is removed each night.
  const night = () => {
    const told = hours(24, 10);
    free += 240;
    return told;
  };
  night();
  expect(night()).toEqual(Array(24).fill(null));
});

test('directories are looked at once a minute, and one that is not there is left out', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-disks-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const clock = createManualClock();
  const disks = watchDisks([directory, join(directory, 'absent')], clock);
  expect(disks.figures()).toEqual([]);
  await vi.waitFor(() => expect(disks.figures()).toMatchObject([{ directory }]));
  const [seen] = disks.figures();
  expect(seen!.size).toBeGreaterThan(seen!.free);
  rmSync(directory, { recursive: true });
  clock.advance(59_999);
  expect(disks.figures()).toHaveLength(1);
  clock.advance(1);
  await vi.waitFor(() => expect(disks.figures()).toEqual([]));
});

test('a warning is logged once while it lasts, and again when it comes back', () => {
  const lines: string[] = [];
  const announce = createAnnouncer(collectLog(lines));
  const quota = { what: 'quota' as const, text: 'first' };
  announce('support/INBOX', [quota]);
  announce('support/INBOX', [{ ...quota, text: 'second' }]);
  announce('sales/INBOX', []);
  expect(lines).toEqual(['warn forewarning {"mailbox":"support/INBOX","what":"quota","text":"first"}']);
  announce('support/INBOX', []);
  announce('support/INBOX', [quota]);
  expect(lines).toHaveLength(2);
});

test('a disk is told of in the log though another one has been', () => {
  const lines: string[] = [];
  const announce = createAnnouncer(collectLog(lines));
  const full = (directory: string) => ({ directory, free: 1, size: 1000, daysLeft: null });
  announce(null, diskWarnings([full('/state')]));
  announce(null, diskWarnings([full('/storage'), full('/state')]));
  expect(lines.map((line) => / of (\S+) is used/.exec(line)?.[1])).toEqual(['/state', '/storage']);
});
