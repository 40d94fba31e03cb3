/** What another configuration means for a running daemon (SIGHUP). */
import { isDeepStrictEqual } from 'node:util';
import type { Mailbox } from '../model.ts';
import { globalSchema } from './schema.ts';
import { type AccountConfig, type Config, sharesConnections } from './types.ts';

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
      .filter(([key, { account }]) => {
        const known = before.get(key);
        if (known === undefined) return false;
        const sharesNow = sharesConnections(account, old.limits);
        return (
          !sameSettings(known.account, account) || sharesNow !== sharesConnections(known.account, old.limits)
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
      account.folders.map((folder) => [
        // No account name holds a slash.
        `${account.name}/${folder}`,
        { mailbox: { account: account.name, folder }, account },
      ]),
    ),
  );
}

/** The list of folders aside: another folder beside it does not concern a mailbox. */
function sameSettings(a: AccountConfig, b: AccountConfig): boolean {
  return isDeepStrictEqual({ ...a, folders: [] }, { ...b, folders: [] });
}
