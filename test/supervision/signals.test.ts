/** Signals stop, reload, and in the end kill: once each, and never what has stopped in time. */
import { spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { handleSignals, type SignalSource } from '../../src/supervision/signals.ts';
import { createManualClock } from '../clock.ts';
import { descendantsOf } from '../servers/processes.ts';
import { until } from '../servers/until.ts';

function setup() {
  const source = new EventEmitter();
  const calls: string[] = [];
  const clock = createManualClock();
  const release = handleSignals(
    { stop: (signal) => void calls.push(`stop ${signal}`), reload: () => void calls.push('reload') },
    clock,
    Object.assign(source, {
      pid: 42,
      kill: (pid: number, signal: NodeJS.Signals) => void calls.push(`kill ${pid} ${signal}`),
    }) as unknown as SignalSource,
  );
  return { clock, calls, release, signal: (name: NodeJS.Signals) => source.emit(name, name), source };
}

test.each(['SIGTERM', 'SIGINT'] as const)('%s stops, once; a clean stop is not killed', (name) => {
  const { clock, calls, release, signal, source } = setup();
  signal(name);
  clock.advance(5_500);
  release();
  clock.advance(60_000);
  expect(calls).toEqual([`stop ${name}`]);
  expect(source.eventNames()).toEqual([]);
});

test('SIGHUP reloads each time, but not during a stop', () => {
  const { calls, signal } = setup();
  signal('SIGHUP');
  signal('SIGHUP');
  signal('SIGTERM');
  signal('SIGHUP');
  expect(calls).toEqual(['reload', 'reload', 'stop SIGTERM']);
});

test('a stop that is stuck is killed, after what is in flight had its 5 s', () => {
  const { clock, calls, signal } = setup();
  signal('SIGTERM');
  clock.advance(5_000);
  expect(calls).toEqual(['stop SIGTERM']);
  clock.advance(3_000);
  expect(calls).toEqual(['stop SIGTERM', 'kill 42 SIGKILL']);
});

test('a second signal kills at once; the echo of the first does not', () => {
  const { clock, calls, signal } = setup();
  signal('SIGINT');
  clock.advance(499);
  signal('SIGINT');
  signal('SIGTERM');
  expect(calls).toEqual(['stop SIGINT']);
  clock.advance(1);
  signal('SIGINT');
  expect(calls).toEqual(['stop SIGINT', 'kill 42 SIGKILL']);
});

test('SIGUSR1 opens no debugger, also where nobody gave --disable-sigusr1', async () => {
  const program = spawn(process.execPath, [resolve('src/main.ts'), 'parse', '-']);
  const said = Promise.all([text(program.stdout), text(program.stderr)]);
  await until('a parser', () => descendantsOf(program.pid!).length > 0);
  program.kill('SIGUSR1');
  program.stdin.end('Subject: after the signal\r\n\r\n');
  const [documents, errors] = await said;
  expect(JSON.parse(documents)).toMatchObject({ subject: 'after the signal' });
  expect(errors).toBe('');
});
