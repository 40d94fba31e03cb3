/** What a run of a given length gets to: which cases, how many of them at a time, and when it ends. */
import type { Random } from '../servers/random.ts';

/** What a run of this length gets to, each for `each` milliseconds: the first ones, where the danger is, and some of the others. */
export function withinBudget<T>(
  list: readonly T[],
  { budget, each, first, random }: { budget: number; each: number; first: number; random: Random },
): T[] {
  const count = Math.max(first, Math.floor(budget / each));
  const drawn = list.slice(first).map((one) => ({ one, by: random.fraction() }));
  const kept = new Set(
    drawn
      .toSorted((a, b) => a.by - b.by)
      .slice(0, count - first)
      .map(({ one }) => one),
  );
  return list.filter((one, index) => index < first || kept.has(one));
}

/** So many cases at a time, in their order; after `ends` none but the first ones are begun: without them nothing is proved. */
export async function together<T>(
  cases: readonly T[],
  atATime: number,
  ends: number,
  work: (one: T) => Promise<void>,
): Promise<void> {
  const left = [...cases];
  const next = async (): Promise<void> => {
    for (let one = left.shift(); one !== undefined; one = performance.now() < ends ? left.shift() : undefined)
      await work(one);
  };
  await Promise.all(Array.from({ length: atATime }, next));
}
