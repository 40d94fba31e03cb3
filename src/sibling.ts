/** Finds the entry point of a thread or process beside a module, both from source (.ts) and built (.js). */

/** `siblingModule(import.meta.url, 'thread')` is the URL of `./thread.ts` or `./thread.js`. */
export function siblingModule(importMetaUrl: string, name: string): URL {
  return new URL(`./${name}${importMetaUrl.endsWith('.ts') ? '.ts' : '.js'}`, importMetaUrl);
}
