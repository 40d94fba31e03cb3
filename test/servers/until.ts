/** Waiting for a condition of another process: asked again and again until a deadline, never a fixed sleep. */

/** How often a condition is asked, ms: short beside what we wait for, long beside the cost of asking. */
const ASK_EVERY = 20;

/**
 * Resolves with the first value of `condition` that is neither false, null nor undefined. Rejects after
 * `within` milliseconds, naming `what` was waited for; what `condition` throws passes through.
 * It is asked every `askEvery` milliseconds.
 */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  within = 30_000,
  askEvery = ASK_EVERY,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = performance.now() + within;
  while (true) {
    const value = await condition();
    if (value !== false && value !== null && value !== undefined) {
      return value as Exclude<T, false | null | undefined>;
    }
    if (performance.now() > deadline) throw new Error(`waited ${within} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, askEvery));
  }
}
