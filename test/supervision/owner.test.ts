/** Only the owner of the state directory may write into it. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { assertOwner } from '../../src/supervision/owner.ts';

const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-owner-'));
afterAll(() => rmSync(directory, { recursive: true }));
const owner = statSync(directory).uid;

test('its owner may', async () => {
  await assertOwner(directory);
  await assertOwner(directory, owner);
});

// Root may where root owns it, and nowhere else.
test.each([owner + 1, owner === 0 ? 65534 : 0])('user %i may not', async (uid) => {
  await expect(assertOwner(directory, uid)).rejects.toMatchObject({ code: 'WRONG_USER', exitStatus: 78 });
});

test('a missing directory is told', async () => {
  await expect(assertOwner(join(directory, 'absent'))).rejects.toMatchObject({ code: 'STORAGE_MISSING' });
});
