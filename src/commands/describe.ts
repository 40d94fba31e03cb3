/** `mailwatchd describe`: directories, variables and mailboxes of a configuration, for what starts and watches the daemon. */
import { loadConfig } from '../config/load.ts';
import { type AccountConfig, mailboxFolders, secretsOf } from '../config/types.ts';
import { EXIT } from '../errors.ts';
import { serviceNames } from '../supervision/services.ts';
import { mailboxLabel } from '../supervision/status.ts';
import type { Invocation } from './invocation.ts';

/**
 * Lines of fields with a tab between: `storage`, `state` and `log` with their directory (no `log` where
 * there are no log files), `variable` with the name of an environment variable that a secret is read
 * from, `mailbox` with Monit's name of its check and its name in the state directory's `mailboxes`.
 * Errors: those of the configuration.
 */
export async function describe({ configFile, environment, stdout }: Invocation): Promise<number> {
  const { config } = await loadConfig(configFile, environment);
  const mailboxes = config.accounts.flatMap((account) =>
    mailboxFolders(account).map((folder) => ({ account: account.name, folder })),
  );
  const names = serviceNames(mailboxes);
  const lines = [
    ['storage', config.storage.directory],
    ['state', config.state.directory],
    ...(config.log.directory === null ? [] : [['log', config.log.directory]]),
    ...variables(config.accounts).map((name) => ['variable', name]),
    ...mailboxes.map((mailbox, index) => ['mailbox', names[index], mailboxLabel(mailbox)]),
  ];
  stdout.write(lines.map((fields) => `${fields.join('\t')}\n`).join(''));
  return EXIT.OK;
}

function variables(accounts: AccountConfig[]): string[] {
  const names = accounts.flatMap(secretsOf).flatMap((source) => ('env' in source ? [source.env] : []));
  return [...new Set(names)];
}
