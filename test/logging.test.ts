/** A log line is one line whatever is in it, and no trouble with files or stderr ever reaches the caller. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MailwatchdError } from '../src/errors.ts';
import { formatEvent, type LogOptions, openLog } from '../src/logging.ts';
import { createManualClock } from './clock.ts';

const AT = Date.UTC(2026, 10, 20, 10, 0, 2, 123);
const text = (fields: Record<string, unknown>) => formatEvent('text', AT, 'info', 'published', fields);

let root: string;
let directory: string;
let stderr: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'mailwatchd-log-'));
  directory = join(root, 'log');
  stderr = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    stderr += chunk;
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const options = (more: Partial<LogOptions> = {}): LogOptions => ({
  directory,
  level: 'info',
  format: 'text',
  console: false,
  maxSize: 64 * 1024,
  keep: 14 * 86_400_000,
  clock: createManualClock(Date.now()),
  ...more,
});

const logFiles = () => readdirSync(directory).filter((name) => name.startsWith('mailwatchd-'));
const logged = () =>
  logFiles()
    .map((name) => {
      const bytes = readFileSync(join(directory, name));
      return (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
    })
    .join('');

test('an event is a line of time, level, name and fields', () => {
  expect(
    text({ mailbox: 'support/INBOX', n: 3, ok: true, none: null, absent: undefined, words: 'a b' }),
  ).toBe('2026-11-20T10:00:02.123Z info published mailbox=support/INBOX n=3 ok=true none=null words="a b"');
  expect(
    JSON.parse(formatEvent('json', AT, 'warn', 'idle_lost', { mailbox: 'a/b', n: 3, time: 'forged' })),
  ).toEqual({
    time: '2026-11-20T10:00:02.123Z',
    level: 'warn',
    event: 'idle_lost',
    mailbox: 'a/b',
    n: 3,
  });
});

test('what mail or server wrote cannot forge a line, a field or a terminal', () => {
  const property = fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), (value) => {
    for (const format of ['text', 'json'] as const) {
      const line = formatEvent(format, AT, 'info', 'e', { value, after: 1 });
      expect(line).not.toMatch(/[\p{Cc}\u2028-\u202e\u2066-\u2069\ud800-\udfff]/u);
      expect(line.length).toBeLessThan(15_000);
    }
    expect(JSON.parse(formatEvent('json', AT, 'info', 'e', { value, after: 1 })).after).toBe(1);
    // Unescaped quotes: the two around the value, or none.
    const quotes = text({ value }).replace(/\\./g, '').split('"').length - 1;
    expect([0, 2]).toContain(quotes);
  });
  fc.assert(property, { numRuns: 300 });
  expect(text({ subject: 'x\n2026 error forged "y" \x1b[2J\u202e' })).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test('errors give their code; a defect gives its stack, in one line', () => {
  const full = new MailwatchdError('STORAGE_FULL', { where: '/spool', detail: 'ENOSPC' });
  expect(text({ error: full })).toContain('code=STORAGE_FULL error="/spool: ENOSPC"');
  const system = Object.assign(new Error('open failed'), { code: 'EACCES' });
  expect(text({ error: system })).toMatch(/code=EACCES error="Error: open failed"$/);
  const defect = new MailwatchdError('INTERNAL', { cause: new TypeError('x is not a function') });
  expect(text({ error: defect })).toMatch(/code=INTERNAL .*stack="at .*logging\.test\.ts/);
});

test('what prints itself as [secret] does, at any depth; what cannot be printed is no trouble', () => {
  const secret = { toString: () => '[secret]', toJSON: () => '[secret]' };
  expect(text({ secret, deep: [{ secret }] })).not.toContain('toString');
  expect(text({ deep: { secret } })).toContain('[secret]');
  const cycle: Record<string, unknown> = { n: 10n };
  cycle.cycle = cycle;
  expect(text({ cycle, n: 10n })).toContain('cycle="[unprintable]" n=10');
});

test('files get what the level lets through, with the fields of the child', async () => {
  const log = openLog(options());
  log.child({ mailbox: 'a/b' }).child({ n: 1 }).info('one', { m: 2 });
  log.debug('two');
  log.error('three');
  await log.close();
  log.info('four');
  const lines = logged().trim().split('\n');
  expect(lines.map((line) => line.split(' ').slice(1).join(' '))).toEqual([
    'info one mailbox=a/b n=1 m=2',
    'error three',
  ]);
  expect(stderr).toBe('');
});

test('stderr gets the same where it is wanted', async () => {
  const log = openLog(options({ console: true }));
  log.info('one');
  await log.close();
  expect(stderr).toBe(logged());
});

test('files are rotated by size and compressed', async () => {
  const log = openLog(options());
  const padding = 'x'.repeat(900);
  for (let n = 0; n < 200; n++) {
    log.info('line', { n, padding });
    await new Promise(setImmediate);
  }
  const ending = (end: string) => logFiles().filter((name) => name.endsWith(end));
  await vi.waitFor(() => expect([ending('.log').length, ending('.gz').length]).toEqual([1, 2]));
  const modes = () => logFiles().map((name) => statSync(join(directory, name)).mode & 0o777);
  await vi.waitFor(() => expect(modes()).toEqual([0o640, 0o640, 0o640]));
  await log.close();
  const seen = [...logged().matchAll(/ n=(\d+) /g)].map(([, n]) => Number(n));
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen).toEqual(expect.arrayContaining([0, 100, 199]));
});

test('old files go, archives of another start among them; what is not ours stays', async () => {
  mkdirSync(directory);
  const old = [
    'mailwatchd-2020-01-01.log.gz',
    'mailwatchd-2020-01-01.1.log',
    'other.log',
    'mailwatchd-2020.log',
  ];
  for (const name of [...old, 'mailwatchd-2020-01-02.log.gz']) writeFileSync(join(directory, name), '');
  for (const name of old) utimesSync(join(directory, name), 1, 1);
  const log = openLog(options());
  await vi.waitFor(() => expect(readdirSync(directory)).not.toContain(old[1]));
  await vi.waitFor(() => expect(readdirSync(directory)).not.toContain(old[0]));
  await log.close();
  expect(readdirSync(directory)).toEqual(
    expect.arrayContaining(['mailwatchd-2020-01-02.log.gz', 'other.log', old[3]]),
  );
});

test.each([
  ['empty', ''],
  ['cut short', '{"keep":{"days":tr'],
  ['not an audit', '{"files":[null]}'],
])('an audit file that is %s is no trouble', async (_what, content) => {
  mkdirSync(directory);
  writeFileSync(join(directory, '.mailwatchd-audit.json'), content);
  const log = openLog(options());
  log.info('one');
  await log.close();
  expect(logged()).toContain('info one');
  expect(JSON.parse(readFileSync(join(directory, '.mailwatchd-audit.json'), 'utf8')).files).toHaveLength(1);
});

test('a directory that is a file: a warning and the lines go to stderr, until it is mended', async () => {
  writeFileSync(directory, '');
  const clock = createManualClock(Date.now());
  const log = openLog(options({ clock }));
  await vi.waitFor(() => expect(stderr).toContain('log_files_failed'));
  log.info('one');
  expect(stderr).toContain('info one');
  rmSync(directory);
  clock.advance(15_000);
  log.info('two');
  await vi.waitFor(() => expect(existsSync(directory) && logFiles()).toHaveLength(1));
  await vi.waitFor(() => {
    log.info('three');
    expect(logged()).toContain('info three');
  });
  expect(stderr).toContain('info two');
  await log.close();
});

test('a directory that vanishes is noticed and made again', async () => {
  const clock = createManualClock(Date.now());
  const log = openLog(options({ clock }));
  log.info('one');
  await vi.waitFor(() => expect(logged()).toContain('info one'));
  renameSync(directory, `${directory}-away`);
  clock.advance(10_000);
  log.info('two');
  await vi.waitFor(() => expect(stderr).toContain('log_files_failed'));
  clock.advance(15_000);
  log.info('three');
  await vi.waitFor(() => {
    log.info('four');
    expect(logged()).toContain('info four');
  });
  await log.close();
  expect(stderr).toContain('info three');
});

test('a directory that vanishes at the moment of rotation stops nothing', async () => {
  const log = openLog(options());
  const padding = 'x'.repeat(900);
  log.info('one', { padding });
  await vi.waitFor(() => expect(logged()).toContain('info one'));
  // Making the directory again throws, out of the transport's `log`.
  rmSync(root, { recursive: true });
  writeFileSync(root, '');
  for (let n = 0; n < 200; n++) log.info('line', { n, padding });
  await vi.waitFor(() => expect(stderr).toContain('log_files_failed'));
  log.info('last');
  expect(stderr).toContain('info last');
  await log.close();
});

test('a directory that cannot be made is told, not thrown', async () => {
  const log = openLog(options({ directory: '/proc/mailwatchd' }));
  expect(stderr).toContain('log_files_failed');
  log.info('one');
  expect(stderr).toContain('info one');
  await log.close();
});

/** Runs a program that logs, as a process of its own: what would end it ends it. */
async function run(program: string, stdio: 'pipe' | 'full' = 'pipe') {
  const module = new URL('../src/logging.ts', import.meta.url).href;
  const command = stdio === 'full' ? 'exec "$@" 2>/dev/full' : 'exec "$@"';
  const script = `const { openLog } = await import(${JSON.stringify(module)});
    const options = ${JSON.stringify({ ...options(), clock: undefined })};
    ${program}
    process.stdout.write('survived');`;
  const child = spawn(
    '/bin/sh',
    ['-c', command, 'sh', process.execPath, '--input-type=module', '-e', script],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  return child;
}

const said = async (child: Awaited<ReturnType<typeof run>>) => {
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child.stdout, 'close');
  return output;
};

test('a reader of stderr that went away does not end the process', async () => {
  const child = await run(`
    const log = openLog({ ...options, directory: null, console: true });
    for (let n = 0; n < 1000; n++) { log.info('line', { n }); await new Promise(setImmediate); }
    await log.close();`);
  child.stderr.destroy();
  expect(await said(child)).toBe('survived');
});

test('a full disk behind stderr does not end the process', async () => {
  const child = await run(
    `const log = openLog({ ...options, directory: null, console: true });
     for (let n = 0; n < 100; n++) { log.info('line', { n }); await new Promise(setImmediate); }
     await log.close();`,
    'full',
  );
  expect(await said(child)).toBe('survived');
});

test('a full log disk does not end the process', async () => {
  // Each new file is a link to the device that is always full.
  const child = await run(`
    const { mkdirSync, symlinkSync } = await import('node:fs');
    mkdirSync(options.directory);
    const day = new Date().toISOString().slice(0, 10);
    symlinkSync('/dev/full', options.directory + '/mailwatchd-' + day + '.log');
    const log = openLog({ ...options, console: true });
    for (let n = 0; n < 1000; n++) { log.info('line', { n }); await new Promise(setImmediate); }
    await log.close();`);
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  expect(await said(child)).toBe('survived');
  expect(errors).toContain('ENOSPC');
});
