/** Messages that are not fetched in one piece: downloaded to a file, or only their header. */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import type { MessageMetadata } from '../model.ts';
import { holding, messageError, type Session } from './session.ts';
import { storageError } from './storage-error.ts';

/** Bytes of one partial FETCH (RFC 3501 §6.4.5): the round trip is nothing beside it, and it is all that memory holds. */
const PART_BYTES = 1024 * 1024;
/** What is kept of the header of a message that is not fetched; real ones have a few kilobytes. */
const HEADER_BYTES = 64 * 1024;

/**
 * One download at a time in the process: a write to a stalled disk occupies a thread of Node's pool of
 * four, which name look-ups and every other file need too.
 */
let downloads: Promise<unknown> = Promise.resolve();

/** What became of a message that was asked for in parts. */
export type Parts = 'complete' | 'missing' | 'too-large';

/**
 * Downloads a message to `path`. `missing`: the server answered without it. `too-large`: its real bytes
 * exceed limits.messageBytes, whatever RFC822.SIZE said. The file stays only where it is complete.
 */
export function download(session: Session, message: MessageMetadata, path: string): Promise<Parts> {
  const result = downloads.then(() => downloadNow(session, message, path));
  // Whoever comes next waits for the end of this one, not for its success.
  downloads = result.catch(() => undefined);
  return result;
}

async function downloadNow(session: Session, message: MessageMetadata, path: string): Promise<Parts> {
  let result: Parts | undefined;
  const file = await holding(open(path, 'w', 0o600).catch(storageError(path)));
  try {
    result = await eachPart(session, message, (part) =>
      holding(writeAll(file, part).catch(storageError(path))),
    );
    return result;
  } finally {
    await holding(file.close().catch(storageError(path)));
    if (result !== 'complete') await discard(session, path);
  }
}

/**
 * Removes a downloaded file. Where that fails the run's end removes it: what the message failed with says
 * more of a disk that is read-only or gone.
 */
export async function discard(session: Session, path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (error) {
    session.log.debug('download_left', { path, reason: String(error) });
  }
}

/** SHA-256 (hex) of a message's bytes; null where they cannot be had whole. */
export async function hashParts(session: Session, message: MessageMetadata): Promise<string | null> {
  const hash = createHash('sha256');
  const result = await eachPart(session, message, async (part) => void hash.update(part));
  return result === 'complete' ? hash.digest('hex') : null;
}

/** A message's first HEADER_BYTES; null where the server answers without them. */
export function fetchStart(session: Session, uid: number): Promise<Buffer | null> {
  return session.connection.fetchPart(uid, 0, HEADER_BYTES);
}

/** As `fetchStart` gives it. */
export const startOf = (source: Buffer): Buffer => source.subarray(0, HEADER_BYTES);

/** The bytes up to and with the empty line that ends a header (RFC 5322 §2.1), at most HEADER_BYTES. */
export function headerOf(source: Buffer): Buffer {
  const start = startOf(source);
  const end = [
    ['\r\n\r\n', 4],
    ['\n\n', 2],
  ] as const;
  for (const [mark, length] of end) {
    const at = start.indexOf(mark);
    if (at >= 0) return start.subarray(0, at + length);
  }
  return start;
}

async function eachPart(
  session: Session,
  { uid, size }: MessageMetadata,
  take: (part: Buffer) => Promise<void>,
): Promise<Parts> {
  let received = 0;
  for (;;) {
    const part = await session.connection.fetchPart(uid, received, PART_BYTES);
    if (part === null && received === 0) return 'missing';
    // Some servers answer a partial FETCH with the whole message: well for the first part only.
    if (part === null || (part.length > PART_BYTES && received > 0))
      throw messageError(
        session,
        uid,
        'FETCH_INCOMPLETE',
        `after ${received} bytes the server did not go on`,
      );
    received += part.length;
    if (received > session.limits.messageBytes) return 'too-large';
    await take(part);
    if (part.length > PART_BYTES) return 'complete';
    if (part.length === 0 && received < size) return (await isThere(session, uid)) ? 'complete' : 'missing';
    // A short part ends the message, unless the server cuts parts shorter than it was asked for.
    if (part.length === 0 || (part.length < PART_BYTES && received >= size)) return 'complete';
  }
}

/**
 * Where nothing follows, RFC822.SIZE was wrong, or the message was expunged since its first part: Dovecot
 * answers NIL then, as others do past a message's end.
 */
async function isThere({ connection }: Session, uid: number): Promise<boolean> {
  // Of an expunge a server may only tell here (RFC 3501 §6.1.2).
  await connection.noop();
  return (await connection.existing([uid])).length > 0;
}

async function writeAll(file: FileHandle, part: Buffer): Promise<void> {
  for (let written = 0; written < part.length; ) {
    const { bytesWritten } = await file.write(part, written);
    written += bytesWritten;
  }
}
