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
    const sizes = [];
    for (let turn = 0; turn < 200; turn++) {
      for (let count = 0; count < 10_000; count++) kept.push({ count, of: [turn] });
      if (turn % 20 === 19) kept.length = 0;
      await setImmediate();
      sizes.push(getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size);
    }
    console.log(JSON.stringify(sizes.sort((a, b) => a - b)));
  `;
  const sizes: number[] = JSON.parse(
    String(execFileSync(process.execPath, ['--input-type=module', '--eval', program])),
  );
  // V8 takes less again whenever a collection of everything finds little alive, and for a while more than its limit where
  // a busy machine keeps one from ending.
  expect(sizes.at(-1)).toBeGreaterThanOrEqual(16 * MIB);
  expect(sizes[sizes.length / 2]).toBeLessThan(32 * MIB);
});
