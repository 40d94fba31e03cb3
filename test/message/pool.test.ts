/** The pool blames exactly the message that ends a parser, tries it three times, and loses no other. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { StageJob } from '../../src/message/parser-protocol.ts';
import { type ParserPool, type ParserPoolOptions, startParsers } from '../../src/message/pool.ts';
import { spawnSandboxed } from '../../src/message/sandbox.ts';
import { createManualClock } from '../clock.ts';
import { rule } from '../rules.ts';

const entry = new URL('./poison-parser.mjs', import.meta.url);
let directory: string;
let pools: ParserPool[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pool-'));
  pools = [];
});
afterEach(async () => {
  await Promise.all(pools.map((pool) => pool.stop()));
  rmSync(directory, { recursive: true });
});

/** Time that a test turns: what the pool waits for is due at once, or never. */
function turnedClock(isDue: (milliseconds: number) => boolean): Clock {
  return {
    ...systemClock,
    after: (milliseconds, callback) =>
      isDue(milliseconds) ? systemClock.after(0, callback) : () => undefined,
  };
}
const patient = turnedClock((milliseconds) => milliseconds === 100);

function pool(options: Partial<ParserPoolOptions> = {}): ParserPool {
  const started = startParsers({
    size: 2,
    stagingDirectory: directory,
    parseSeconds: 30,
    parseMemoryMb: 256,
    clock: patient,
    entry,
    ...options,
  });
  pools.push(started);
  return started;
}

type Answer = { order: string; pid: number };
const order = (to: ParserPool, text: string) =>
  to.parseToDocument({ source: Buffer.from(text), attachments: null }) as unknown as Promise<Answer>;
const mark = (name: string) => join(directory, name);

/** What the header leaves out: the poison parser claims that a rule of the name in the order did. */
const judgeBy = (to: ParserPool, text: string) => {
  const filter = { only: [], except: [rule('news', { list: true })] };
  const candidate = { filter, size: 1, internalDate: 0, at: 0 };
  return to.judge({ name: 'support/1', source: Buffer.from(text), candidate });
};

test.each([
  ['filtered news', { kind: 'filtered', rule: 'news' }],
  // No rule of that name: whoever took a parser over may not write into the ledger what he likes.
  ['filtered another', { kind: 'undecided' }],
  ['exit', { kind: 'undecided' }],
  ['bad', { kind: 'undecided' }],
])('a header of which a parser says %s', async (text, verdict) => {
  expect((await judgeBy(pool(), text)).verdict).toEqual(verdict);
});

test('where no parser can be started nothing is judged', async () => {
  const parsers = pool();
  await parsers.stop();
  await expect(judgeBy(parsers, 'filtered news')).rejects.toMatchObject({ code: 'PARSER_UNAVAILABLE' });
});

test('many messages through few processes, each answered', async () => {
  const parsers = pool();
  await parsers.warm();
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => order(parsers, `fine-${n}`)));
  expect(answers.map((answer) => answer.order)).toEqual(Array.from({ length: 100 }, (_, n) => `fine-${n}`));
  expect(new Set(answers.map(({ pid }) => pid)).size).toBeLessThanOrEqual(2);
});

test.each([
  ['exit', 'PARSER_DIED'],
  ['abort', 'PARSER_DIED'],
  ['bad', 'PARSE_FAILED'],
])('%s: rejects with %s after three attempts, the others are answered', async (poison, code) => {
  const parsers = pool();
  const good = ['a', 'b', 'c', 'd', 'e', 'f'];
  const [outcome, ...others] = await Promise.allSettled([
    order(parsers, poison),
    ...good.map((name) => order(parsers, name)),
  ]);
  expect(outcome).toMatchObject({ status: 'rejected', reason: { code } });
  expect(others.map((other) => (other.status === 'fulfilled' ? other.value.order : other.reason))).toEqual(
    good,
  );
});

test.each([
  'half',
  'text',
  'number',
  'code',
  'detail',
  'endless',
  'ready',
  'started',
  'done',
  'failed',
])('what is no reply, or none of this moment, ends its process only, and names its message: %s', async (poison) => {
  const parsers = pool({ size: 1, attempts: 1 });
  const [outcome, other] = await Promise.allSettled([order(parsers, poison), order(parsers, 'good')]);
  expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'PARSER_DIED' } });
  expect(other).toMatchObject({ status: 'fulfilled', value: { order: 'good' } });
});

const stageJob = (source: Buffer): Omit<StageJob, 'candidate'> => ({
  identity: {
    account: 'a',
    folder: 'INBOX',
    id: 'i',
    uid: 1,
    uidValidity: '1',
    internalDate: 0,
    flags: [],
  },
  source,
  target: {
    directory,
    stem: 's',
    name: 'n',
    attachments: 'none',
    source: 'none',
    writeThrough: true,
    fileMode: 0o600,
    directoryMode: 0o700,
  },
});
const stage = (to: ParserPool, source: Buffer) => to.parse(stageJob(source));

test('what is no row of the ledger is a failed parse', async () => {
  const parsers = pool({ attempts: 1 });
  await expect(stage(parsers, Buffer.from('fine'))).rejects.toMatchObject({ code: 'PARSE_FAILED' });
});

test('a staged message takes no more memory; what shares its memory stays', async () => {
  const text = 'Subject: x\n\n'.padEnd(100_000, 'x');
  const parser = startParsers({ size: 1, stagingDirectory: directory, parseSeconds: 30, parseMemoryMb: 256 });
  pools.push(parser);
  const [alone, shared] = [Buffer.from(text), Buffer.from(`${text}other`)];
  expect((await stage(parser, alone)).size).toBe(text.length);
  expect(alone.length).toBe(0);
  rmSync(join(directory, 's.json'));
  await stage(parser, shared.subarray(0, text.length));
  expect(shared.toString()).toBe(`${text}other`);
});

test('the memory of a candidate stays: it may still be on its way to the process that judged it', async () => {
  const parser = startParsers({ size: 1, stagingDirectory: directory, parseSeconds: 30, parseMemoryMb: 256 });
  pools.push(parser);
  const source = Buffer.from('Subject: x\n\n'.padEnd(100_000, 'x'));
  const candidate = { filter: { only: [], except: [] }, size: source.length, internalDate: 0, at: 0 };
  expect(await parser.parseCandidate({ ...stageJob(source), candidate })).toMatchObject({ size: 100_000 });
  expect(source.length).toBe(100_000);
});

test('the memory of a message stays as long as the system has not read all of it', async () => {
  const parsers = pool({ entry: new URL('./hasty-parser.mjs', import.meta.url) });
  // More than any pipe holds.
  const message = Buffer.alloc(16 * 1024 * 1024, 'x');
  await stage(parsers, message);
  expect(message.equals(Buffer.alloc(16 * 1024 * 1024, 'x'))).toBe(true);
});

test('messages of every size come through whole, one behind the other', async () => {
  const parsers = pool({ size: 1 });
  const sizes = [0, 1, 4096, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * 1024 * 1024, 0, 5];
  const answers = await Promise.all(sizes.map((size) => order(parsers, 'x'.repeat(size))));
  expect(answers.map((answer) => answer.order.length)).toEqual(sizes);
});

test('a process ends when nobody holds the other end any more, also where it is not ended by its parent', async () => {
  const { child, requests } = spawnSandboxed({ entry, writable: null, heapMb: 64 });
  requests?.end();
  const [status] = await once(child, 'exit');
  expect(status).toBe(0);
});

test('a message that ends its process once is tried again, alone in a fresh one, and answered', async () => {
  const parsers = pool({ size: 1 });
  const first = order(parsers, 'first');
  const unlucky = order(parsers, `exit ${mark('died')}`);
  const last = order(parsers, 'last');
  const pids = new Set((await Promise.all([first, unlucky, last])).map(({ pid }) => pid));
  expect(pids.size).toBe(3);
});

test('a process that began while its directory could not be seen writes there once it can', async () => {
  rmSync(directory, { recursive: true });
  const parsers = pool({ attempts: 1 });
  await parsers.warm();
  mkdirSync(directory);
  await order(parsers, `fine ${mark('written')}`);
  expect(existsSync(mark('written'))).toBe(true);
});

test('one attempt, where only one is wanted', async () => {
  const parsers = pool({ attempts: 1 });
  await expect(order(parsers, `bad ${mark('tried')}`)).rejects.toMatchObject({ code: 'PARSE_FAILED' });
});

test('an endless parser is ended when its time is over; what waited behind it is answered', async () => {
  const clock = createManualClock();
  const parsers = pool({ size: 1, parseSeconds: 5, clock });
  const endless = order(parsers, 'loop');
  const outcome = expect(endless).rejects.toMatchObject({ code: 'PARSE_TIMED_OUT' });
  const behind = order(parsers, 'behind');
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    while (!clock.timers().includes(5000)) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(5000);
    await expect(behind).resolves.toMatchObject({ order: 'behind' });
  }
  await outcome;
});

test('a process that is stopped before it begins a message is replaced, and nobody is blamed', async () => {
  const clock = createManualClock();
  const parsers = pool({ size: 1, attempts: 1, clock });
  await order(parsers, 'warm');
  const given = [order(parsers, `stop ${mark('stopped')}`), order(parsers, 'behind')];
  while (!existsSync(mark('stopped'))) await new Promise((resolve) => setImmediate(resolve));
  clock.advance(30_000);
  await expect(Promise.all(given)).resolves.toMatchObject([{ order: 'stop' }, { order: 'behind' }]);
});

test('processes beyond the warm one end when they have been idle', async () => {
  const clock = createManualClock();
  const parsers = pool({ size: 2, clock });
  const pids = new Set<number>();
  while (pids.size < 2) {
    const answers = await Promise.all([order(parsers, 'a'), order(parsers, 'b'), order(parsers, 'c')]);
    for (const { pid } of answers) pids.add(pid);
  }
  clock.advance(30_000);
  const isAlive = (pid: number) => existsSync(`/proc/${pid}/exe`);
  while ([...pids].filter(isAlive).length > 1) await new Promise((resolve) => setImmediate(resolve));
  expect(pids.has((await order(parsers, 'd')).pid)).toBe(true);
});

test('Buffers beyond the memory limit end the process', async () => {
  const parsers = pool({ attempts: 1 });
  const [outcome, other] = await Promise.allSettled([order(parsers, 'buffers'), order(parsers, 'good')]);
  expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'PARSE_MEMORY' } });
  expect(other).toMatchObject({ status: 'fulfilled' });
});

test('a heap bomb ends its process only', async () => {
  const parsers = pool({ attempts: 1, parseMemoryMb: 160, clock: turnedClock(() => false) });
  await expect(order(parsers, 'heap')).rejects.toMatchObject({ code: 'PARSE_MEMORY' });
  await expect(order(parsers, 'good')).resolves.toMatchObject({ order: 'good' });
});

test('a storage error is no fault of the message: it is told at once', async () => {
  const parsers = pool();
  await expect(order(parsers, `full ${mark('once')}`)).rejects.toMatchObject({ code: 'STORAGE_FULL' });
  expect(existsSync(mark('once'))).toBe(true);
});

test('where no descriptor is left for another process, the one that runs parses all', async () => {
  const script = new URL('./no-descriptors.mjs', import.meta.url).pathname;
  const child = spawn('bash', ['-c', 'ulimit -n 128; exec "$0" "$1"', process.execPath, script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = await child.stdout.setEncoding('utf8').toArray();
  expect(said.join('')).toBe('EMFILE\naaaaaaaa');
});

test('a parser that cannot start rejects instead of hanging, and is tried again for the next message', async () => {
  const script = mark('broken.mjs');
  writeFileSync(script, 'throw new Error("cannot start");');
  const parsers = pool({ entry: new URL(`file://${script}`) });
  await expect(parsers.warm()).rejects.toMatchObject({ code: 'PARSER_UNAVAILABLE' });
  await expect(order(parsers, 'a')).rejects.toMatchObject({
    code: 'PARSER_UNAVAILABLE',
    detail: expect.stringContaining('cannot start'),
  });
  const source = new URL('../../src', import.meta.url).href;
  writeFileSync(script, readFileSync(entry, 'utf8').replace("'../../src", `'${source}`));
  await expect(order(parsers, 'b')).resolves.toMatchObject({ order: 'b' });
});

test('a parser that never becomes ready is given up', async () => {
  const script = mark('silent.mjs');
  writeFileSync(script, 'setInterval(() => undefined, 1000);');
  const parsers = pool({
    entry: new URL(`file://${script}`),
    clock: turnedClock((milliseconds) => milliseconds === 30_000),
  });
  await expect(order(parsers, 'a')).rejects.toMatchObject({ code: 'PARSER_UNAVAILABLE' });
});

test('the warm process is replaced when it is killed from outside', async () => {
  const parsers = pool({ size: 1 });
  const { pid } = await order(parsers, 'a');
  process.kill(pid, 'SIGKILL');
  const again = await order(parsers, 'b');
  expect(again.order).toBe('b');
});

test('stop ends every process and gives back what is unfinished', async () => {
  const parsers = pool();
  const { pid } = await order(parsers, 'a');
  const unfinished = order(parsers, 'loop');
  const outcome = expect(unfinished).rejects.toMatchObject({ code: 'PARSER_UNAVAILABLE' });
  await parsers.stop();
  await outcome;
  expect(() => process.kill(pid, 0)).toThrow();
  await expect(order(parsers, 'b')).rejects.toMatchObject({ code: 'PARSER_UNAVAILABLE' });
});
