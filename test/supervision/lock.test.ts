/** One daemon per state directory: the lock ends with its process, and a probe never stops a start. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { isLocked, takeLock } from '../../src/supervision/lock.ts';

let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'mailwatchd-lock-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

/** Another process that takes the lock; resolves with what it said: `locked` or an error's code. */
async function holder(): Promise<{ child: ChildProcess; said: string }> {
  const module = new URL('../../src/supervision/lock.ts', import.meta.url).href;
  const program = `
    const { takeLock } = await import(${JSON.stringify(module)});
    await takeLock(${JSON.stringify(directory)}).then(() => console.log('locked'), (error) => console.log(error.code));
    setInterval(() => globalThis.gc?.(), 10);`;
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [chunk] = await once(child.stdout!, 'data');
  return { child, said: String(chunk).trim() };
}

test('a second daemon is refused, in this process and in another', async () => {
  const { said } = await holder();
  expect(said).toBe('locked');
  expect(isLocked(directory)).toBe(true);
  await expect(takeLock(directory)).rejects.toMatchObject({ code: 'ALREADY_RUNNING', exitStatus: 75 });
  expect((await holder()).said).toBe('ALREADY_RUNNING');
});

test('a second daemon in the same process is refused', async () => {
  const lock = await takeLock(directory);
  expect(isLocked(directory)).toBe(true);
  await expect(takeLock(directory)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  expect(isLocked(directory)).toBe(true);
  lock.release();
  lock.release();
  expect(isLocked(directory)).toBe(false);
  (await takeLock(directory)).release();
});

test('the lock ends with a killed process and leaves nothing that is in the way', async () => {
  const { child } = await holder();
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(isLocked(directory)).toBe(false);
  expect(readdirSync(directory)).toEqual(['lock.db']);
  (await takeLock(directory)).release();
});

test('without a daemon, or a state directory, nothing is locked and nothing is made', () => {
  expect(isLocked(directory)).toBe(false);
  expect(isLocked(join(directory, 'absent'))).toBe(false);
  expect(readdirSync(directory)).toEqual([]);
});

test('a start waits for a probe that holds its shared lock', async () => {
  (await takeLock(directory)).release();
  const probe = new DatabaseSync(join(directory, 'lock.db'), { readOnly: true });
  probe.exec('BEGIN');
  probe.prepare('SELECT count(*) FROM sqlite_schema').get();
  // The probe ends once the daemon has opened the file, so that its first try meets the probe.
  const daemon = holder();
  await vi.waitFor(() => expect(hasOpen(children[0]?.pid, 'lock.db')).toBe(true), {
    interval: 1,
    timeout: 10_000,
  });
  probe.close();
  expect((await daemon).said).toBe('locked');
});

/** Linux: what a process has open. */
function hasOpen(pid: number | undefined, name: string): boolean {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).some((fd) => {
    try {
      return readlinkSync(join(directory, fd)).endsWith(`/${name}`);
    } catch {
      return false; // closed in the meantime
    }
  });
}

test('a missing state directory, and a lock file that is something else, are told', async () => {
  await expect(takeLock(join(directory, 'absent'))).rejects.toMatchObject({ code: 'STORAGE_MISSING' });
  writeFileSync(
    join(directory, 'lock.db'),
    'not a database, but longer than the header of one would be '.repeat(20),
  );
  await expect(takeLock(directory)).rejects.toMatchObject({ code: 'LEDGER_FAILED' });
  expect(() => isLocked(directory)).toThrow(expect.objectContaining({ code: 'LEDGER_FAILED' }));
});
