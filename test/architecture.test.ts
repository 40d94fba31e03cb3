/** Imports point downwards only; folders on one level never import each other (docs/development.md). */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const src = resolve(import.meta.dirname, '../src');

/** Higher may import lower. A folder's files may import each other. */
const levels: Record<string, number> = {
  main: 8,
  cli: 7,
  commands: 6,
  daemon: 5,
  replay: 4,
  engine: 3,
  ingest: 2,
  credentials: 2,
  mailbox: 1,
  message: 1,
  spool: 1,
  supervision: 1,
  config: 1,
  oauth: 1,
};
const SMALL_THINGS = 0;

const place = (file: string) => relative(src, file).split('/')[0]!.replace(/\.ts$/, '');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(src, name));

const imports = files.flatMap((file) =>
  [...readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => ({
    file,
    target: match[1]!,
  })),
);

test('imports point downwards', () => {
  const upward = imports
    .filter(({ target }) => target.startsWith('.'))
    .map(({ file, target }) => ({ from: place(file), to: place(resolve(dirname(file), target)), file }))
    .filter(({ from, to }) => from !== to && (levels[from] ?? SMALL_THINGS) <= (levels[to] ?? SMALL_THINGS))
    .filter(({ from, to }) => (levels[from] ?? SMALL_THINGS) + (levels[to] ?? SMALL_THINGS) > 0)
    .map(({ from, to, file }) => `${relative(src, file)}: ${from} → ${to}`);
  expect(upward).toEqual([]);
});

test.each([
  ['imapflow', 'mailbox/imapflow.ts'],
  ['ical.js', 'message/calendar.ts'],
  ['mailparser', 'message/mailparser.ts'],
  ['nodemailer', 'mailbox/submission.ts'],
  ['winston', 'logging.ts'],
  ['convict', 'config/schema.ts'],
  ['openid-client', 'oauth/endpoint.ts'],
  ['jose', 'oauth/endpoint.ts'],
  ['re2js', 'pattern.ts'],
])('%s is imported by one file', (library, only) => {
  const importers = new Set(
    imports
      .filter(({ target }) => target === library || target.startsWith(`${library}/`))
      .map(({ file }) => relative(src, file)),
  );
  expect([...importers]).toEqual([only]);
});
