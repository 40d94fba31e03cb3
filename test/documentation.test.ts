/** The documentation tells of every error code, and of no other. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ERRORS } from '../src/errors.ts';

const operations = readFileSync(new URL('../docs/operations.md', import.meta.url), 'utf8');
const [, errorCodes = ''] = /^## Error codes$(.*?)^## /ms.exec(operations) ?? [];

test('docs/operations.md has a row for each error code', () => {
  const documented = [...errorCodes.matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, code]) => code);
  expect(documented.toSorted()).toEqual(Object.keys(ERRORS).toSorted());
});
