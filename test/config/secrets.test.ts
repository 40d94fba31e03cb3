/** A secret cannot be printed, is read anew each time, and a source that fails tells why without telling it. */
import { chmodSync, existsSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format, inspect, isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import {
  readSecret,
  Secret,
  type SecretSource,
  secretChangedAt,
  secretWarning,
} from '../../src/config/secrets.ts';
import { formatEvent } from '../../src/logging.ts';
import { temporaryDirectory } from './temporary.ts';

const VALUE = 'hunter2canary';

test('no way of printing a Secret shows it', () => {
  const secret = new Secret(VALUE);
  const error = new Error('x', { cause: secret });
  const printed = [
    `${secret}`,
    String([secret]),
    JSON.stringify({ secret, deep: [{ secret }] }),
    format('%s %o %O %j', secret, secret, { secret }, secret),
    inspect({ deep: { secret } }, { depth: 9, showHidden: true }),
    inspect(error, { showHidden: true }),
    JSON.stringify(Object.entries(secret)),
    formatEvent('text', 0, 'info', 'e', { secret, deep: { secret } }),
    formatEvent('json', 0, 'info', 'e', { secret, deep: { secret } }),
    JSON.stringify(structuredClone({ ...secret })),
  ].join('\n');
  expect(printed).toContain('[secret]');
  expect(printed).not.toContain(VALUE);
  expect(secret.reveal()).toBe(VALUE);
});

test('two secrets are equal where their values are, for a deep comparison too', () => {
  expect(isDeepStrictEqual({ plain: new Secret('a') }, { plain: new Secret('a') })).toBe(true);
  expect(isDeepStrictEqual({ plain: new Secret('a') }, { plain: new Secret('b') })).toBe(false);
});

function file(content: string | Buffer, mode = 0o600): { file: string } {
  const path = join(temporaryDirectory(), 'secret');
  writeFileSync(path, content, { mode });
  return { file: path };
}

const node = (program: string) => ({ command: [process.execPath, '-e', program] });

test.each<[string, () => SecretSource, string]>([
  ['plain', () => ({ plain: new Secret(VALUE) }), VALUE],
  ['a variable', () => ({ env: 'MAIL_PASSWORD' }), VALUE],
  ['a file', () => file(VALUE), VALUE],
  ['a file with a line end', () => file(`${VALUE}\n`), VALUE],
  ['a file from Windows', () => file(`${VALUE}\r\n`), VALUE],
  ['spaces are part of it', () => file(` ${VALUE} \n`), ` ${VALUE} `],
  ['what a command prints', () => node(`console.log(${JSON.stringify(VALUE)})`), VALUE],
  ['a command’s arguments meet no shell', () => ({ command: ['printf', '%s', '$HOME;`id`'] }), '$HOME;`id`'],
])('%s', async (_what, source, expected) => {
  expect(await readSecret(source(), { MAIL_PASSWORD: VALUE, PATH: process.env.PATH })).toBe(expected);
});

test('it is read again each time', async () => {
  const source = file('one');
  expect(await readSecret(source, {})).toBe('one');
  writeFileSync(source.file, 'two');
  expect(await readSecret(source, {})).toBe('two');
});

test.each<[string, () => SecretSource, RegExp]>([
  ['a variable that is not set', () => ({ env: 'ABSENT' }), /ABSENT.*not set/],
  ['an empty variable', () => ({ env: 'EMPTY' }), /EMPTY.*empty/],
  ['a missing file', () => ({ file: '/run/secrets/absent/x' }), /ENOENT/],
  ['a directory', () => ({ file: '/' }), /EISDIR/],
  ['an endless file', () => ({ file: '/dev/zero' }), /control character/],
  ['an empty file', () => file('\n'), /empty/],
  ['a large file', () => file(VALUE.repeat(10_000)), /larger than/],
  ['two lines', () => file(`${VALUE}\nx\n`), /more than one line/],
  ['a NUL', () => file(`${VALUE}\0`), /control character/],
  ['a missing program', () => ({ command: ['/absent/program', VALUE] }), /ENOENT/],
  ['a program that fails', () => node(`console.error('${VALUE}'); process.exit(3)`), /failed \(3\)/],
  ['a program that says nothing', () => ({ command: ['true', VALUE] }), /empty/],
  [
    'a program that says too much',
    () => node(`process.stdout.write('${VALUE}'.repeat(100000))`),
    /failed|too much/,
  ],
])('%s is told without the secret', async (_what, source, expected) => {
  const error = await readSecret(source(), { EMPTY: '', PATH: process.env.PATH }).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code: 'SECRET_UNAVAILABLE' });
  expect((error as Error).message).toMatch(expected);
  expect(inspect(error, { depth: 9, showHidden: true }).split('\n    at ')[0]).not.toContain(VALUE);
  expect((error as Error).cause).toBeUndefined();
});

test('a command gets the environment to find itself and its keys, and nothing else', async () => {
  const environment = {
    PATH: process.env.PATH,
    HOME: '/home/x',
    SECRET: 's',
    NODE_OPTIONS: '--bad',
    LD_PRELOAD: 'x',
  };
  const names = await readSecret(node('console.log(Object.keys(process.env).sort().join())'), environment);
  expect(names).toBe('HOME,PATH');
});

test('a command that waits for input does not get any', async () => {
  expect(await readSecret({ command: ['sh', '-c', 'cat; echo done'] }, { PATH: process.env.PATH })).toBe(
    'done',
  );
});

test('a command that hangs is killed, even where a child of its own keeps its output open', async () => {
  const command = ['sh', '-c', 'sleep 5 & echo started; wait'];
  await expect(readSecret({ command }, { PATH: process.env.PATH }, 100)).rejects.toMatchObject({
    code: 'SECRET_UNAVAILABLE',
    message: expect.stringContaining('did not answer within 0.1 s'),
  });
});

test('a file that everybody can read is a warning', async () => {
  const source = file(VALUE, 0o640);
  expect(await secretWarning(source)).toBeNull();
  chmodSync(source.file, 0o644);
  expect(await secretWarning(source)).toContain(source.file);
  expect(await secretWarning({ file: '/absent' })).toBeNull();
  expect(await secretWarning({ env: 'X' })).toBeNull();
  expect(existsSync('/absent')).toBe(false);
});

test('a file tells when it was changed, unless no calendar goes so far', async () => {
  const source = file(VALUE);
  utimesSync(source.file, 0, 1_795_000_000);
  expect(await secretChangedAt(source)).toBe(1_795_000_000_000);
  // tmpfs keeps any time; ext4 would make it one that a calendar has.
  const beyond = join(temporaryDirectory('/dev/shm'), 'secret');
  writeFileSync(beyond, VALUE);
  utimesSync(beyond, 0, 1e15);
  expect(await secretChangedAt({ file: beyond })).toBeNull();
});
