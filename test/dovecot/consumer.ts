/** A consumer as hasty as one can be: takes each document the instant it appears, and deletes all of it. */
import { readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Document, readDocument } from './documents.ts';

export interface Consumed {
  document: Document;
  /** Relative to the storage directory. */
  path: string;
  /** Monotonic ms at which it was seen. */
  seenAt: number;
}

export interface Consumer {
  /** In the order in which they were seen. */
  consumed: Consumed[];
  /** What was not as it must be: half files, invalid documents, missing attachments. */
  faults: string[];
  /** Looks once more and stops. */
  stop(): void;
}

/** Between two looks, ms. */
const LOOK_EVERY = 3;

/**
 * Watches a storage directory, whatever its path template. Every second document it also tidies up
 * after, and removes the directories that became empty.
 */
export function startConsumer(storage: string): Consumer {
  const consumed: Consumed[] = [];
  const faults: string[] = [];

  function look(): void {
    for (const path of jsonFiles(storage, '')) {
      const file = join(storage, path);
      try {
        const document = readDocument(file);
        consumed.push({ document, path, seenAt: performance.now() });
        rmSync(file);
        for (const attachment of document.attachments) {
          if (attachment.path)
            rmSync(dirname(join(dirname(file), attachment.path)), { recursive: true, force: true });
        }
        if (document.source) rmSync(join(dirname(file), document.source));
        if (consumed.length % 2 === 0) removeEmpty(storage, dirname(path));
      } catch (error) {
        faults.push(String(error));
        rmSync(file, { force: true });
      }
    }
  }

  const timer = setInterval(look, LOOK_EVERY);
  return {
    consumed,
    faults,
    stop() {
      clearInterval(timer);
      look();
    },
  };
}

/** What begins with a dot is the daemon's; attachments never end in .json. */
function jsonFiles(storage: string, below: string): string[] {
  return entriesOf(join(storage, below)).flatMap((entry) => {
    if (entry.name.startsWith('.')) return [];
    const path = join(below, entry.name);
    if (entry.isDirectory()) return jsonFiles(storage, path);
    return entry.name.endsWith('.json') ? [path] : [];
  });
}

/** None where the directory was removed meanwhile. */
function entriesOf(directory: string) {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function removeEmpty(storage: string, path: string): void {
  for (let each = path; each !== '.'; each = dirname(each)) {
    try {
      rmdirSync(join(storage, each));
    } catch (error) {
      if (['ENOTEMPTY', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return;
      throw error;
    }
  }
}
