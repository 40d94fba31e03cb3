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
  /** Sends a command; `onStatus` hears of each STATUS response. Rejects with SERVER_REFUSED at NO and BAD. */
  command(name: string, words: Word[], onStatus: (attributes: Items) => void): Promise<void>;
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
  async function asked(name: string, words: Word[], onStatus: (attributes: Items) => void): Promise<boolean> {
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
      // A name with a wildcard would stand for others (RFC 3501 §6.3.8).
      const byName = new Map(paths.filter((path) => !/[*%]/.test(path)).map((path) => [encode(path), path]));
      if (can('LIST-STATUS') && !listsRefused && byName.size > 1) {
        const words = [text(''), [...byName.keys()].map(text), atom('RETURN'), [atom('STATUS'), ITEMS]];
        const listed = await asked('LIST', words, ([name, items]) => {
          const path = byName.get(valuesOf([name])[0] ?? '');
          const told = figuresOf(items);
          if (path !== undefined && told !== null) figures.set(path, told);
        });
        listsRefused = !listed;
        // It may leave out what it cannot tell just now (RFC 5819 §2): opening that would cost more than STATUS.
        for (const path of figures.keys()) left.delete(path);
      }
      for (const path of left) {
        await asked('STATUS', [text(encode(path)), ITEMS], ([, items]) => {
          const told = figuresOf(items);
          if (told !== null) figures.set(path, told);
        });
      }
    },
  };
}

const atom = (value: string): Word => ({ type: 'ATOM', value });
const text = (value: string): Word => ({ type: 'STRING', value });
const ITEMS: Word = ['MESSAGES', 'UIDNEXT', 'UIDVALIDITY'].map(atom);

/** A STATUS response's items, `MESSAGES 3 UIDNEXT 8 …`; null where UIDVALIDITY or MESSAGES is missing. */
function figuresOf(items: Items[number] | undefined): FolderStatus | null {
  const values = valuesOf(Array.isArray(items) ? items : []);
  const told = new Map<string, string>();
  for (let at = 0; at + 1 < values.length; at += 2)
    told.set((values[at] ?? '').toUpperCase(), values[at + 1] ?? '');
  const uidValidity = told.get('UIDVALIDITY');
  const exists = told.get('MESSAGES');
  if (uidValidity === undefined || exists === undefined) return null;
  return { uidValidity, uidNext: Number(told.get('UIDNEXT') ?? 0), exists: Number(exists) };
}

/** The texts of a list in a response; a name may come as a literal. */
function valuesOf(items: (Items[number] | undefined)[]): (string | undefined)[] {
  return items.map((item) => {
    const value = Array.isArray(item) ? undefined : item?.value;
    return Buffer.isBuffer(value) ? value.toString() : typeof value === 'string' ? value : undefined;
  });
}
