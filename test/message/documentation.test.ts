/** docs/document.md tells of every field and every warning, and of no other. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { WARNINGS } from '../../src/message/warnings.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const documentation = read('docs/document.md');
const schema = JSON.parse(read('schema/message-v1.json'));
const rows = (heading: string) => {
  const section = documentation.split(/^## /m).find((one) => one.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(/^\| `([^`]+)` \| (.+?) \|/gm)].map(([, name, text]) => [name, text]);
};

test('a row for each field of the document', () => {
  expect(rows('Fields').map(([name]) => name)).toEqual(Object.keys(schema.properties));
});

test('a row for each field of an attachment', () => {
  expect(rows('Attachments').map(([name]) => name)).toEqual(Object.keys(schema.$defs.attachment.properties));
});

test('a row for each warning, with its meaning', () => {
  expect(Object.fromEntries(rows('Warnings'))).toEqual(WARNINGS);
});
