/** For commands: one connection to an account, on which its folders are looked at in turn. */
import { type AccountSettings, type ConnectAccountOptions, connectAccount } from './account.ts';
import type { Connection } from './connection.ts';

/** Disposing of it logs out. */
export interface Visit extends AsyncDisposable {
  account: AccountSettings;
  /**
   * Made at the first call, and anew after one that ended. Throws as `connectAccount`; what that fails with once it fails
   * with at each further call, so that a password that is wrong is tried once, whatever the number of folders.
   */
  connection(): Promise<Connection>;
}

export function visitAccount(account: AccountSettings, options: ConnectAccountOptions): Visit {
  let last: Promise<Connection> | null = null;
  return {
    account,
    async connection() {
      last ??= connectAccount(account, options);
      const connection = await last;
      if (!connection.isClosed()) return connection;
      last = connectAccount(account, options);
      return last;
    },
    async [Symbol.asyncDispose]() {
      const connection = await last?.catch(() => null);
      await connection?.logout();
    },
  };
}
