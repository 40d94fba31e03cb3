/** The heartbeat's time follows the clock while the loop turns, and nothing is ever written into it. */
import { chmodSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { startHeartbeat } from '../../src/supervision/heartbeat.ts';
import { createManualClock } from '../clock.ts';

let directory: string;
const file = () => join(directory, 'heartbeat');

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'mailwatchd-heartbeat-'));
});

afterEach(() => {
  chmodSync(directory, 0o700);
  rmSync(directory, { recursive: true, force: true });
});

test('its time is set at the start and every 5 s until it is stopped', async () => {
  const clock = createManualClock();
  const heartbeat = startHeartbeat({ directory, clock, onError: expect.unreachable });
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  expect(statSync(file()).mtimeMs).toBe(clock.now());
  clock.advance(5_000);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  expect(statSync(file())).toMatchObject({ mtimeMs: clock.now(), size: 0 });
  heartbeat.stop();
  expect(clock.timers().length).toBe(0);
});

test('a file that somebody removed comes back', async () => {
  const clock = createManualClock();
  const heartbeat = startHeartbeat({ directory, clock, onError: expect.unreachable });
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  rmSync(file());
  clock.advance(5_000);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  expect(statSync(file()).mtimeMs).toBe(clock.now());
  heartbeat.stop();
});

test('a directory that is away is told once, and the heart beats on when it is back', async () => {
  const away = `${directory}-away`;
  renameSync(directory, away);
  const clock = createManualClock();
  const errors: unknown[] = [];
  const heartbeat = startHeartbeat({ directory, clock, onError: (error) => errors.push(error) });
  for (let beat = 0; beat < 3; beat++) {
    await vi.waitFor(() => expect(clock.timers().length).toBe(1));
    clock.advance(5_000);
  }
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  expect(errors).toEqual([expect.objectContaining({ code: 'ENOENT' })]);
  renameSync(away, directory);
  clock.advance(5_000);
  await vi.waitFor(() => expect(clock.timers().length).toBe(1));
  expect(statSync(file()).mtimeMs).toBe(clock.now());
  heartbeat.stop();
});
