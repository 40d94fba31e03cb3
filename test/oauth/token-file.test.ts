/** Tokens are replaced as a whole, for one user alone, whoever replaces them. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readTokens, storeTokens, type Tokens } from '../../src/oauth/token-file.ts';

const TOKENS: Tokens = { refreshToken: 'r', accessToken: 'a', issuedAt: 1, expiresAt: 2, origin: null };

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-tokens-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('what was stored is read, whatever a crash or another mode left there', async () => {
  const directory = temporaryDirectory();
  const path = join(directory, 'a.json');
  expect(await readTokens(path)).toBeNull();
  writeFileSync(`${path}.new`, 'half', { mode: 0o666 });
  writeFileSync(path, 'old');
  chmodSync(path, 0o644);
  await storeTokens(path, TOKENS);
  expect(await readTokens(path)).toEqual(TOKENS);
  expect(readdirSync(directory)).toEqual(['a.json']);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('an end that is no date is not taken from a file', async () => {
  const path = join(temporaryDirectory(), 'a.json');
  writeFileSync(path, JSON.stringify({ ...TOKENS, refreshEndsAt: 1e21 }));
  await expect(readTokens(path)).rejects.toMatchObject({ code: 'SECRET_UNAVAILABLE' });
});

test('where storing fails, the tokens before stay and nothing is left', async () => {
  const directory = temporaryDirectory();
  const path = join(directory, 'a.json');
  mkdirSync(path);
  await expect(storeTokens(path, TOKENS)).rejects.toMatchObject({ code: 'OAUTH_TOKEN_UNSAVED' });
  expect(readdirSync(directory)).toEqual(['a.json']);
  await expect(storeTokens(join(directory, 'x/y/a.json'), TOKENS)).rejects.toMatchObject({
    message: expect.stringContaining('ENOENT'),
  });
});

test.runIf(process.getuid?.() === 0)('root stores them for the owner of the directory', async () => {
  const state = temporaryDirectory();
  chownSync(state, 12_345, 12_346);
  const path = join(state, 'tokens', 'a.json');
  await storeTokens(path, TOKENS);
  for (const each of [path, join(state, 'tokens')])
    expect(statSync(each)).toMatchObject({ uid: 12_345, gid: 12_346 });
});
