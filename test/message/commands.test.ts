/** `mailwatchd parse` and `schema` as a script sees them: lines in order, errors as lines, files beside. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parse } from '../../src/commands/parse.ts';
import { schema } from '../../src/commands/schema.ts';
import { expectValid, plain } from './helpers.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'parse-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const file = (name: string, content: Buffer | string) => {
  writeFileSync(join(directory, name), content);
  return join(directory, name);
};

async function run(
  files: string[],
  options: { attachments?: string; authservId?: string[] } = {},
  input = '',
) {
  const stdout = new PassThrough();
  const text = stdout.setEncoding('utf8').reduce((all: string, chunk: string) => all + chunk, '');
  const status = await parse(files, options, { stdout, stdin: Readable.from([Buffer.from(input)]) });
  stdout.end();
  const lines = (await text).split('\n');
  expect(lines.pop()).toBe('');
  return { status, lines: lines.map((line) => JSON.parse(line)) };
}

test('hundreds of files: a document each, in order', async () => {
  const files = Array.from({ length: 300 }, (_, n) =>
    file(`${n}.eml`, plain([`Subject: ${n}`], n % 50 === 0 ? 'x'.repeat(500_000) : 'text')),
  );
  const { status, lines } = await run(files);
  expect(status).toBe(0);
  expect(lines.map(({ subject }) => subject)).toEqual(files.map((_, n) => String(n)));
  lines.forEach(expectValid);
});

test('standard input, and what cannot be read as a line in its place: exit 65', async () => {
  const good = file('good.eml', plain(['Subject: good'], ''));
  const { status, lines } = await run(
    ['-', join(directory, 'missing'), directory, good, '-'],
    {},
    'Subject: piped\n\n',
  );
  expect(status).toBe(65);
  expect(lines.map(({ subject, error, file: name }) => subject ?? [error.code, name])).toEqual([
    'piped',
    ['INPUT_UNREADABLE', join(directory, 'missing')],
    ['INPUT_UNREADABLE', directory],
    'good',
    ['INPUT_UNREADABLE', '-'],
  ]);
});

test('--authserv-id: whose Authentication-Results are trusted', async () => {
  const message = file('authenticated.eml', plain(['Authentication-Results: mx.example.org; spf=pass'], ''));
  const [trusting, not] = [
    await run([message], { authservId: ['a.example', 'MX.example.org'] }),
    await run([message]),
  ];
  expect(trusting.lines[0].authentication).toMatchObject({ spf: { result: 'pass' } });
  expect(not.lines[0]).not.toHaveProperty('authentication');
});

test('a message beyond limits.messageBytes is an error of its own', async () => {
  const large = file('large.eml', Buffer.alloc(64 * 1024 * 1024 + 1, 'x'));
  const { status, lines } = await run([large, file('small.eml', 'Subject: small\n\n')]);
  expect(status).toBe(65);
  expect(lines).toMatchObject([{ error: { code: 'MESSAGE_TOO_LARGE' }, file: large }, { subject: 'small' }]);
});

test('--attachments writes them below the id; the same message again replaces them', async () => {
  const message = file('a.eml', plain(['Content-Type: image/png; name=a.png'], 'png'));
  const target = join(directory, 'out', 'deep');
  const again = Array.from({ length: 100 }, () => message);
  const { lines } = await run([...again, file('b.eml', 'Subject: none\n\n')], { attachments: target });
  const [{ id, attachments }] = lines;
  expect(attachments[0].path).toBe(`${id}/1-a.png`);
  expect(readdirSync(target)).toEqual([id]);
  expect(readdirSync(join(target, id))).toEqual(['1-a.png']);
  expect(readFileSync(join(target, attachments[0].path), 'utf8')).toBe('png');
});

test('--attachments where there can be no directory: a storage error', async () => {
  const occupied = file('occupied', '');
  await expect(run([file('a.eml', '')], { attachments: occupied })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
  });
});

test('--attachments in a file system that makes no directories: a storage error, not an endless attempt', async () => {
  await expect(run([file('a.eml', '')], { attachments: '/proc/mailwatchd' })).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
  });
});

test('without attachments nothing is left in the directory', async () => {
  const target = join(directory, 'out');
  mkdirSync(target);
  await run([file('a.eml', 'Subject: x\n\n')], { attachments: target });
  expect(readdirSync(target)).toEqual([]);
});

test('a reader that goes away ends the command without an error', async () => {
  const files = Array.from({ length: 20 }, (_, n) => file(`${n}.eml`, plain([], 'x'.repeat(100_000))));
  const stdout = new Writable({
    highWaterMark: 1,
    write: (_chunk, _encoding, done) => done(Object.assign(new Error('broken pipe'), { code: 'EPIPE' })),
  });
  stdout.on('error', () => undefined);
  expect(await parse(files, {}, { stdout, stdin: Readable.from([]) })).toBe(0);
});

test('schema prints the schema', async () => {
  const stdout = new PassThrough().setEncoding('utf8');
  expect(await schema({ stdout })).toBe(0);
  expect(JSON.parse(stdout.read() as string)).toMatchObject({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
  });
});
