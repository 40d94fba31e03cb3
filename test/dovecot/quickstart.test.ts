/** Proves that the quickstart shows three documents, ends by itself, and leaves no file and no process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { descendantsOf } from '../servers/processes.ts';
import { until } from '../servers/until.ts';

const SCRIPT = resolve(import.meta.dirname, '../../scripts/quickstart');

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'quickstart-test-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

interface Run {
  child: ChildProcess;
  output(): string;
  ended: Promise<number | null>;
}

/** Everything temporary goes where we can see it. */
function start(...parameters: string[]): Run {
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', SCRIPT, ...parameters], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: directory, MAILWATCHD_CONFIG: '/nowhere' },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  return { child, output: () => output, ended: once(child, 'close').then(() => child.exitCode) };
}

test('three messages become three documents, and nothing is left', async () => {
  const run = start();
  expect(await run.ended, run.output()).toBe(0);
  for (const subject of ['Invoice 42', 'Grüße aus Zürich 🎉', 'Scan of today']) {
    expect(run.output()).toContain(`"subject": "${subject}"`);
  }
  expect(run.output().match(/JSON after \d+ ms\n\/.*\.json$/gm)).toHaveLength(3);
  expect(readdirSync(directory)).toEqual([]);
});

test('--keep takes mail from another shell, and an interrupt ends and removes everything', async () => {
  const run = start('--keep');
  const port = await until('the line to send with', () => /--send (\d+)/.exec(run.output())?.[1]);
  const sending = start('--send', port);
  sending.child.stdin?.end('From: me@example.org\nSubject: From another shell\n\nIt works.\n');
  expect(await sending.ended, sending.output()).toBe(0);
  await until('its document', () => run.output().includes('"subject": "From another shell"'));

  const family = descendantsOf(run.child.pid!);
  expect(family).not.toEqual([]);
  run.child.kill('SIGINT');
  expect(await run.ended).toBe(130);
  await until('its processes to end', () => family.every((one) => !one.exists()));
  expect(readdirSync(directory)).toEqual([]);
});

test('an unknown option is a usage fault, and --help shows the options', async () => {
  expect(await start('--nonsense').ended).toBe(64);
  const help = start('--help');
  expect(await help.ended).toBe(0);
  expect(help.output()).toContain('--keep');
});
