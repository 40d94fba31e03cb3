/** Where an account's tokens are kept: one small file, replaced as a whole, for the daemon's user alone. */
import { chown, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isDate } from '../clock.ts';
import { MailwatchdError } from '../errors.ts';

export interface Tokens {
  /** Null where access is not by a refresh token. */
  refreshToken: string | null;
  accessToken: string;
  /** Milliseconds since the epoch. */
  issuedAt: number;
  expiresAt: number;
  /** Until when the refresh token is valid, ms; null or absent where nobody told. */
  refreshEndsAt?: number | null;
  /** What the refresh token descends from: SHA-256 of the one in the configuration; null: a login's. */
  origin: string | null;
}

/** What the file holds, null where there is none. Throws SECRET_UNAVAILABLE, never with anything of it. */
export async function readTokens(path: string): Promise<Tokens | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw unavailable(path, `cannot be read by user ${process.geteuid?.()} (${code})`);
  }
  const tokens = parse(text);
  if (tokens === null) throw unavailable(path, 'is not a file of tokens');
  return tokens;
}

function parse(text: string): Tokens | null {
  try {
    const value = JSON.parse(text) as Tokens | null;
    const right =
      typeof value?.accessToken === 'string' &&
      Number.isFinite(value.issuedAt) &&
      Number.isFinite(value.expiresAt) &&
      ((value.refreshEndsAt ?? null) === null || isDate(value.refreshEndsAt)) &&
      [value.refreshToken, value.origin].every((text) => text === null || typeof text === 'string');
    return right ? value : null;
  } catch {
    return null; // not JSON: said by the caller, without the text
  }
}

function unavailable(path: string, detail: string): MailwatchdError {
  const remedy = 'see to it, as the user of the daemon, or remove it and log in anew';
  return new MailwatchdError('SECRET_UNAVAILABLE', { where: path, detail, remedy });
}

/**
 * Replaces the file; the tokens are durable when this resolves, and before that the old ones are. Its mode is 0600,
 * its owner that of its directory, also where root does it. Makes the directory where its own exists. Throws
 * OAUTH_TOKEN_UNSAVED.
 */
export async function storeTokens(path: string, tokens: Tokens): Promise<void> {
  const directory = dirname(path);
  const temporary = `${path}.new`;
  try {
    await makeDirectory(directory);
    const { uid, gid } = await stat(directory);
    try {
      // One that a crash left behind might have another mode.
      await rm(temporary, { force: true });
      await using file = await open(temporary, 'wx', 0o600);
      if (uid !== process.geteuid?.()) await file.chown(uid, gid);
      await file.writeFile(`${JSON.stringify(tokens)}\n`);
      await file.sync();
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await syncDirectory(directory);
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw new MailwatchdError('OAUTH_TOKEN_UNSAVED', {
      where: path,
      detail: `the new token cannot be stored (${code})`,
      remedy: 'make room, or let the daemon write there: it is tried again, and kept in memory until then',
    });
  }
}

async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw error;
  }
  const parent = dirname(directory);
  const { uid, gid } = await stat(parent);
  if (uid !== process.geteuid?.()) await chown(directory, uid, gid);
  await syncDirectory(parent);
}

async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r');
  await handle.sync();
}
