/** Finds the server's folder for a name as people write it. */
import { nearest } from '../nearest.ts';

/** A folder as LIST tells it (RFC 3501 §7.2.2), the name decoded. */
export interface Folder {
  path: string;
  /** The server's hierarchy delimiter; empty where it has none. */
  delimiter: string;
  /** False for `\Noselect` and `\NonExistent`: a place in the tree without messages. */
  selectable: boolean;
}

/**
 * The path of the folder that is meant: the exact name, INBOX in any case (RFC 3501 §5.1), or the name
 * with `/` in place of the server's delimiter. Null where none of these exists.
 */
export function findFolder(name: string, folders: readonly Folder[]): string | null {
  const selectable = folders.filter((folder) => folder.selectable);
  const found =
    selectable.find((folder) => folder.path === name) ??
    selectable.find((folder) => folder.path.toUpperCase() === 'INBOX' && name.toUpperCase() === 'INBOX') ??
    selectable.find(
      ({ path, delimiter }) =>
        delimiter !== '' && delimiter !== '/' && path === name.replaceAll('/', delimiter),
    );
  return found?.path ?? null;
}

/** The existing folder whose name is nearest to a mistyped one; null where none is near. */
export function nearestFolder(name: string, folders: readonly Folder[]): string | null {
  return nearest(
    name,
    folders.filter((folder) => folder.selectable).map((folder) => folder.path),
  );
}
