/** What V8 takes for short-lived objects, in a process that makes many which live a while. */
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

const MIB = 1024 * 1024;

test('the young generation ends growing', () => {
  const program = `
    import { setImmediate } from 'node:timers/promises';
    import { getHeapSpaceStatistics } from 'node:v8';
    import { boundYoungGeneration } from ${JSON.stringify(new URL('../src/heap.ts', import.meta.url).href)};
    boundYoungGeneration();
    const kept = [];
    let most = 0;
    for (let turn = 0; turn < 200; turn++) {
      for (let count = 0; count < 10_000; count++) kept.push({ count, of: [turn] });
      if (turn % 20 === 19) kept.length = 0;
      await setImmediate();
      // At all times: V8 takes less again whenever a collection of everything finds little alive.
      const young = getHeapSpaceStatistics().find((space) => space.space_name === 'new_space');
      most = Math.max(most, young.space_size);
    }
    console.log(most);
  `;
  const size = Number(execFileSync(process.execPath, ['--input-type=module', '--eval', program]));
  expect(size).toBeGreaterThanOrEqual(16 * MIB);
  expect(size).toBeLessThanOrEqual(32 * MIB);
});
