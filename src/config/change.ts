/** What another configuration means for a running daemon (SIGHUP). */
import { isDeepStrictEqual } from 'node:util';
import type { Mailbox } from '../model.ts';
import { globalSchema } from './schema.ts';
import {
  type AccountConfig,
  type Config,
  connectionsOf,
  type Limits,
  mailboxFolders,
  sharesConnections,
} from './types.ts';

export interface ConfigChange {
  added: Mailbox[];
  removed: Mailbox[];
  /**
   * Still watched, with other settings of their account, or with connections that are shared now or no longer. A
   * mailbox in none of the lists is not to be disturbed.
   */
  changed: Mailbox[];
  /** Top-level keys whose values changed but take effect at a restart only: all but `accounts`. */
  needRestart: string[];
  /** What the daemon goes on with: the new accounts, everything else as before. */
  effective: Config;
}

/** Compares two configurations mailbox by mailbox. */
export function describeChange(old: Config, next: Config): ConfigChange {
  const before = mailboxes(old);
  const after = mailboxes(next);
  const only = (some: typeof before, others: typeof before) =>
    [...some].filter(([key]) => !others.has(key)).map(([, { mailbox }]) => mailbox);
  return {
    added: only(after, before),
    removed: only(before, after),
    changed: [...after]
      .filter(([key, { account, mailbox }]) => {
        const known = before.get(key);
        if (known === undefined) return false;
        const { folder } = mailbox;
        return (
          !isDeepStrictEqual(settingsOf(folder, known.account), settingsOf(folder, account)) ||
          sharedBy(known.account, old.limits) !== sharedBy(account, old.limits)
        );
      })
      .map(([, { mailbox }]) => mailbox),
    needRestart: (Object.keys(globalSchema) as (keyof typeof globalSchema)[]).filter(
      (key) => !isDeepStrictEqual(old[key], next[key]),
    ),
    effective: { ...old, accounts: next.accounts },
  };
}

function mailboxes(config: Config): Map<string, { mailbox: Mailbox; account: AccountConfig }> {
  return new Map(
    config.accounts.flatMap((account) =>
      mailboxFolders(account).map((folder) => [
        // No account name holds a slash.
        `${account.name}/${folder}`,
        { mailbox: { account: account.name, folder }, account },
      ]),
    ),
  );
}

/**
 * What concerns a folder: not the other ones, and of the canary, which is concerned by all of them, whether it is sent, and so
 * may come into this one.
 */
function settingsOf(folder: string, account: AccountConfig): unknown {
  if (folder === account.canary?.folder) return account;
  const mayCome = (account.canary?.smtp ?? null) !== null;
  return [{ ...account, folders: [], canary: null }, mayCome];
}

/** How many connections the folders of an account share; null where each has its own. */
function sharedBy(account: AccountConfig, limits: Limits): number | null {
  return sharesConnections(account, limits) ? connectionsOf(account, limits) : null;
}
