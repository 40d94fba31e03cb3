/** New connections to one host are spaced out, each host by itself, and a stop does not wait for its turn. */
import { expect, test } from 'vitest';
import { paceConnections } from '../src/pace.ts';
import { createManualClock } from './clock.ts';

const never = new AbortController().signal;
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('ten a second come every 100 ms, in the order of asking', async () => {
  const clock = createManualClock();
  const takeTurn = paceConnections(10, clock);
  const turns: string[] = [];
  for (const name of ['first', 'second', 'third']) void takeTurn('a', never).then(() => turns.push(name));
  await settled();
  expect(turns).toEqual(['first']);
  clock.advance(99);
  await settled();
  expect(turns).toEqual(['first']);
  clock.advance(1);
  await settled();
  expect(turns).toEqual(['first', 'second']);
  clock.advance(100);
  await settled();
  expect(turns).toEqual(['first', 'second', 'third']);
});

test('another host does not wait, nor does one that was quiet', async () => {
  const clock = createManualClock();
  const takeTurn = paceConnections(1, clock);
  await takeTurn('a', never);
  await takeTurn('b', never);
  clock.advance(5_000);
  await takeTurn('a', never);
  expect(clock.timers()).toEqual([]);
});

test('a thousand hosts after a cut: over a minute, not in a second; a lone one at once', async () => {
  const clock = createManualClock();
  const takeTurn = paceConnections(10, clock);
  const turns: number[] = [];
  for (let host = 0; host < 1000; host++)
    void takeTurn(`host ${host}`, never).then(() => turns.push(clock.monotonic()));
  await settled();
  for (let tick = 0; tick < 600; tick++) {
    clock.advance(100);
    await settled();
  }
  expect(turns).toHaveLength(1000);
  const most = turns.map((from) => turns.filter((turn) => turn >= from && turn < from + 1000).length);
  expect(Math.max(...most)).toBeLessThanOrEqual(40);
  expect(turns.at(-1)).toBeGreaterThan(40_000);
  await takeTurn('late', never);
  expect(clock.timers()).toEqual([]);
});

test('a host with many mailboxes takes no turns from the others', async () => {
  const clock = createManualClock();
  const takeTurn = paceConnections(10, clock);
  for (let mailbox = 0; mailbox < 500; mailbox++) void takeTurn('large', never);
  for (let tick = 0; tick < 50; tick++) {
    clock.advance(100);
    await settled();
  }
  await takeTurn('small', never);
});

test('an abort ends the wait', async () => {
  const clock = createManualClock();
  const takeTurn = paceConnections(1, clock);
  await takeTurn('a', never);
  const controller = new AbortController();
  const waiting = takeTurn('a', controller.signal);
  controller.abort();
  await waiting;
  expect(clock.timers()).toEqual([]);
});
