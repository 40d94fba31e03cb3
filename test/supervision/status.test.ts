/** What the daemon tells of itself reaches its readers: at changes, whole, and never as fresh when it is not. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Lock, takeLock } from '../../src/supervision/lock.ts';
import {
  type DaemonStatus,
  type MailboxStatus,
  mailboxLine,
  openStatusFile,
  readStatus,
  type StatusFile,
  unhealthy,
} from '../../src/supervision/status.ts';
import { createManualClock } from '../clock.ts';

let directory: string;
let lock: Lock | null = null;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'mailwatchd-status-'));
});

afterEach(() => {
  lock?.release();
  lock = null;
  rmSync(directory, { recursive: true, force: true });
});

const mailbox = (more: Partial<MailboxStatus> = {}): MailboxStatus => ({
  account: 'support',
  folder: 'INBOX',
  state: 'idle',
  healthy: true,
  reason: null,
  since: '2026-11-20T10:00:00.000Z',
  lastHeardAt: null,
  worstDelay: null,
  lastPublishedAt: null,
  expected: 0,
  stored: 0,
  missing: 0,
  quarantined: 0,
  filtered: 0,
  ...more,
});

const running = (mailboxes: MailboxStatus[] = [mailbox()]): DaemonStatus => ({
  state: 'RUNNING',
  pid: 42,
  version: '0.1.0',
  startedAt: '2026-11-20T10:00:00.000Z',
  mailboxes,
});

/** A status file whose writes are told of, with the expected number of the snapshots taken. */
function writer(clock = createManualClock()) {
  let snapshots = 0;
  const errors: unknown[] = [];
  const file = openStatusFile({
    directory,
    clock,
    snapshot: () => running([mailbox({ expected: ++snapshots })]),
    onError: (error) => errors.push(error),
  });
  const written = () =>
    (JSON.parse(readFileSync(join(directory, 'status.json'), 'utf8')) as DaemonStatus).mailboxes[0]?.expected;
  return {
    clock,
    file,
    errors,
    snapshots: () => snapshots,
    wrote: (n: number) => vi.waitFor(() => expect(written()).toBe(n)),
  };
}

test('it is written at once, every 10 s, and a last time at the end', async () => {
  const { clock, file, wrote, snapshots } = writer();
  await wrote(1);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  clock.advance(9_999);
  expect(snapshots()).toBe(1);
  clock.advance(1);
  await wrote(2);
  await file.close();
  await wrote(3);
  expect(clock.timers().length).toBe(0);
  expect(readdirSync(directory).toSorted()).toEqual(['mailboxes', 'status.json']);
});

test('changes are written once a second, however many they are', async () => {
  const { clock, file, wrote, snapshots } = writer();
  await wrote(1);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  for (let change = 0; change < 100; change++) file.changed();
  clock.advance(999);
  expect(snapshots()).toBe(1);
  clock.advance(1);
  await wrote(2);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  clock.advance(5_000);
  file.changed();
  clock.advance(0);
  await wrote(3);
  await file.close();
});

test.each([0, 1, 300])('both files tell of all of %s mailboxes', async (count) => {
  const mailboxes = Array.from({ length: count }, (_, number) => mailbox({ folder: `Entwürfe ${number}` }));
  const status = running(mailboxes);
  const file = openStatusFile({
    directory,
    clock: createManualClock(),
    snapshot: () => ({ ...status, mailboxes: mailboxes.values() }),
    onError: expect.unreachable,
  });
  await file.written();
  await file.close();
  expect(JSON.parse(readFileSync(join(directory, 'status.json'), 'utf8'))).toEqual(status);
  expect(readFileSync(join(directory, 'mailboxes'), 'utf8')).toBe(mailboxes.map(mailboxLine).join(''));
});

test('of mailboxes that are given again and others the files tell what is true now, in their order', async () => {
  const told = async (file: StatusFile, mailboxes: MailboxStatus[]) => {
    shown = mailboxes;
    await file.written();
    expect(JSON.parse(readFileSync(join(directory, 'status.json'), 'utf8'))).toEqual(running(mailboxes));
    expect(readFileSync(join(directory, 'mailboxes'), 'utf8')).toBe(mailboxes.map(mailboxLine).join(''));
  };
  const [one, other] = [mailbox({ folder: 'INBOX' }), mailbox({ folder: 'Sent' })];
  let shown = [one, other];
  const file = openStatusFile({
    directory,
    clock: createManualClock(),
    snapshot: () => running(shown),
    onError: expect.unreachable,
  });
  await told(file, [one, other]);
  await told(file, [other, one]);
  await told(file, [{ ...other, healthy: false, reason: 'TLS_FAILED: expired' }, one]);
  await told(file, [one]);
  await file.close();
});

test('a change during a write is not lost', async () => {
  const { clock, file, wrote } = writer();
  file.changed();
  await wrote(1);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  clock.advance(1_000);
  await wrote(2);
  await file.close();
});

test('failing writes are told once, leave nothing behind and are tried again', async () => {
  mkdirSync(join(directory, 'status.json'));
  const { clock, file, errors, wrote } = writer();
  await vi.waitFor(() => expect(errors).toHaveLength(1));
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  clock.advance(10_000);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  expect(errors).toHaveLength(1);
  expect(readdirSync(directory)).toEqual(['status.json']);
  rmSync(join(directory, 'status.json'), { recursive: true });
  clock.advance(10_000);
  await wrote(3);
  await file.close();
});

test('mailboxes has a line each, whatever a folder is called', () => {
  const lines = [
    mailbox(),
    mailbox({ folder: 'Entwürfe\tx\ny\x1b[31m', healthy: false, reason: 'two\nlines\tand a tab' }),
  ]
    .map(mailboxLine)
    .join('');
  const rows = lines.split('\n').map((line) => line.split('\t'));
  expect(rows.map(([, health]) => health)).toEqual(['ok', 'failing', undefined]);
  expect(rows.map((row) => row.length)).toEqual([3, 3, 1]);
  expect(rows[1]?.[0]).toMatch(/^support\/Entwürfe/);
  expect(lines).not.toContain('\x1b');
});

test('a warning makes no mailbox fail: its line is ok, with the warning as its reason', () => {
  const warnings = [
    { what: 'quota' as const, text: '93 % of the quota' },
    { what: 'quiet' as const, text: 'no mail\nfor 5 d' },
  ];
  const well = mailbox({ warnings, reason: 'CONNECTION_LOST: a moment ago' });
  const ill = mailbox({ folder: 'A', warnings, healthy: false, reason: 'AUTH_FAILED: no' });
  expect([well, ill].map(mailboxLine)).toEqual([
    'support/INBOX\tok\twarning: 93 % of the quota; no mail\\nfor 5 d\n',
    'support/A\tfailing\tAUTH_FAILED: no\n',
  ]);
  expect(unhealthy(running([well, ill])).map(({ mailbox: name }) => name)).toEqual(['support/A']);
});

test('DOWN while nobody has the lock, whatever the file says', async () => {
  const clock = createManualClock(Date.now());
  writeFileSync(join(directory, 'status.json'), JSON.stringify(running()));
  const { status, reason } = await readStatus(directory, [], clock);
  expect(status).toEqual({ state: 'DOWN', pid: null, version: null, startedAt: null, mailboxes: [] });
  expect(reason).toContain('no daemon');
});

test('the daemon’s own words while they are fresh; UNKNOWN once they are older than 30 s', async () => {
  lock = await takeLock(directory);
  const clock = createManualClock();
  const file = join(directory, 'status.json');
  writeFileSync(file, JSON.stringify(running()));
  utimesSync(file, clock.now() / 1000, clock.now() / 1000);
  clock.advance(30_000);
  expect(await readStatus(directory, [], clock)).toEqual({ status: running(), reason: null });
  clock.advance(1);
  const { status, reason } = await readStatus(directory, [], clock);
  expect(status).toEqual({ ...running(), state: 'UNKNOWN' });
  expect(reason).toContain('30 s');
});

test.each([
  ['absent', null],
  ['damaged', '{"mailboxes":'],
  ['something else', 'null'],
])('UNKNOWN while the file is %s', async (_what, content) => {
  lock = await takeLock(directory);
  if (content !== null) writeFileSync(join(directory, 'status.json'), content);
  const { status } = await readStatus(directory, [join(directory, 'absent')], createManualClock(Date.now()));
  expect(status).toMatchObject({ state: 'UNKNOWN', mailboxes: [] });
});

test('a full directory is named, others are not', async () => {
  lock = await takeLock(directory);
  // Linux mounts no smaller one everywhere: proc has no free block, ever.
  const full = join(directory, 'full');
  symlinkSync('/proc', full);
  const { reason } = await readStatus(directory, [directory, full], createManualClock(Date.now()));
  expect(reason).toMatch(/no space left in (\S+)$/);
  expect(reason?.endsWith(` ${full}`)).toBe(true);
});

test('unhealthy names each mailbox that is not well, and why', () => {
  const status = running([
    mailbox(),
    mailbox({ folder: 'A', state: 'holding', healthy: false, reason: 'ENOSPC: no space left on device' }),
    mailbox({ folder: 'B', state: 'failing', healthy: false }),
  ]);
  expect(unhealthy(status)).toEqual([
    { mailbox: 'support/A', reason: 'ENOSPC: no space left on device' },
    { mailbox: 'support/B', reason: 'failing' },
  ]);
});
