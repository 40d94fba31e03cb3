/** The least of a message that still fails: pieces are left out as long as it does. */

/** Tells of each candidate whether it fails as the message did. */
export type Fails = (candidates: readonly Buffer[]) => Promise<boolean[]>;

/** Candidates that are tried together. */
const AT_ONCE = 64;
const LONGEST_MS = 20_000;

export async function minimise(message: Buffer, fails: Fails): Promise<Buffer> {
  let least = message;
  let size = Math.ceil(least.length / 2);
  const ends = performance.now() + LONGEST_MS;
  while (size > 0 && performance.now() < ends) {
    const shorter = await firstFailing(least, size, fails);
    if (shorter !== null) least = shorter;
    else if (size === 1) break;
    else size = Math.ceil(size / 2);
    size = Math.min(size, least.length);
  }
  return least;
}

async function firstFailing(message: Buffer, size: number, fails: Fails): Promise<Buffer | null> {
  const count = Math.ceil(message.length / size);
  for (let from = 0; from < count; from += AT_ONCE) {
    const candidates = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, index) =>
      Buffer.concat([
        message.subarray(0, (from + index) * size),
        message.subarray((from + index + 1) * size),
      ]),
    );
    const found = (await fails(candidates)).indexOf(true);
    if (found >= 0) return candidates[found]!;
  }
  return null;
}
