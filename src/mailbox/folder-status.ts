/** What a server tells of a folder as a whole: asked for by STATUS, of many folders at once where it has LIST-STATUS. */
import { MailwatchdError } from '../errors.ts';

/** RFC 3501 §2.3.1.1 and §6.3.10. */
export interface FolderStatus {
  uidValidity: string;
  /** 0 where the server does not tell. */
  uidNext: number;
  exists: number;
}

/** Whether mail may have come, gone or been numbered anew between two looks. */
export function moved(before: FolderStatus, after: FolderStatus): boolean {
  const told = before.uidNext > 0 && after.uidNext > 0;
  return (
    before.uidValidity !== after.uidValidity ||
    before.exists !== after.exists ||
    (told && before.uidNext !== after.uidNext)
  );
}

/** An argument of a command, and a part of a response, as imapflow has them. */
export type Word = { type: 'ATOM' | 'STRING'; value: string } | Word[];
export type Items = ({ value?: unknown } | Items)[];

export interface AskerOptions {
  /**
   * Sends a command; `onStatus` hears of each STATUS response, and takes those that answer it. Rejects with SERVER_REFUSED
   * at NO and BAD.
   */
  command(name: string, words: Word[], onStatus?: (attributes: Items) => boolean): Promise<void>;
  /** A folder's name as it goes over the wire. */
  encode(path: string): string;
  can(capability: string): boolean;
}

export interface Asker {
  /** Adds the figures of these folders, none of those that the server tells nothing of. */
  ask(paths: readonly string[], figures: Map<string, FolderStatus>): Promise<void>;
}

/** Of one connection. */
export function createAsker({ command, encode, can }: AskerOptions): Asker {
  let listsRefused = false;

  /** False where the server refuses: that is the folder's own trouble, and whoever opens it is told, or LIST-STATUS's. */
  async function asked(
    name: string,
    words: Word[],
    onStatus: (attributes: Items) => boolean,
  ): Promise<boolean> {
    try {
      await command(name, words, onStatus);
      return true;
    } catch (error) {
      if (error instanceof MailwatchdError && error.code === 'SERVER_REFUSED') return false;
      throw error;
    }
  }

  return {
    async ask(paths, figures) {
      const left = new Set(paths);
      /** Takes the figures of these folders: what the server pushes of others may come in between (RFC 5465). */
      const taking = (byName: ReadonlyMap<string, string>) => (attributes: Items) => {
        const path = byName.get(nameOf(attributes));
        const told = figuresOf(attributes);
        if (path === undefined || told === null) return false;
        figures.set(path, told);
        return true;
      };
      // A name with a wildcard would stand for others (RFC 3501 §6.3.8).
      const plain = paths.filter((path) => !/[*%]/.test(path));
      if (can('LIST-STATUS') && !listsRefused && plain.length > 1) {
        const names = plain.map((path) => text(encode(path)));
        const words = [text(''), names, atom('RETURN'), [atom('STATUS'), ITEMS]];
        const listed = await asked('LIST', words, taking(byNames(plain, encode)));
        listsRefused = !listed;
        // It may leave out what it cannot tell just now (RFC 5819 §2): opening that would cost more than STATUS.
        for (const path of figures.keys()) left.delete(path);
      }
      for (const path of left)
        await asked('STATUS', [text(encode(path)), ITEMS], taking(byNames([path], encode)));
    },
  };
}

export const atom = (value: string): Word => ({ type: 'ATOM', value });
export const text = (value: string): Word => ({ type: 'STRING', value });
const ITEMS: Word = ['MESSAGES', 'UIDNEXT', 'UIDVALIDITY'].map(atom);

/** Paths by what a response calls them. */
export const byNames = (paths: readonly string[], encode: (path: string) => string) =>
  new Map(paths.map((path) => [sameInbox(encode(path)), path]));

/** The folder that a STATUS response tells of, as it goes over the wire. */
export const nameOf = ([name]: Items): string => sameInbox(valuesOf([name])[0] ?? '');

/** In any case it is the same folder (RFC 3501 §5.1). */
const sameInbox = (name: string): string => (name.toUpperCase() === 'INBOX' ? 'INBOX' : name);

/** What a STATUS response, `name (MESSAGES 3 UIDNEXT 8 …)`, tells of its folder. */
export function toldOf([, items]: Items): Partial<FolderStatus> {
  const values = valuesOf(Array.isArray(items) ? items : []);
  const told: Partial<FolderStatus> = {};
  for (let at = 0; at + 1 < values.length; at += 2) {
    const [item = '', value = ''] = values.slice(at, at + 2);
    if (item.toUpperCase() === 'UIDVALIDITY') told.uidValidity = value;
    if (item.toUpperCase() === 'UIDNEXT') told.uidNext = Number(value);
    if (item.toUpperCase() === 'MESSAGES') told.exists = Number(value);
  }
  return told;
}

/** Null where UIDVALIDITY or MESSAGES is missing. */
function figuresOf(attributes: Items): FolderStatus | null {
  const { uidValidity, uidNext = 0, exists } = toldOf(attributes);
  return uidValidity === undefined || exists === undefined ? null : { uidValidity, uidNext, exists };
}

/** The texts of a list in a response; a name may come as a literal. */
function valuesOf(items: (Items[number] | undefined)[]): (string | undefined)[] {
  return items.map((item) => {
    const value = Array.isArray(item) ? undefined : item?.value;
    return Buffer.isBuffer(value) ? value.toString() : typeof value === 'string' ? value : undefined;
  });
}
