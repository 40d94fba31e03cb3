/** `mailwatchd login`: somebody logs in with a browser, on any machine; the tokens are tried on the mailbox, then stored. */
import { createInterface } from 'node:readline';
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { readSecret } from '../config/secrets.ts';
import type { AccountConfig, Config, OAuth2Config } from '../config/types.ts';
import { applicationOf, tokenFileOf } from '../credentials.ts';
import { EXIT, MailwatchdError } from '../errors.ts';
import { printable } from '../escape.ts';
import { silentLog } from '../logging.ts';
import { probeMailbox } from '../mailbox/probe.ts';
import { visitAccount } from '../mailbox/visit.ts';
import { nearest } from '../nearest.ts';
import { originOf, tokensOf } from '../oauth/access.ts';
import { type Application, grantByDevice, grantByRedirect, type TokenResponse } from '../oauth/endpoint.ts';
import { awaitRedirect } from '../oauth/redirect.ts';
import { storeTokens } from '../oauth/token-file.ts';
import { assertOwner } from '../supervision/owner.ts';
import { readStatus } from '../supervision/status.ts';
import type { Terminal } from '../terminal.ts';
import type { Invocation } from './invocation.ts';

/** A provider forgets a login that nobody finishes sooner than this. */
const PATIENCE_MS = 15 * 60_000;

/** Errors: USAGE, WRONG_USER, those of `grantByDevice` and `grantByRedirect`, of a mailbox, OAUTH_TOKEN_UNSAVED. */
export async function login(invocation: Invocation, name: string): Promise<number> {
  const { configFile, environment, stdout } = invocation;
  const { config } = await loadConfig(configFile, environment);
  const { account, oauth2 } = accountOf(config, name);
  await assertOwner(config.state.directory);
  const configured = oauth2.refreshToken && (await readSecret(oauth2.refreshToken, environment));

  const grant = await ask(applicationOf(oauth2, environment), account.user, invocation);
  const at = systemClock.now();
  if (grant.refreshToken === null) {
    throw new MailwatchdError('OAUTH_REFUSED', {
      where: name,
      detail: 'the provider gave no refresh token',
      remedy: 'add `offline_access` to `scope`, or what the provider calls it',
    });
  }

  const [folder = 'INBOX'] = account.folders;
  const settings = { ...account, credential: async () => ({ accessToken: grant.accessToken }) };
  const { signal } = new AbortController();
  const { limits } = config;
  const options = { limits, clock: systemClock, log: silentLog, takeTurn: async () => undefined, signal };
  await using visit = visitAccount(settings, options);
  const { messages } = await probeMailbox(visit, folder);
  stdout.write(`opened   ${name}/${printable(folder)} as ${printable(account.user)}: ${messages} messages\n`);

  const file = tokenFileOf(name, oauth2, config.state.directory);
  await storeTokens(file, tokensOf(grant, { refreshToken: null, origin: originOf(configured) }, at));
  stdout.write(`stored   ${file}, for this user alone\n`);
  const end = grant.refreshExpiresIn;
  const until = end === null ? null : new Date(at + end * 1000).toISOString();
  stdout.write(
    `valid    ${until === null ? 'until the provider or the account’s owner ends it; the provider tells no date' : `until ${until}, if it is not renewed meanwhile`}\n`,
  );
  stdout.write(`daemon   ${await tellDaemon(config)}\n`);
  return EXIT.OK;
}

function accountOf(config: Config, name: string): { account: AccountConfig; oauth2: OAuth2Config } {
  const account = config.accounts.find((each) => each.name === name);
  if (account === undefined) {
    const meant = nearest(
      name,
      config.accounts.map((each) => each.name),
    );
    throw new MailwatchdError('USAGE', {
      detail: `there is no account ${printable(name)}`,
      remedy: meant === null ? 'give the name of one in the configuration' : `did you mean ${meant}?`,
    });
  }
  if ('password' in account.auth)
    throw new MailwatchdError('USAGE', { detail: `${name} logs in by a password: there is nothing to do` });
  const { oauth2 } = account.auth;
  if (oauth2.grant !== 'refreshToken')
    throw new MailwatchdError('USAGE', { detail: `${name} needs no login: it has grant: ${oauth2.grant}` });
  return { account, oauth2 };
}

/** By a code that is entered anywhere, where the provider has that, else by a browser that comes back to us. */
async function ask(application: Application, user: string, terminal: Terminal): Promise<TokenResponse> {
  const { stdout } = terminal;
  if (application.deviceAuthorizationEndpoint !== null) {
    return grantByDevice(application, ({ address, code, expiresIn }) => {
      stdout.write(
        `Open     ${printable(address)}\nand enter ${printable(code)}, as ${printable(user)}, within ${Math.round(expiresIn / 60)} minutes.\n`,
      );
    });
  }
  if (application.authorizationEndpoint !== null) return askByRedirect(application, user, terminal);
  throw new MailwatchdError('USAGE', {
    detail: 'the provider has no place to log in',
    remedy: 'configure its `deviceAuthorizationEndpoint` or `authorizationEndpoint`, or a `refreshToken`',
  });
}

/** Over SSH and in a container the browser, on another machine, does not reach us: then its address is copied. */
async function askByRedirect(
  application: Application,
  user: string,
  terminal: Terminal,
): Promise<TokenResponse> {
  const { stdin, stdout } = terminal;
  const redirect = await awaitRedirect();
  const lines = createInterface({ input: stdin });
  lines.on('line', (line) => {
    if (!redirect.tell(line.trim()))
      stdout.write('That is not the address: it begins with http://127.0.0.1:\n');
  });
  const late = Promise.withResolvers<never>();
  const cancel = systemClock.after(PATIENCE_MS, () =>
    late.reject(
      new MailwatchdError('OAUTH_LOGIN_NEEDED', {
        detail: `nobody logged in within ${PATIENCE_MS / 60_000} minutes`,
      }),
    ),
  );
  try {
    return await grantByRedirect(application, { redirectUri: redirect.uri, user }, (address) => {
      stdout.write(
        `Open in a browser, and log in as ${printable(user)}:\n\n${address.href}\n\nIf the browser runs on another machine it ends at a page that cannot be shown: paste its address here.\n`,
      );
      return Promise.race([redirect.arrival(address.searchParams.get('state') ?? ''), late.promise]);
    });
  } finally {
    cancel();
    lines.close();
    redirect.close();
  }
}

/** A running daemon reads its configuration and its tokens again. */
async function tellDaemon({ state }: Config): Promise<string> {
  const { status, reason } = await readStatus(state.directory, [], systemClock);
  if (reason !== null || status.pid === null) return `not told: ${reason}`;
  process.kill(status.pid, 'SIGHUP');
  return `pid ${status.pid} was told to log in anew`;
}
