/** Finds the server's folder for a name as people write it. */
import { MailwatchdError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { specialUseOf } from '../special-use.ts';

/** A folder as LIST tells it (RFC 3501 §7.2.2), the name decoded. */
export interface Folder {
  path: string;
  /** The server's hierarchy delimiter; empty where it has none. */
  delimiter: string;
  /** False for `\Noselect` and `\NonExistent`: a place in the tree without messages. */
  selectable: boolean;
  /** Its attributes (RFC 3501 §7.2.2, RFC 6154 §2), in lower case. */
  attributes: ReadonlySet<string>;
}

/**
 * The path of the folder that is meant: that of a special use, which the server marks; the exact name, INBOX in any case (RFC 3501 §5.1), or the name
 * with `/` in place of the server's delimiter. Null where none of these exists.
 */
export function findFolder(name: string, folders: readonly Folder[]): string | null {
  const selectable = folders.filter((folder) => folder.selectable);
  const use = specialUseOf(name)?.toLowerCase();
  if (use !== undefined) return selectable.find(({ attributes }) => attributes.has(use))?.path ?? null;
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

/** Refused by the server for this folder alone: the connection is as it was. */
export const isOfTheFolder = (error: unknown): boolean =>
  error instanceof MailwatchdError && (error.code === 'FOLDER_MISSING' || error.code === 'SERVER_REFUSED');
