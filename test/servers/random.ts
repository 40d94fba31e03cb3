/** Random numbers from a seed, so that a run that failed can be had again. */

export interface Random {
  /** In [0, 1). */
  fraction(): number;
  /** A whole number in [low, high]. */
  between(low: number, high: number): number;
  pick<T>(list: readonly T[]): T;
  bytes(count: number): Buffer;
}

/** Mulberry32: 32 bits of state are plenty for tests. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const fraction = () => next() / 2 ** 32;
  const between = (low: number, high: number) => low + Math.floor(fraction() * (high - low + 1));
  return {
    fraction,
    between,
    pick: (list) => list[between(0, list.length - 1)]!,
    bytes(count) {
      const words = new Uint32Array(Math.ceil(count / 4));
      for (let index = 0; index < words.length; index++) words[index] = next();
      return Buffer.from(words.buffer, 0, count);
    },
  };
}

/** The same in another order. */
export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, order: random.fraction() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/** The seed of this run: `MAILWATCHD_TEST_SEED`, or a new one. The suite prints it. */
export function runSeed(): number {
  const wanted = process.env.MAILWATCHD_TEST_SEED;
  return wanted === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(wanted);
}
