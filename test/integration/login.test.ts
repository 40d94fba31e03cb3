/** `mailwatchd login`: by a code, by a browser that comes back, or by an address that is pasted; nothing is stored that does not open the mailbox. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { runCommandLine } from '../../src/cli.ts';
import { CLIENT_ID, CLIENT_SECRET, startAuthorizationServer } from '../servers/authorization-server.ts';
import { startScriptedServer } from '../servers/scripted.ts';

const USER = 'ann@example.org';

async function prepare(way: 'authorizationEndpoint' | 'deviceAuthorizationEndpoint' | null) {
  const authorization = await startAuthorizationServer();
  const server = await startScriptedServer({ capabilities: ['AUTH=XOAUTH2', 'SASL-IR', 'IDLE'], user: USER });
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-login-'));
  onTestFinished(async () => {
    rmSync(directory, { recursive: true, force: true });
    await authorization.close();
    await server.close();
  });
  authorization.visitor = USER;
  // The mail server knows what the authorisation server gave to its user.
  const giveToken = authorization.accessTokens.set.bind(authorization.accessTokens);
  authorization.accessTokens.set = (token, given) => {
    if (given.user === USER) server.accessTokens.add(token);
    return giveToken(token, given);
  };
  const [storage, state] = ['storage', 'state'].map((name) => join(directory, name)) as [string, string];
  for (const path of [storage, state]) mkdirSync(path);
  const { tokenEndpoint } = authorization;
  const provider = { tokenEndpoint, ...(way && { [way]: authorization[way] }) };
  const oauth2 = { provider, clientId: CLIENT_ID, clientSecret: { env: 'CLIENT_SECRET' }, scope: 'mail' };
  const account = { host: '127.0.0.1', port: server.port, security: 'none', user: USER, start: 'new' };
  const configuration = join(directory, 'mailwatchd.yaml');
  const content = {
    accounts: [
      { ...account, name: 'support', auth: { oauth2 } },
      {
        ...account,
        name: 'application',
        auth: { oauth2: { ...oauth2, grant: 'clientCredentials' } },
        folders: ['A'],
      },
      { ...account, name: 'by-password', password: 'x', folders: ['Other'] },
    ],
    storage: { directory: storage },
    state: { directory: state },
    log: { directory: null },
  };
  writeFileSync(configuration, JSON.stringify(content), { mode: 0o600 });

  /** Starts a command; `shown` resolves with what matches once it is printed. */
  function run(...parameters: string[]) {
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    let printed = '';
    stdout.on('data', (chunk) => {
      printed += chunk;
    });
    const shown = async (pattern: RegExp): Promise<string> => {
      for (;;) {
        const found = pattern.exec(printed)?.[0];
        if (found !== undefined) return found;
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const error = text(stderr);
    const host = { stdin: stdin as unknown as NodeJS.ReadStream, stdout, stderr, env: { CLIENT_SECRET } };
    const ended = runCommandLine([...parameters, '--config', configuration], host).then(async (status) => {
      stderr.end();
      return { status, out: printed, err: await error };
    });
    return { stdin, shown, ended };
  }
  const login = (name = 'support') => run('login', name);
  return { authorization, run, login, state, tokenFile: join(state, 'tokens', 'support.json') };
}

/** Where a browser that opens the address is sent. */
async function browse(address: string): Promise<string> {
  const { headers } = await fetch(address, { redirect: 'manual' });
  return headers.get('location')!;
}

test('by a device code', async () => {
  const { authorization, login, tokenFile } = await prepare('deviceAuthorizationEndpoint');
  const { ended } = login();
  const { status, out, err } = await ended;
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toContain(
    `Open     ${authorization.url}/enter\nand enter ABCD-1234, as ${USER}, within 15 minutes.`,
  );
  expect(out).toContain(`opened   support/INBOX as ${USER}: 0 messages`);
  expect(out).toContain(`stored   ${tokenFile}`);
  expect(out).toMatch(/^valid {4}until \d{4}-\d\d-\d\dT/m);
  expect(out).toContain('daemon   not told: no daemon is running');
  expect(out).not.toMatch(/canary/);
  expect(statSync(tokenFile).mode & 0o777).toBe(0o600);
  const { refreshToken } = JSON.parse(readFileSync(tokenFile, 'utf8'));
  expect(authorization.refreshTokens.get(refreshToken)).toBe(USER);
});

test('`check` says that nobody has logged in, and where the tokens are once somebody has', async () => {
  const { run, login, tokenFile } = await prepare('deviceAuthorizationEndpoint');
  const before = await run('check', '--offline').ended;
  expect(before.out).toMatch(/^support: oauth2 +OAUTH_LOGIN_NEEDED .*`mailwatchd login support`/m);
  expect((await login().ended).status).toBe(0);
  const { out } = await run('check', '--offline').ended;
  expect(out).toMatch(
    new RegExp(`^support: oauth2 +ok +tokens in ${tokenFile}, the login ends in 89 d \\(\\S+\\)$`, 'm'),
  );
});

test('`describe` names the variable of the client secret, for what starts the daemon', async () => {
  const { run } = await prepare(null);
  const { out } = await run('describe').ended;
  expect(out.match(/^variable\t.*$/gm)).toEqual(['variable\tCLIENT_SECRET']);
});

test('by a browser on this machine', async () => {
  const { login, tokenFile } = await prepare('authorizationEndpoint');
  const { shown, ended } = login();
  const back = new URL(await browse(await shown(/^http\S+\/authorize\S+/m)));
  // Whoever does not know the state is not heard.
  const stranger = new URL('/?code=mine&state=wrong', back);
  expect((await fetch(stranger)).status).toBe(404);
  expect((await fetch(new URL('/favicon.ico', back))).status).toBe(404);
  const page = await fetch(back);
  expect(await page.text()).toContain('Go back to the terminal');
  expect(await ended).toMatchObject({ status: 0, err: '' });
  expect(readdirSync(join(tokenFile, '..'))).toEqual(['support.json']);
});

test('by an address that is pasted, as over SSH', async () => {
  const { login } = await prepare('authorizationEndpoint');
  const { shown, stdin, ended } = login();
  const back = await browse(await shown(/^http\S+\/authorize\S+/m));
  stdin.write('http://127.0.0.1:1/?code=x\n');
  await shown(/That is not the address/);
  stdin.write(`  ${back}\n`);
  expect(await ended).toMatchObject({ status: 0, err: '' });
});

test('somebody else’s tokens open nothing, and are not stored', async () => {
  const { authorization, login, state } = await prepare('deviceAuthorizationEndpoint');
  authorization.visitor = 'bob@example.org';
  const { status, err } = await login().ended;
  expect(status).toBe(1);
  expect(err).toMatch(/^mailwatchd: AUTH_FAILED: .*check `user`/);
  expect(readdirSync(state)).toEqual([]);
});

test.each([
  'deviceAuthorizationEndpoint',
  'authorizationEndpoint',
] as const)('%s: somebody refuses', async (way) => {
  const { authorization, login, state } = await prepare(way);
  authorization.visitor = null;
  const { shown, ended } = login();
  if (way === 'authorizationEndpoint') await fetch(await browse(await shown(/^http\S+\/authorize\S+/m)));
  const { status, err } = await ended;
  expect(status).toBe(1);
  expect(err).toMatch(/^mailwatchd: OAUTH_REFUSED: .*access_denied/);
  expect(readdirSync(state)).toEqual([]);
});

test('a provider that gives no refresh token', async () => {
  const { authorization, login } = await prepare('deviceAuthorizationEndpoint');
  authorization.refreshes = false;
  const { err } = await login().ended;
  expect(err).toMatch(/^mailwatchd: OAUTH_REFUSED: .*no refresh token.*offline_access/);
});

test.each([
  ['suport', /USAGE: there is no account suport: did you mean support\?/],
  ['application', /USAGE: application needs no login/],
  ['by-password', /USAGE: by-password logs in by a password/],
])('%s is a usage error', async (name, expected) => {
  const { login } = await prepare('deviceAuthorizationEndpoint');
  const { status, err } = await login(name).ended;
  expect(status).toBe(64);
  expect(err).toMatch(expected);
});

test('a provider without a place to log in', async () => {
  const { login } = await prepare(null);
  const { err } = await login().ended;
  expect(err).toMatch(/^mailwatchd: USAGE: .*deviceAuthorizationEndpoint/);
});
