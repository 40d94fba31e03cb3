/** A real parser process: what it stages, with which names and modes, what it may not do, and which code a failure has. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type ParserPool, startParsers } from '../../src/message/pool.ts';
import type { MessageIdentity, StageTarget } from '../../src/model.ts';
import { expectValid, plain } from './helpers.ts';

let root: string;
let inside: string;
let outside: string;
let parsers: ParserPool;
let number = 0;

const options = { size: 1, parseSeconds: 30, parseMemoryMb: 512 };

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'staging-'));
  inside = join(root, 'inside');
  outside = join(root, 'outside');
  mkdirSync(inside);
  mkdirSync(outside);
  writeFileSync(join(outside, 'secret'), 'secret');
  const authservIds = (account: string) => (account === 'support' ? ['mx.example.org'] : []);
  parsers = startParsers({ ...options, authservIds, stagingDirectory: inside });
});
afterAll(async () => {
  await parsers.stop();
  rmSync(root, { recursive: true });
});
beforeEach(() => {
  number += 1;
});

const identity = (): MessageIdentity => ({
  account: 'support',
  folder: 'INBOX',
  id: `INBOX-1700000000-${number}`,
  uid: number,
  uidValidity: '1700000000',
  internalDate: Date.UTC(2026, 10, 20, 10, 0, 2, 345),
  flags: ['\\Seen', '$Forwarded', '\\Recent', '\\Deleted', 'Custom'],
});
const target = (more: Partial<StageTarget> = {}): StageTarget => ({
  directory: inside,
  stem: `support~INBOX-1700000000-${number}`,
  name: `INBOX-1700000000-${number}`,
  attachments: 'files',
  source: 'keep',
  writeThrough: true,
  fileMode: 0o640,
  directoryMode: 0o2770,
  ...more,
});
const message = plain(
  ['Message-ID: <one@example.org>', 'Content-Type: multipart/mixed; boundary=b'],
  '--b',
  '',
  'text',
  '--b',
  'Content-Type: application/json; name=../../Order.JSON',
  '',
  '{}',
  '--b--',
  '',
);
const mode = (path: string) => (statSync(path).mode & 0o7777).toString(8);

test('a Message-ID of any length is in the document, and none for the ledger where it is too long to name a message', async () => {
  const long = `${'x'.repeat(1_000_000)}@example.org`;
  const source = plain([`Message-ID: <${long}>`], 'text');
  const staged = await parsers.parse({ identity: identity(), source, target: target() });
  expect(staged.messageId).toBeNull();
  const document = JSON.parse(readFileSync(join(inside, `${target().stem}.json`), 'utf8'));
  expect(document.messageId).toBe(long);
});

test("an account's mail is parsed with the authserv-ids that it trusts", async () => {
  const source = plain(['Authentication-Results: mx.example.org; dmarc=pass'], 'text');
  const authenticationIn = async (account: string) => {
    const stem = `${account}~${number}`;
    await parsers.parse({ identity: { ...identity(), account }, source, target: target({ stem }) });
    return JSON.parse(readFileSync(join(inside, `${stem}.json`), 'utf8')).authentication;
  };
  expect(await authenticationIn('support')).toMatchObject({ dmarc: { result: 'pass' } });
  expect(await authenticationIn('sales')).toBeUndefined();
});

test('JSON, attachments and source lie where the target says, with its modes', async () => {
  const staged = await parsers.parse({ identity: identity(), source: message, target: target() });
  const { stem, name } = target();
  expect(staged).toMatchObject({
    messageId: 'one@example.org',
    size: message.length,
    hasAttachments: true,
    hasSource: true,
    warnings: ['filename-unsafe'],
  });
  const text = readFileSync(join(inside, `${stem}.json`), 'utf8');
  expect(text.endsWith('}\n')).toBe(true);
  const document = JSON.parse(text);
  expectValid(document);
  expect(document).toMatchObject({
    id: name,
    account: 'support',
    uidValidity: '1700000000',
    receivedAt: '2026-11-20T10:00:02Z',
    keywords: ['$seen', '$forwarded', 'custom'],
    source: `${name}.eml`,
    attachments: [{ filename: '../../Order.JSON', path: `${name}/1-.._.._Order.JSON.attachment` }],
  });
  expect(readdirSync(join(inside, stem))).toEqual(['1-.._.._Order.JSON.attachment']);
  expect(readFileSync(join(inside, `${stem}.eml`))).toEqual(message);
  expect(mode(join(inside, `${stem}.json`))).toBe('640');
  expect(mode(join(inside, `${stem}.eml`))).toBe('640');
  expect(mode(join(inside, stem))).toBe('2770');
  expect(mode(join(inside, stem, '1-.._.._Order.JSON.attachment'))).toBe('640');
});

test('without attachments and source there is one file, and null paths', async () => {
  const only = target({ attachments: 'none', source: 'none' });
  const staged = await parsers.parse({ identity: identity(), source: message, target: only });
  expect(staged).toMatchObject({ hasAttachments: false, hasSource: false });
  expect(readdirSync(inside).filter((name) => name.startsWith(only.stem))).toEqual([`${only.stem}.json`]);
  expect(JSON.parse(readFileSync(join(inside, `${only.stem}.json`), 'utf8'))).toMatchObject({
    source: null,
    attachments: [{ path: null }],
  });
});

test('what an earlier attempt left is replaced', async () => {
  const { stem } = target();
  mkdirSync(join(inside, stem));
  writeFileSync(join(inside, stem, '7-left'), 'left');
  writeFileSync(join(inside, `${stem}.json`), 'half');
  await parsers.parse({ identity: identity(), source: message, target: target() });
  expect(readdirSync(join(inside, stem))).toEqual(['1-.._.._Order.JSON.attachment']);
  expect(JSON.parse(readFileSync(join(inside, `${stem}.json`), 'utf8'))).toMatchObject({ version: 1 });
});

test('a large message comes as a file of the staging directory', async () => {
  const file = join(inside, 'download');
  writeFileSync(file, message);
  const staged = await parsers.parse({ identity: identity(), source: { file }, target: target() });
  expect(staged.size).toBe(message.length);
});

test.each([
  ['the directory is gone', () => ({ directory: join(inside, 'gone') }), 'STORAGE_MISSING'],
  ['the directory is not the staging one', () => ({ directory: outside }), 'STORAGE_DENIED'],
])('%s: nothing is left, and the code is of the storage', async (_, more, code) => {
  const where = target(more());
  await expect(parsers.parse({ identity: identity(), source: message, target: where })).rejects.toMatchObject(
    { code },
  );
  expect(readdirSync(inside).filter((name) => name.startsWith(where.stem))).toEqual([]);
  expect(readdirSync(outside)).toEqual(['secret']);
});

test('a source that is gone is told as such', async () => {
  const job = { identity: identity(), source: { file: join(inside, 'nothing') }, target: target() };
  await expect(parsers.parse(job)).rejects.toMatchObject({ code: 'STAGED_MISSING' });
});

test('a text of many megabytes is written whole, surrogate pairs at every place included', async () => {
  const body = '😀x'.repeat(3_000_000);
  const large = plain(['Content-Type: text/plain; charset=utf-8'], Buffer.from(body).toString('latin1'));
  await parsers.parse({ identity: identity(), source: large, target: target({ source: 'none' }) });
  const { stem } = target();
  const text = readFileSync(join(inside, `${stem}.json`), 'utf8');
  expect(JSON.parse(text).body === body).toBe(true);
  // A pair that two writes tore apart would stand there as two escapes.
  expect(text).not.toContain('\\ud83d');
});

test('a directory that is made later, below a symbolic link, can be written', async () => {
  symlinkSync(outside, join(root, 'link'));
  const stagingDirectory = join(root, 'link', '.staging', 'run');
  const early = startParsers({ ...options, stagingDirectory });
  try {
    await early.warm();
    mkdirSync(stagingDirectory, { recursive: true });
    const where = target({ directory: stagingDirectory });
    await early.parse({ identity: identity(), source: message, target: where });
    expect(readdirSync(stagingDirectory)).toContain(`${where.stem}.json`);
  } finally {
    await early.stop();
    rmSync(join(outside, '.staging'), { recursive: true });
  }
});

test('the sandbox: the program is read, staging written, and nothing else', async () => {
  const prober = startParsers({
    ...options,
    stagingDirectory: inside,
    entry: new URL('./prober.mjs', import.meta.url),
  });
  try {
    const source = Buffer.from(JSON.stringify({ inside, outside }));
    expect(await prober.parseToDocument({ source, attachments: null })).toEqual({
      writeInside: 'allowed',
      readProgram: 'allowed',
      readOutside: 'ERR_ACCESS_DENIED',
      writeOutside: 'ERR_ACCESS_DENIED',
      readSystem: 'ERR_ACCESS_DENIED',
      symlink: 'ERR_ACCESS_DENIED',
      link: 'ERR_ACCESS_DENIED',
      rename: 'ERR_ACCESS_DENIED',
      process: 'ERR_ACCESS_DENIED',
      worker: 'ERR_ACCESS_DENIED',
      // Built in, but held by no permission: it would open the ledger.
      sqlite: 'undefined',
      environment: [],
    });
    // `--trace-turbo-path` writes files, which no permission holds either.
    const flags = Buffer.from(JSON.stringify({ flags: '--trace-turbo' }));
    await expect(prober.parseToDocument({ source: flags, attachments: null })).rejects.toMatchObject({
      code: 'PARSER_DIED',
    });
  } finally {
    await prober.stop();
  }
});
