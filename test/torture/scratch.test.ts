/** What attacks leave when they are interrupted: nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const ATTACK = `
  import { execFileSync, spawn } from 'node:child_process';
  import { mkdtempSync, writeFileSync } from 'node:fs';
  import { tmpdir } from 'node:os';
  import { join } from 'node:path';
  import { openScratch } from '${pathToFileURL(resolve(import.meta.dirname, 'scratch.ts'))}';
  openScratch();
  const place = mkdtempSync(join(tmpdir(), 'place-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'mailwatchd-torture', place], { stdio: 'ignore' });
  } catch {
    // Only root may.
  }
  writeFileSync(join(place, 'file'), '');
  // One that ends is followed by another, as in an attack.
  const again = () => {
    const child = spawn('sleep', ['600']).once('exit', again);
    console.log(child.pid);
  };
  again();
`;

test.each([
  'SIGINT',
  'SIGTERM',
] as const)('%s ends it with its processes, mounts and files', async (signal) => {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-scratch-'));
  try {
    const attack = spawn(process.execPath, ['--input-type=module', '--eval', ATTACK], {
      env: { ...process.env, TMPDIR: directory },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const said = text(attack.stdout);
    await once(attack.stdout, 'data');
    attack.kill(signal);
    await once(attack, 'exit');
    expect(attack.exitCode).toBe(128 + constants.signals[signal]);
    expect(readdirSync(directory)).toEqual([]);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(directory);
    const started = (await said).trim().split('\n');
    expect(started).not.toEqual([]);
    expect(started.filter((pid) => existsSync(`/proc/${pid}/exe`))).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
