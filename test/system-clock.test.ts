/** The clock of the machine, which all else gets as an argument. */
import { expect, test } from 'vitest';
import { sleep, systemClock } from '../src/clock.ts';

test('a moment that has passed meanwhile is waited for no longer, and nothing is said of it', async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on('warning', listen);
  await sleep(systemClock, -0.0002);
  // Node emits a warning on the next tick.
  await sleep(systemClock, 0);
  process.off('warning', listen);
  expect(warnings).toEqual([]);
});
