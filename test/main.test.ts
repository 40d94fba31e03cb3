/** The process as a whole: how it ends when something in it is wrong. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';

test('a defect ends it with exit 70, and foreign text in its message reaches no terminal as it is', async () => {
  const defect = `setInterval(() => {
    if (process.listenerCount('uncaughtException') > 0) throw new Error('Grüße\\n\\x1b[2J\\u009b31m\\u202e\\ud800');
  })`;
  const program = spawn(process.execPath, [
    '--import',
    `data:text/javascript,${encodeURIComponent(defect)}`,
    ...[resolve('src/main.ts'), 'parse', '-'],
  ]);
  const [said, [status]] = await Promise.all([text(program.stderr), once(program, 'close')]);
  expect(said).toMatch(/^mailwatchd: INTERNAL: "Gr\\u00fc\\u00dfe\\n\\u001b\[2J[ -~]*: please report it\n$/);
  expect(said).toContain('\\u009b31m\\u202e\\ud800');
  expect(status).toBe(70);
});
