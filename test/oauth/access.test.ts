/** An access token is asked for once for all, in time, stored before it is used; what is refused is not asked for again. */
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { type AccessOptions, createAccess } from '../../src/oauth/access.ts';
import type { Tokens } from '../../src/oauth/token-file.ts';
import { createManualClock } from '../clock.ts';
import {
  type AuthorizationServer,
  CLIENT_ID,
  CLIENT_SECRET,
  startAuthorizationServer,
  type TokenRequest,
} from '../servers/authorization-server.ts';
import { createCertificates } from '../servers/certificates.ts';

const USER = 'ann@example.org';

async function prepare(changes: Partial<AccessOptions> = {}) {
  const server = await startAuthorizationServer();
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-oauth-'));
  onTestFinished(async () => {
    rmSync(directory, { recursive: true, force: true });
    await server.close();
  });
  const clock = createManualClock();
  const first = server.grant(USER);
  const options: AccessOptions = {
    account: 'support',
    user: USER,
    application: {
      tokenEndpoint: server.tokenEndpoint,
      authorizationEndpoint: null,
      deviceAuthorizationEndpoint: null,
      clientId: CLIENT_ID,
      grant: 'refreshToken',
      clientSecret: async () => CLIENT_SECRET,
      serviceAccountKey: null,
      scope: 'mail',
    },
    refreshToken: async () => first,
    tokenFile: join(directory, 'tokens', 'support.json'),
    clock,
    random: () => 0.5,
    ...changes,
  };
  const stored = () => JSON.parse(readFileSync(options.tokenFile, 'utf8')) as Tokens;
  return { server, clock, first, options, stored, access: createAccess(options) };
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: unknown) => (error instanceof MailwatchdError ? error.code : String(error)),
  );

const answering =
  (status: number, body: unknown, headers?: Record<string, string>) =>
  ({ answer }: TokenRequest) => {
    answer(status, body, headers);
    return true;
  };

test('all folders that log in at once share one request, and its token until shortly before its end', async () => {
  const { server, access, clock, first } = await prepare();
  const tokens = await Promise.all(Array.from({ length: 50 }, () => access.token()));
  expect(new Set(tokens).size).toBe(1);
  expect(server.requests.map(({ parameters }) => parameters)).toEqual([
    {
      grant_type: 'refresh_token',
      refresh_token: first,
      scope: 'mail',
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
    },
  ]);
  // 15 % of an hour are spare with this jitter.
  clock.advance(50 * 60_000);
  expect(await access.token()).toBe(tokens[0]);
  clock.advance(2 * 60_000);
  expect(await access.token()).not.toBe(tokens[0]);
  expect(server.requests).toHaveLength(2);
});

test('the file is for the daemon’s user alone, and another process needs no new token', async () => {
  const { server, access, options, stored, first } = await prepare();
  const token = await access.token();
  expect(statSync(options.tokenFile).mode & 0o777).toBe(0o600);
  expect(statSync(join(options.tokenFile, '..')).mode & 0o777).toBe(0o700);
  expect(stored()).toMatchObject({ refreshToken: first, accessToken: token });
  expect(await createAccess(options).token()).toBe(token);
  expect(server.requests).toHaveLength(1);
});

test('a rotated refresh token is followed, also after a restart', async () => {
  const { server, access, clock, options, stored } = await prepare();
  server.rotates = true;
  await access.token();
  clock.advance(3_600_000);
  await access.token();
  const { refreshToken } = stored();
  clock.advance(3_600_000);
  await createAccess(options).token();
  expect(server.requests.at(-1)?.parameters.refresh_token).toBe(refreshToken);
  expect(server.refreshTokens.has(stored().refreshToken!)).toBe(true);
});

test('a token that cannot be stored is not used, kept, and stored as soon as that is possible', async () => {
  const { server, access, clock, options, stored } = await prepare();
  server.rotates = true;
  // A directory where the file is written first: a missing permission would not stop root.
  mkdirSync(`${options.tokenFile}.new`, { recursive: true });
  expect(await codeOf(access.token())).toBe('OAUTH_TOKEN_UNSAVED');
  expect(await codeOf(access.token())).toBe('OAUTH_TOKEN_UNSAVED');
  rmSync(`${options.tokenFile}.new`, { recursive: true });
  const token = await access.token();
  expect(server.requests).toHaveLength(1);
  expect(stored().accessToken).toBe(token);
  clock.advance(3_600_000);
  await createAccess(options).token();
  expect(server.requests).toHaveLength(2);
});

test('a refresh token that is not valid any more is not tried again until there is another one, or somebody says so', async () => {
  const { server, clock, options, first } = await prepare();
  let configured = first;
  const access = createAccess({ ...options, refreshToken: async () => configured });
  server.refreshTokens.clear();
  for (let look = 0; look < 20; look++) {
    const error = await access.token().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'OAUTH_LOGIN_NEEDED',
      remedy: expect.stringContaining('mailwatchd login support'),
    });
    expect(String(error)).toContain('[secret] was revoked');
    clock.advance(900_000);
  }
  expect(server.requests).toHaveLength(1);

  access.retry();
  await codeOf(access.token());
  expect(server.requests).toHaveLength(2);

  configured = server.grant(USER);
  expect(await access.token()).toContain('access-canary');
  expect(server.requests).toHaveLength(3);
});

test('what a login stored is found, and another configured token goes before it', async () => {
  const { server, clock, options } = await prepare({ refreshToken: null });
  const access = createAccess(options);
  expect(await codeOf(access.token())).toBe('OAUTH_LOGIN_NEEDED');
  expect(server.requests).toHaveLength(0);

  mkdirSync(join(options.tokenFile, '..'));
  const now = clock.now();
  const login = server.grant(USER);
  const tokens: Tokens = {
    refreshToken: login,
    accessToken: 'of-the-login',
    issuedAt: now,
    expiresAt: now + 3_600_000,
    origin: null,
  };
  writeFileSync(options.tokenFile, JSON.stringify(tokens));
  expect(await access.token()).toBe('of-the-login');
  clock.advance(3_600_000);
  await access.token();
  expect(server.requests.at(-1)?.parameters.refresh_token).toBe(login);

  const configured = server.grant(USER);
  await createAccess({ ...options, refreshToken: async () => configured }).token();
  expect(server.requests.at(-1)?.parameters.refresh_token).toBe(configured);
});

test('until when a login lasts is kept while its refresh token stays, and unknown once another one follows it', async () => {
  const { server, clock, options, stored } = await prepare({ refreshToken: null });
  const access = createAccess(options);
  expect(access.endsAt()).toBeNull();
  mkdirSync(join(options.tokenFile, '..'));
  const now = clock.now();
  const endsAt = now + 90 * 86_400_000;
  const tokens: Tokens = {
    refreshToken: server.grant(USER),
    refreshEndsAt: endsAt,
    accessToken: 'of-the-login',
    issuedAt: now,
    expiresAt: now + 3_600_000,
    origin: null,
  };
  writeFileSync(options.tokenFile, JSON.stringify(tokens));
  await access.token();
  expect(access.endsAt()).toBe(endsAt);
  clock.advance(3_600_000);
  await access.token();
  expect(server.requests).toHaveLength(1);
  access.retry();
  expect([access.endsAt(), stored().refreshEndsAt]).toEqual([endsAt, endsAt]);
  server.rotates = true;
  clock.advance(3_600_000);
  await access.token();
  expect([access.endsAt(), stored().refreshEndsAt]).toEqual([null, null]);
});

test('a login that is said to last longer than any calendar has no end', async () => {
  const { server, access, stored } = await prepare();
  server.refreshLifetime = 1e18;
  await access.token();
  expect([access.endsAt(), stored().refreshEndsAt]).toEqual([null, null]);
});

test('another process that refreshed first is followed: its token is not taken for a revoked one', async () => {
  const { server, access, clock, options } = await prepare();
  server.rotates = true;
  await access.token();
  clock.advance(3_600_000);
  server.script = () => {
    server.script = undefined;
    // The daemon, while `check` asks; only then our own request arrives, with a token that is spent.
    void createAccess(options)
      .token()
      .then(() => server.requests[1]?.answer(400, { error: 'invalid_grant' }));
    return true;
  };
  expect(server.accessTokens.has(await access.token())).toBe(true);
  expect(server.requests).toHaveLength(3);
});

test.each<[string, (server: AuthorizationServer) => unknown]>([
  ['is down', (server) => server.close()],
  ['answers 503', (server) => (server.script = answering(503, 'busy'))],
  ['answers 429', (server) => (server.script = answering(429, { error: 'rate_limited' }))],
  [
    'is overloaded in its own words',
    (server) => (server.script = answering(400, { error: 'temporarily_unavailable' })),
  ],
  ['answers with a page', (server) => (server.script = answering(200, '<html>'))],
  [
    'hangs up',
    (server) =>
      (server.script = () => {
        void server.close();
        return true;
      }),
  ],
])('an end point that %s: the token is used to its very end, then it is later', async (_what, harm) => {
  const { server, access, clock } = await prepare();
  const token = await access.token();
  await harm(server);
  clock.advance(55 * 60_000);
  expect(await access.token()).toBe(token);
  clock.advance(5 * 60_000);
  const codes = await Promise.all(Array.from({ length: 20 }, () => codeOf(access.token())));
  expect(new Set(codes)).toEqual(new Set(['OAUTH_UNAVAILABLE']));
});

test('an end point whose certificate nobody knows gets no secret', async () => {
  using certificates = createCertificates();
  const { certificate, key } = certificates.valid;
  let requests = 0;
  const listener = createServer(
    { cert: readFileSync(certificate), key: readFileSync(key) },
    () => requests++,
  );
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void listener.close());
  const { options } = await prepare();
  const tokenEndpoint = `https://localhost:${(listener.address() as AddressInfo).port}/token`;
  const access = createAccess({ ...options, application: { ...options.application, tokenEndpoint } });
  await expect(access.token()).rejects.toMatchObject({
    code: 'OAUTH_UNAVAILABLE',
    message: expect.stringMatching(/certificate/),
  });
  expect(requests).toBe(0);
});

test('an end point in trouble is not asked more often than once a minute', async () => {
  const { server, access, clock } = await prepare();
  server.script = answering(503, 'busy');
  for (let second = 0; second < 3600; second += 10) {
    expect(await codeOf(access.token())).toBe('OAUTH_UNAVAILABLE');
    clock.advance(10_000);
  }
  expect(server.requests).toHaveLength(60);
  server.script = undefined;
  clock.advance(60_000);
  expect(await access.token()).toContain('access-canary');
});

test.each([
  ['a client that is not known', 401, { error: 'invalid_client' }, {}],
  ['a challenge', 401, '', { 'www-authenticate': 'Basic realm="x"' }],
  ['a scope that is not granted', 400, { error: 'invalid_scope' }, {}],
  ['a wrong address', 404, 'not here', {}],
  ['a redirect', 302, '', { location: 'https://elsewhere.example/' }],
])('%s is told, and tried sparingly', async (_what, status, body, headers) => {
  const { server, access } = await prepare();
  server.script = answering(status, body, headers as Record<string, string>);
  expect(await codeOf(access.token())).toBe('OAUTH_REFUSED');
});

test('a token that the mail server refuses is replaced, but not a new one', async () => {
  const { server, access, clock } = await prepare();
  const token = await access.token();
  expect(await access.token(token)).toBe(token);
  clock.advance(60_000);
  const another = await access.token(token);
  expect(another).not.toBe(token);
  // Another folder, which was refused with the same one.
  expect(await access.token(token)).toBe(another);
  expect(server.requests).toHaveLength(2);

  // The clock is set back: what it says of the token's age is worth nothing.
  clock.jump(-86_400_000);
  expect(await access.token(another)).not.toBe(another);
});

test('a file that is damaged or may not be read is told, without what stands in it', async () => {
  const { access, options, server } = await prepare();
  mkdirSync(options.tokenFile, { recursive: true });
  expect(await codeOf(access.token())).toBe('SECRET_UNAVAILABLE');
  rmSync(options.tokenFile, { recursive: true });
  writeFileSync(options.tokenFile, '{"refreshToken":"canary"');
  chmodSync(options.tokenFile, 0o600);
  const error = await access.token().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'SECRET_UNAVAILABLE' });
  expect(inspect(error)).not.toContain('canary');
  expect(server.requests).toHaveLength(0);
});

test('no error holds a secret, whatever the end point says', async () => {
  const { server, first, options } = await prepare();
  server.script = ({ parameters, answer }) => {
    answer(400, { error: 'invalid_request', error_description: JSON.stringify(parameters) });
    return true;
  };
  const error = await createAccess(options)
    .token()
    .catch((thrown: unknown) => thrown);
  const printed = inspect(error, { depth: 9, showHidden: true });
  expect(printed).toContain('invalid_request');
  for (const secret of [first, CLIENT_SECRET]) expect(printed).not.toContain(secret);
});

const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
const EMAIL = 'daemon@project.example';
const keyFile = {
  type: 'service_account',
  client_email: EMAIL,
  private_key_id: 'key-1',
  private_key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
};

test('a service account signs for the user, anew each time', async () => {
  const { server, clock, options } = await prepare({ refreshToken: null });
  server.serviceAccounts.set(EMAIL, keys.publicKey);
  const serviceAccountKey = async () => JSON.stringify(keyFile, null, 2);
  const application = {
    ...options.application,
    ...{ grant: 'serviceAccount' as const, clientId: null, clientSecret: null, serviceAccountKey },
  };
  const access = createAccess({ ...options, application });
  const token = await access.token();
  expect(server.accessTokens.get(token)?.user).toBe(USER);
  expect(Object.keys(server.requests[0]!.parameters).sort()).toEqual(['assertion', 'grant_type']);
  clock.advance(3_600_000);
  expect(await access.token()).not.toBe(token);

  // An account that may not act for this user is nobody's login.
  server.serviceAccounts.clear();
  clock.advance(3_600_000);
  expect(await codeOf(access.token())).toBe('OAUTH_REFUSED');
});

test.each([
  ['not JSON', 'canary'],
  ['another JSON', '{"installed":"canary"}'],
  ['no private key', JSON.stringify({ ...keyFile, private_key: '-----BEGIN PRIVATE KEY-----\ncanary' })],
])('a key file that is %s is told, without what stands in it', async (_what, text) => {
  const { server, options } = await prepare({ refreshToken: null });
  const application = {
    ...options.application,
    ...{ grant: 'serviceAccount' as const, clientId: null, clientSecret: null },
    serviceAccountKey: async () => text,
  };
  const error = await createAccess({ ...options, application })
    .token()
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'SECRET_UNAVAILABLE' });
  expect(inspect(error, { depth: 9 })).not.toContain('canary');
  expect(server.requests).toHaveLength(0);
});

test('an application gets tokens by itself, and a refused one is not told to log in', async () => {
  const { server, options, stored } = await prepare({ refreshToken: null });
  server.visitor = USER;
  const application = { ...options.application, grant: 'clientCredentials' as const };
  const access = createAccess({ ...options, application });
  const token = await access.token();
  expect(server.requests[0]!.parameters).toMatchObject({ grant_type: 'client_credentials', scope: 'mail' });
  expect(stored()).toMatchObject({ accessToken: token, refreshToken: null });
  server.script = answering(400, { error: 'invalid_grant' });
  rmSync(options.tokenFile);
  expect(await codeOf(createAccess({ ...options, application }).token())).toBe('OAUTH_REFUSED');
});
