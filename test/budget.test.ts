/** The byte budget: bounded, in order, alone when asked, and never leaking what an abort took back. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createBudget } from '../src/budget.ts';

const never = new AbortController().signal;
const ordinary = { alone: false, signal: never };

async function admitted(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending');
  return (
    (await Promise.race([promise, new Promise((resolve) => setImmediate(resolve, pending))])) !== pending
  );
}

test('what fits is admitted, what does not waits for a release', async () => {
  const budget = createBudget(100);
  const release = await budget.reserve(60, ordinary);
  const second = budget.reserve(60, ordinary);
  expect(await admitted(second)).toBe(false);
  release();
  expect(await admitted(second)).toBe(true);
});

test('a message larger than the whole budget is admitted when nothing else is in flight', async () => {
  const budget = createBudget(100);
  const release = await budget.reserve(1, ordinary);
  const large = budget.reserve(1000, ordinary);
  expect(await admitted(large)).toBe(false);
  release();
  expect(await admitted(large)).toBe(true);
  expect(await admitted(budget.reserve(1, ordinary))).toBe(false);
});

test('alone waits for the others and keeps them out', async () => {
  const budget = createBudget(100);
  const release = await budget.reserve(1, ordinary);
  const alone = budget.reserve(1, { alone: true, signal: never });
  const later = budget.reserve(1, ordinary);
  expect(await admitted(alone)).toBe(false);
  release();
  expect(await admitted(alone)).toBe(true);
  expect(await admitted(later)).toBe(false);
  (await alone)();
  expect(await admitted(later)).toBe(true);
});

test('what goes by a file is admitted by itself: small messages do not wait for the next large one', async () => {
  const budget = createBudget(100);
  const release = await budget.reserve(90, { ...ordinary, byFile: true });
  const next = budget.reserve(90, { ...ordinary, byFile: true });
  expect(await admitted(next)).toBe(false);
  expect(await admitted(budget.reserve(60, ordinary))).toBe(true);
  expect(await admitted(budget.reserve(60, ordinary))).toBe(false);
  release();
  expect(await admitted(next)).toBe(true);
});

test('alone waits for messages that go by a file too, and an abort meanwhile gives back what it had', async () => {
  const budget = createBudget(100);
  await budget.reserve(1, { ...ordinary, byFile: true });
  const controller = new AbortController();
  const alone = budget.reserve(1, { alone: true, signal: controller.signal });
  expect(await admitted(alone)).toBe(false);
  expect(await admitted(budget.reserve(1, ordinary))).toBe(false);
  controller.abort(new Error('stopped'));
  await expect(alone).rejects.toThrow('stopped');
  expect(await admitted(budget.reserve(1, ordinary))).toBe(true);
});

test('releasing twice gives back once', async () => {
  const budget = createBudget(100);
  const release = await budget.reserve(60, ordinary);
  await budget.reserve(40, ordinary);
  release();
  release();
  expect(await admitted(budget.reserve(60, ordinary))).toBe(true);
  expect(await admitted(budget.reserve(1, ordinary))).toBe(false);
});

test('an aborted wait leaves the queue and lets the next one in', async () => {
  const budget = createBudget(100);
  await budget.reserve(60, ordinary);
  const controller = new AbortController();
  const large = budget.reserve(90, { alone: false, signal: controller.signal });
  const small = budget.reserve(10, ordinary);
  expect(await admitted(small)).toBe(false);
  controller.abort(new Error('stopped'));
  await expect(large).rejects.toThrow('stopped');
  expect(await admitted(small)).toBe(true);
});

test('an aborted signal is refused at once', async () => {
  await expect(createBudget(100).reserve(1, { alone: false, signal: AbortSignal.abort() })).rejects.toThrow();
});

test('never more than the capacity in flight, unless one is alone; all come through', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ bytes: fc.nat(150), alone: fc.boolean() })), async (requests) => {
      const budget = createBudget(100);
      let used = 0;
      let holders = 0;
      let done = 0;
      await Promise.all(
        requests.map(async ({ bytes, alone }) => {
          const release = await budget.reserve(bytes, { alone, signal: never });
          used += bytes;
          holders += 1;
          if (holders > 1) expect(used).toBeLessThanOrEqual(100);
          if (alone) expect(holders).toBe(1);
          await new Promise((resolve) => setImmediate(resolve));
          used -= bytes;
          holders -= 1;
          done += 1;
          release();
        }),
      );
      expect(done).toBe(requests.length);
    }),
  );
});
