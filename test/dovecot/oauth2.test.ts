/** Proves that logins by OAuth2 lose no message and storm nobody, whenever a token ends, on a real Dovecot that asks the authorisation server. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import {
  type AuthorizationServer,
  CLIENT_ID,
  CLIENT_SECRET,
  startAuthorizationServer,
} from '../servers/authorization-server.ts';
import { makeCorpus } from '../servers/corpus.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { startSmtpServer } from '../servers/smtp.ts';
import { until } from '../servers/until.ts';
import { startConsumer } from './consumer.ts';
import { expectContent, expectEachOnce, readTruth, type WatchedFolder } from './ground-truth.ts';
import { createWorkplace, type RunningDaemon, type Workplace } from './workplace.ts';

const FOLDERS: WatchedFolder[] = ['INBOX', 'Leads', 'Archiv'].map((folder) => ({
  account: 'support',
  user: 'ann',
  folder,
}));
const SEED = 7;

/** `more` is added to the account. */
async function prepare(
  authorization: AuthorizationServer,
  mechanisms: ('xoauth2' | 'oauthbearer')[],
  more: object = {},
) {
  const { introspectionEndpoint } = authorization;
  const server = await startDovecot({ users: { ann: 'a' }, oauth2: { introspectionEndpoint, mechanisms } });
  for (const { folder } of FOLDERS) if (folder !== 'INBOX') await server.createFolder('ann', folder);
  const place = createWorkplace({ accounts: [] });
  const refreshToken = join(place.directory, 'refresh-token');
  writeFileSync(refreshToken, authorization.grant('ann'), { mode: 0o600 });
  const { tokenEndpoint, deviceAuthorizationEndpoint } = authorization;
  const provider = { tokenEndpoint, deviceAuthorizationEndpoint };
  const application = { provider, scope: 'mail', clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
  place.configure({
    accounts: [
      {
        ...{ name: 'support', host: server.host, port: server.imapPort, security: 'none', user: 'ann' },
        ...{ folders: FOLDERS.map(({ folder }) => folder), start: 'all' },
        auth: { oauth2: { ...application, refreshToken: { file: refreshToken } } },
        ...more,
      },
    ],
  });
  return { server, place, tokenFile: join(place.state, 'tokens', 'support.json') };
}

/** Appends `count` messages of the corpus, spread over the folders. */
async function send(server: Dovecot, from: number, count: number) {
  for (const [index, { raw }] of makeCorpus(SEED, from + count)
    .slice(from)
    .entries())
    await server.append('ann', FOLDERS[index % FOLDERS.length]!.folder, raw);
}

/** Paths below the directory of files that hold this. */
function filesWith(text: string, directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path).includes(text))
    .map((path) => relative(directory, path))
    .sort();
}

const reasonOf = (place: Workplace) => place.mailboxes()?.find(({ healthy }) => !healthy)?.reason ?? '';

/** Every message that the server has once, and nothing secret where somebody could read it. */
async function expectWell(
  server: Dovecot,
  place: Workplace,
  daemon: RunningDaemon,
  consumer: ReturnType<typeof startConsumer>,
  messages: number,
) {
  await daemon.until('every document', () => consumer.consumed.length >= messages);
  await place.settled(daemon);
  const status = readFileSync(join(place.state, 'status.json'), 'utf8');
  expect(await daemon.stop()).toBe(0);
  consumer.stop();
  const truth = await readTruth(server, FOLDERS);
  expect(truth).toHaveLength(messages);
  expectEachOnce(consumer, truth, 'uid');
  expectContent(consumer.consumed, makeCorpus(SEED, messages));
  expect(`${status}${daemon.output()}`).not.toMatch(/canary/);
  const places = ['mailwatchd.yaml', 'refresh-token', 'state/tokens/support.json'];
  expect(filesWith('canary', place.directory)).toEqual(places);
}

test.each([
  'xoauth2',
  'oauthbearer',
] as const)('%s: one token for all folders; tokens that end in IDLE and during a fetch', async (mechanism) => {
  await using authorization = await startAuthorizationServer();
  authorization.rotates = true;
  authorization.lifetime = 1;
  const { server, place } = await prepare(authorization, [mechanism]);
  await using _server = server;
  await using _place = place;
  expect((await place.command(['check'])).stdout).toMatch(/support\/INBOX +ok/);
  const consumer = startConsumer(place.storage);
  await send(server, 0, 200);
  const before = authorization.requests.length;

  const daemon = place.start();
  await daemon.until('the first documents', () => consumer.consumed.length > 20);
  server.cutConnections();
  await daemon.until('all of them', () => consumer.consumed.length === 200);
  await place.settled(daemon);
  for (let round = 0; round < 3; round++) {
    // Their token has ended long ago, as the server finds out now.
    await until('the token to end', () =>
      [...authorization.accessTokens.values()].every(({ expiresAt }) => expiresAt < Date.now()),
    );
    server.cutConnections();
    await send(server, 200 + round * 10, 10);
    await place.settled(daemon);
  }
  await expectWell(server, place, daemon, consumer, 230);
  expect(server.log()).toContain(`method=${mechanism.toUpperCase()}`);
  // A round takes as many as there are seconds in it, whatever the number of folders.
  expect(authorization.requests.length - before).toBeLessThan(20);
});

test('an end point that is down: mail waits, and comes when it is back', async () => {
  await using authorization = await startAuthorizationServer();
  authorization.lifetime = 1;
  const { server, place } = await prepare(authorization, ['xoauth2']);
  await using _server = server;
  await using _place = place;
  const consumer = startConsumer(place.storage);
  await send(server, 0, 10);
  const daemon = place.start();
  await daemon.until('the first documents', () => consumer.consumed.length === 10);
  await place.settled(daemon);

  authorization.script = ({ answer }) => {
    answer(503, 'busy');
    return true;
  };
  const before = authorization.requests.length;
  await until('the token to end', () =>
    [...authorization.accessTokens.values()].every(({ expiresAt }) => expiresAt < Date.now()),
  );
  server.cutConnections();
  await send(server, 10, 10);
  await daemon.until('the trouble to show', () =>
    /OAUTH_UNAVAILABLE: .*HTTP status 503/.test(reasonOf(place)),
  );
  expect(authorization.requests.length - before).toBe(1);
  const checked = await place.command(['check']);
  expect(checked).toMatchObject({ status: 1 });
  expect(checked.stdout).toContain('OAUTH_UNAVAILABLE');

  authorization.script = undefined;
  daemon.process.kill('SIGHUP');
  await expectWell(server, place, daemon, consumer, 20);
});

test('killed between the rotation of a refresh token and its use: the new one was stored, and nobody has to log in', async () => {
  await using authorization = await startAuthorizationServer();
  authorization.rotates = true;
  const { server, place, tokenFile } = await prepare(authorization, ['oauthbearer']);
  await using _server = server;
  await using _place = place;
  const consumer = startConsumer(place.storage);
  await send(server, 0, 10);

  // It gets its token, and a server that does not answer.
  const thaw = server.freeze();
  const killed = place.start();
  await killed.until('the token to be stored', () => {
    const [current] = authorization.refreshTokens.keys();
    try {
      return JSON.parse(readFileSync(tokenFile, 'utf8')).refreshToken === current;
    } catch {
      return false; // not there yet
    }
  });
  await killed.kill();
  thaw();

  const daemon = place.start();
  await daemon.until('the first documents', () => consumer.consumed.length === 10);
  // Not even a new one was needed.
  expect(authorization.requests).toHaveLength(1);
  await expectWell(server, place, daemon, consumer, 10);
});

test('killed while the answer with a rotated refresh token was on its way: said so, once, and mail comes after a login', async () => {
  await using authorization = await startAuthorizationServer();
  authorization.rotates = true;
  const { server, place } = await prepare(authorization, ['xoauth2']);
  await using _server = server;
  await using _place = place;
  const consumer = startConsumer(place.storage);
  await send(server, 0, 10);

  authorization.script = () => {
    authorization.refreshTokens.clear();
    return true;
  };
  const killed = place.start();
  await killed.until('the question for a token', () => authorization.requests.length === 1);
  await killed.kill();
  authorization.script = undefined;

  const daemon = place.start();
  await daemon.until('each mailbox to fail', () => {
    const ill = place.mailboxes()?.filter(({ reason }) => reason?.includes('mailwatchd login support'));
    return ill?.length === FOLDERS.length;
  });
  const check = await place.command(['status', '--check']);
  expect(check.status).toBe(1);
  expect(check.stdout).toContain('OAUTH_LOGIN_NEEDED');
  // Once by the daemon, whatever the number of its folders.
  expect(authorization.requests).toHaveLength(2);

  const login = await place.command(['login', 'support']);
  expect(login).toMatchObject({ status: 0, stderr: '' });
  expect(login.stdout).toContain(`pid ${daemon.pid} was told`);
  await expectWell(server, place, daemon, consumer, 10);
  // Two polls of the login's code.
  expect(authorization.requests).toHaveLength(4);
  // No login was tried with what could not work.
  expect(server.log()).not.toMatch(/auth failed/);
});

test('a canary is sent by SMTP with the token that the folders have', async () => {
  await using authorization = await startAuthorizationServer();
  const users: Record<string, string> = {};
  await using relay = await startSmtpServer({
    users,
    deliver: async (_to, raw) => void (await server.append('ann', 'mailwatchd-canary', raw)),
  });
  relay.script = () => {
    users.ann = [...authorization.accessTokens.keys()].at(-1) ?? '';
    return undefined;
  };
  const address = 'ann@example.org';
  const smtp = { host: '127.0.0.1', port: relay.port, security: 'none', from: address, to: address };
  const { server, place } = await prepare(authorization, ['xoauth2'], { canary: { every: '1h', smtp } });
  await using _server = server;
  await using _place = place;
  expect((await place.command(['check'])).stdout).toMatch(/^support: canary +ok .*sent by 127\.0\.0\.1/m);
  const daemon = place.start();
  const seen = () => place.mailboxes()?.some(({ folder, stored }) => /canary/.test(folder) && stored === 1);
  await daemon.until('the canary', seen);
  expect(relay.commands.filter((line) => line.startsWith('AUTH XOAUTH2 '))).toHaveLength(2);
  expect(authorization.requests).toHaveLength(1);
  expect(await daemon.stop()).toBe(0);
});
