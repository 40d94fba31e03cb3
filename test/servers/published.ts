/** What a consumer sees of a storage directory. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The published documents, absolute. What begins with a dot is the daemon's own and is not even entered:
 * directories in `.staging` go away while they are read.
 */
export function publishedFiles(storage: string): string[] {
  return readdirSync(storage)
    .filter((name) => !name.startsWith('.'))
    .flatMap((top) =>
      readdirSync(join(storage, top), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.json'))
        .map((name) => join(storage, top, name)),
    );
}
