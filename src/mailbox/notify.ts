/** Has a server push what comes and goes in many folders on one connection (RFC 5465). A push is only a hint. */
import { type ErrorCode, MailwatchdError } from '../errors.ts';
import {
  type AskerOptions,
  atom,
  byNames,
  type FolderStatus,
  type Items,
  nameOf,
  text,
  toldOf,
  type Word,
} from './folder-status.ts';

/** As many as Dovecot takes by their names; for more the server is asked to push of all folders that are the user's own. */
const MOST_NAMES = 100;
const REFUSALS: ReadonlySet<ErrorCode> = new Set(['SERVER_REFUSED', 'SERVER_UNAVAILABLE']);
/** Only together (RFC 5465 §5). */
const EVENTS: Word = ['MessageNew', 'MessageExpunge'].map(atom);

/** Hears that a folder changed, and what it holds now as far as the server tells. */
export type OnPush = (path: string, told: Partial<FolderStatus>) => void;

export interface Notifier {
  /** Not without UNSELECT (RFC 3691) either: of a folder that is open nothing is pushed (RFC 5465 §3.1). */
  isPossible(): boolean;
  /** Whether the server said that it pushes, and took nothing back since. */
  isOn(): boolean;
  /** Asks for pushes of these folders, in place of those before, until `onSilence`. False where the server refuses. */
  start(paths: readonly string[], onPush: OnPush, onSilence: () => void): Promise<boolean>;
  /** A STATUS response that answers no command. */
  hear(attributes: Items): void;
  /** The server pushes no more: NOTIFICATIONOVERFLOW (RFC 5465 §5.8), or the connection ended. */
  silenced(): void;
}

/** Of one connection. */
export function createNotifier({ command, encode, can }: AskerOptions): Notifier {
  let wasOn = false;
  let on = false;
  /** Paths as the server may call them. */
  let names: ReadonlyMap<string, string>[] = [];
  let onPush: OnPush = () => undefined;
  let onSilence: () => void = () => undefined;

  async function isAccepted(words: Word[]): Promise<boolean> {
    try {
      // Before the answer: an overflow may follow it at once.
      on = true;
      await command('NOTIFY', words);
      wasOn = true;
      return true;
    } catch (error) {
      on = false;
      // Dovecot's "Too many mailbox names" reads as if it bore them later. If the connection ended, the next command tells.
      if (error instanceof MailwatchdError && REFUSALS.has(error.code)) return false;
      throw error;
    }
  }

  return {
    isPossible: () => can('NOTIFY') && can('UNSELECT'),
    isOn: () => on,
    async start(wanted, push, silence) {
      // Dovecot 2.3 neither reads nor writes names in modified UTF-7 here (RFC 3501 §5.1.3), but in UTF-8.
      names = [byNames(wanted, (path) => path), byNames(wanted, encode)];
      onPush = push;
      onSilence = silence;
      // Dovecot 2.3 falls silent where SET replaces SET.
      if (wasOn) await command('NOTIFY', [atom('NONE')]);
      // So one that would be written in it is not named.
      const isNameable = wanted.length <= MOST_NAMES && wanted.every((path) => encode(path) === path);
      const named = [atom('mailboxes'), wanted.map(text), EVENTS];
      if (isNameable && (await isAccepted([atom('SET'), named]))) return true;
      return isAccepted([atom('SET'), [atom('personal'), EVENTS]]);
    },
    hear(attributes) {
      const name = nameOf(attributes);
      // Of two, where the one is called as the other one is written.
      for (const path of new Set(names.flatMap((byName) => byName.get(name) ?? [])))
        onPush(path, toldOf(attributes));
    },
    silenced() {
      if (!on) return;
      on = false;
      onSilence();
    },
  };
}
