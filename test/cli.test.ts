/** Every command with wrong, missing and hostile arguments: the right exit status, one line, no stack trace. */
import { existsSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommandLine } from '../src/cli.ts';

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mailwatchd-cli-'));
  await writeFile(
    join(directory, 'good.yaml'),
    JSON.stringify({
      accounts: [
        {
          name: 'support',
          host: '127.0.0.1',
          port: 1,
          security: 'none',
          user: 'u',
          password: { env: 'PASSWORD_OF_NOBODY' },
          folders: ['INBOX'],
          start: 'new',
        },
      ],
      storage: { directory: join(directory, 'no-storage') },
      state: { directory: join(directory, 'no-state') },
      log: { directory: join(directory, 'no-log'), console: false },
    }),
  );
  await writeFile(join(directory, 'faulty.yaml'), 'accounts: 7\nstorrage: {}\n');
});

afterAll(() => rm(directory, { recursive: true }));

async function mailwatchd(...argv: string[]) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdin.end();
  const outputs = Promise.all([text(stdout), text(stderr)]);
  const host = { stdin: stdin as unknown as NodeJS.ReadStream, stdout, stderr, env: {} };
  const status = await runCommandLine(argv, host);
  stdout.end();
  stderr.end();
  const [out, err] = await outputs;
  return { status, out, err };
}

const USAGE: string[][] = [
  [],
  ['nonsense'],
  ['run', '--nonsense'],
  ['run', 'extra'],
  ['run', '--notify-fd', '1'],
  ['run', '--notify-fd', '977'],
  ['run', '--notify-fd', 'three'],
  ['describe', 'extra'],
  ['run', '--config'],
  ['once', '--json'],
  ['check', '--online'],
  ['plan', '--yes'],
  ['login'],
  ['login', 'support', 'sales'],
  ['status', '--json=1'],
  ['list', '--limit', '0'],
  ['list', '--limit', '-1'],
  ['list', '--limit', '1e99'],
  ['list', '--since', 'yesterday'],
  ['list', '--since', '2026-13-45'],
  ['list', '--since', '2026-02-30'],
  ['list', '--since', '2026-02-30T12:00:00Z'],
  ['list', '--state', 'lost'],
  ['replay'],
  ['replay', '--quarantined', 'INBOX-1-1'],
  ['adopt', '--publish'],
  ['adopt', 'support/INBOX'],
  ['adopt', 'support/INBOX', '--publish', '--skip'],
  ['parse'],
  ['parse', '--attachments'],
  ['schema', 'extra'],
  ['\u001b[31mred', '--\n'],
  ['list', '--state', '\u001b]0;title\u0007\r\n'],
  ['--config'],
];

test.each(USAGE.map((argv) => ({ argv })))('$argv is a usage error', async ({ argv }) => {
  const { status, out, err } = await mailwatchd(...argv);
  expect({ status, out }).toEqual({ status: 64, out: '' });
  expect(err).toMatch(/^mailwatchd: USAGE: [^\n]+\n$/);
  expect(err).not.toMatch(/\p{Cc}(?!$)/u);
});

const CONFIGURED = ['run', 'once', 'check', 'login', 'plan', 'status', 'describe', 'list', 'adopt'];

const withArgument = (command: string) => (command === 'login' ? [command, 'support'] : [command]);

test.each(CONFIGURED)('%s with a configuration that is not there', async (command) => {
  const { status, out, err } = await mailwatchd(
    ...withArgument(command),
    '--config',
    join(directory, 'absent.yaml'),
  );
  expect({ status, out }).toEqual({ status: 78, out: '' });
  expect(err).toMatch(/^mailwatchd: CONFIG_UNREADABLE: [^\n]+\n$/);
});

test.each(CONFIGURED)('%s with a faulty configuration prints every fault', async (command) => {
  const { status, out, err } = await mailwatchd(
    ...withArgument(command),
    '--config',
    join(directory, 'faulty.yaml'),
  );
  expect({ status, out }).toEqual({ status: 78, out: '' });
  expect(err).toMatch(/^mailwatchd: CONFIG_INVALID: /);
  expect(err).toContain('accounts (line 1');
  expect(err).toContain('did you mean storage?');
  expect(err).not.toMatch(/^\s+at /m);
});

test.each([
  'run',
  'once',
  'list',
  'adopt',
])('%s without its directories says which is missing', async (command) => {
  const { status, err } = await mailwatchd(command, '--config', join(directory, 'good.yaml'));
  expect([1, 78]).toContain(status);
  expect(err).toMatch(/^mailwatchd: STORAGE_MISSING: [^\n]*no-st(ate|orage)[^\n]*\n$/);
  // Refused before the log: a file of root in its directory would keep the daemon from writing there.
  expect(existsSync(join(directory, 'no-log'))).toBe(false);
});

test('run tells whoever asked how its start failed, and stderr as well', async () => {
  const path = join(directory, 'outcome');
  const outcome = openSync(path, 'w');
  const argv = ['run', '--notify-fd', String(outcome), '--config', join(directory, 'faulty.yaml')];
  const { status, err } = await mailwatchd(...argv);
  expect(status).toBe(78);
  expect(err).toMatch(/^mailwatchd: CONFIG_INVALID: /);
  expect(await readFile(path, 'utf8')).toBe(err);
});

test('describe names directories, variables and mailboxes, a line each', async () => {
  const { status, out } = await mailwatchd('describe', '--config', join(directory, 'good.yaml'));
  expect(status).toBe(0);
  expect(out.split('\n')).toEqual([
    `storage\t${join(directory, 'no-storage')}`,
    `state\t${join(directory, 'no-state')}`,
    `log\t${join(directory, 'no-log')}`,
    'variable\tPASSWORD_OF_NOBODY',
    'mailbox\tsupport INBOX\tsupport/INBOX',
    '',
  ]);
});

test('replay says of each message that it refuses what, where and what to do', async () => {
  const state = await mkdtemp(join(directory, 'state-'));
  const config = join(directory, 'replay.yaml');
  const good = await readFile(join(directory, 'good.yaml'), 'utf8');
  await writeFile(config, JSON.stringify({ ...JSON.parse(good), state: { directory: state } }));
  const { err } = await mailwatchd('replay', 'INBOX-1-1', '--config', config);
  expect(err).toMatch(/^mailwatchd: UNKNOWN_MESSAGE: INBOX-1-1: the ledger holds no such message: [^\n]+\n/);
});

test('what the command line brings in begins no line of its own', async () => {
  const forged = join(directory, 'x\nforged.yaml');
  await writeFile(forged, 'accounts: 7\nstorrage: {}\n');
  const outcomes = await Promise.all([
    mailwatchd('parse', '--attachments', '/proc/x\nforged', '-'),
    mailwatchd('check', '--config', forged),
  ]);
  for (const { err } of outcomes) {
    expect(err).toContain('x\\nforged');
    expect(err).not.toMatch(/^forged/m);
  }
});

test('status without a daemon says DOWN and exits 1', async () => {
  expect(await mailwatchd('status', '--config', join(directory, 'good.yaml'))).toEqual({
    status: 1,
    out: 'DOWN: no daemon is running\n',
    err: '',
  });
});

test('check --offline names each fault in a table and fails once', async () => {
  const { status, out, err } = await mailwatchd(
    'check',
    '--offline',
    '--config',
    join(directory, 'good.yaml'),
  );
  expect(status).toBe(1);
  expect(out).toMatch(/storage\.directory +STORAGE_MISSING/);
  expect(out).toMatch(/support: password +SECRET_UNAVAILABLE .*PASSWORD_OF_NOBODY/);
  expect(err).toMatch(/^mailwatchd: CHECK_FAILED: [^\n]+\n$/);
});

test('a file that cannot be parsed is a line of its own, and exit status 65', async () => {
  const { status, out } = await mailwatchd('parse', join(directory, 'absent.eml'));
  expect(status).toBe(65);
  expect(JSON.parse(out)).toMatchObject({
    error: { code: 'INPUT_UNREADABLE' },
    file: join(directory, 'absent.eml'),
  });
});

test.each([
  ['--help', /Usage: mailwatchd/],
  ['--version', /^\d+\.\d+\.\d+\n$/],
])('%s goes to stdout', async (option, expected) => {
  const { status, out, err } = await mailwatchd(option);
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(expected);
});

test.each([
  'run',
  'once',
  'check',
  'login',
  'plan',
  'status',
  'list',
  'replay',
  'adopt',
  'parse',
  'schema',
])('%s --help shows an example', async (command) => {
  const { status, out } = await mailwatchd(command, '--help');
  expect(status).toBe(0);
  expect(out).toMatch(new RegExp(`Example:\\n {2}\\$ mailwatchd ${command}`));
});

test('schema prints the JSON Schema', async () => {
  const { status, out } = await mailwatchd('schema');
  expect(status).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ $schema: 'https://json-schema.org/draft/2020-12/schema' });
});

const input = new PassThrough() as unknown as NodeJS.ReadStream;

test('parse takes its limits from --config, and schema does not mind one', async () => {
  const file = join(directory, 'over.eml');
  await writeFile(file, `Subject: x\n\n${'x'.repeat(1024)}`);
  const config = join(directory, 'limits.yaml');
  const good = await readFile(join(directory, 'good.yaml'), 'utf8');
  await writeFile(config, JSON.stringify({ ...JSON.parse(good), limits: { messageBytes: '1kb' } }));
  const { status, out } = await mailwatchd('parse', '--config', config, file);
  expect({ status, code: JSON.parse(out).error.code }).toEqual({ status: 65, code: 'MESSAGE_TOO_LARGE' });
  expect((await mailwatchd('parse', file)).status).toBe(0);
  expect((await mailwatchd('parse', file, '--config', join(directory, 'absent.yaml'))).status).toBe(78);
  expect((await mailwatchd('schema', '--config', config)).status).toBe(0);
});

test('a slow reader gets all of it before the process may exit', async () => {
  let received = '';
  const stdout = new Writable({
    highWaterMark: 1 << 20,
    write(chunk, _encoding, next) {
      setImmediate(() => setImmediate(() => next()));
      received += chunk;
    },
  });
  const io = { stdin: input, stdout, stderr: new PassThrough(), env: {} };
  expect(await runCommandLine(['schema'], io)).toBe(0);
  expect(stdout.writableLength).toBe(0);
  expect(JSON.parse(received)).toHaveProperty('properties');
});

test.each([
  ['EPIPE', 0, ''],
  ['ENOSPC', 1, 'mailwatchd: OUTPUT_FAILED: ENOSPC\n'],
])('standard output that fails with %s', async (code, status, said) => {
  const stdout = new Writable({
    write: (_chunk, _encoding, next) => next(Object.assign(new Error(code), { code })),
  });
  const stderr = new PassThrough();
  expect(await runCommandLine(['schema'], { stdin: input, stdout, stderr, env: {} })).toBe(status);
  stderr.end();
  expect(await text(stderr)).toBe(said);
});
