/** `auth.oauth2` is taken as a whole or refused with every fault, and never shows a secret. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { endpointSchema, leavesOf, oauth2Schema } from '../../src/config/schema.ts';
import { account, faults, load, refusal } from './temporary.ts';

const oauth2 = { provider: 'google', clientId: 'id', clientSecret: { env: 'CLIENT_SECRET' } };
const withOAuth2 = (more: object, rest: object = {}) =>
  account({ password: undefined, auth: { oauth2: { ...oauth2, ...more } }, ...rest });
const one = (more: object, rest: object = {}) => ({ accounts: [withOAuth2(more, rest)] });
const taken = async (more: object) => {
  const { config } = await load(one(more));
  return config.accounts[0]?.auth;
};

test('a provider that is known by name brings its end points and scope', async () => {
  expect(await taken({})).toEqual({
    oauth2: {
      tokenEndpoint: 'https://oauth2.googleapis.com/token',
      authorizationEndpoint: expect.stringContaining('access_type=offline'),
      deviceAuthorizationEndpoint: null,
      scope: 'https://mail.google.com/',
      grant: 'refreshToken',
      clientId: 'id',
      clientSecret: { env: 'CLIENT_SECRET' },
      serviceAccountKey: null,
      refreshToken: null,
      tokenFile: null,
    },
  });
  expect(
    await taken({ provider: 'microsoft', tenant: 'example.org', clientSecret: undefined }),
  ).toMatchObject({
    oauth2: {
      tokenEndpoint: 'https://login.microsoftonline.com/example.org/oauth2/v2.0/token',
      scope: expect.stringContaining('offline_access'),
      clientSecret: null,
    },
  });
});

test('a provider of your own', async () => {
  const provider = { tokenEndpoint: 'https://sso.example.org/token' };
  const more = { provider, scope: 'mail', refreshToken: { file: '/r' }, tokenFile: '/t/a.json' };
  expect(await taken(more)).toMatchObject({
    oauth2: {
      ...provider,
      authorizationEndpoint: null,
      scope: 'mail',
      refreshToken: { file: '/r' },
      tokenFile: '/t/a.json',
    },
  });
});

test('other grants bring their scope, and take other keys', async () => {
  const application = { provider: 'microsoft', tenant: 'example.org', grant: 'clientCredentials' };
  expect(await taken(application)).toMatchObject({
    oauth2: { grant: 'clientCredentials', scope: 'https://outlook.office365.com/.default' },
  });
  const key = {
    clientId: undefined,
    clientSecret: undefined,
    serviceAccountKey: { file: '/run/secrets/key.json' },
  };
  expect(await taken({ grant: 'serviceAccount', ...key })).toMatchObject({
    oauth2: {
      clientId: null,
      serviceAccountKey: { file: '/run/secrets/key.json' },
      scope: 'https://mail.google.com/',
    },
  });
});

const own = (tokenEndpoint: unknown) => ({ provider: { tokenEndpoint }, scope: 'mail' });

describe('faults', () => {
  test.each<[string, object, string | RegExp]>([
    [
      'a password as well',
      one({}, { password: 'x' }),
      'accounts[0].auth: not together with password: give one of them',
    ],
    [
      'neither',
      { accounts: [account({ password: undefined })] },
      /^accounts\[0\]\.password: .*found nothing$/,
    ],
    [
      'another way',
      { accounts: [account({ password: undefined, auth: { oauth2, oath2: 1 } })] },
      'accounts[0].auth.?: unknown key, did you mean oauth2?',
    ],
    [
      'nothing in it',
      one({ clientId: undefined }),
      'accounts[0].auth.oauth2.clientId: must be given with grant: refreshToken',
    ],
    [
      'an unknown provider',
      one({ provider: 'gogle' }),
      /provider: expected google, microsoft or \{.*another string/,
    ],
    ['no provider', one({ provider: undefined }), /provider: .*found nothing$/],
    ['clear text', one(own('http://sso.example.org/')), /provider\.tokenEndpoint: expected an https URL/],
    ['not a URL', one(own('sso.example.org')), /provider\.tokenEndpoint: expected an https URL/],
    ['a password in the URL', one(own('https://a:hunter2@sso.example.org/')), /provider\.tokenEndpoint: /],
    ['no scope', one({ provider: { tokenEndpoint: 'https://a.example/' } }), /oauth2\.scope: must be given/],
    ['openid', one({ scope: 'openid mail' }), /oauth2\.scope: .*without openid/],
    ['a tenant of Google', one({ tenant: 'a' }), /oauth2\.tenant: is for provider: microsoft only/],
    ['a tenant that is a path', one({ provider: 'microsoft', tenant: '../x' }), /oauth2\.tenant: expected/],
    [
      'a secret in two places',
      one({ clientSecret: { file: '/a', env: 'A' } }),
      /oauth2\.clientSecret: .*2 keys/,
    ],
    [
      'an unknown grant',
      one({ grant: 'password' }),
      /oauth2\.grant: expected refreshToken, clientCredentials or/,
    ],
    [
      'an application of everybody',
      one({ provider: 'microsoft', grant: 'clientCredentials' }),
      /oauth2\.tenant: must be the directory/,
    ],
    [
      'a service account with a client',
      one({ grant: 'serviceAccount', clientSecret: undefined, serviceAccountKey: { file: '/k' } }),
      'accounts[0].auth.oauth2.clientId: not with grant: serviceAccount',
    ],
    [
      'a service account at Microsoft',
      one({
        ...{ provider: 'microsoft', grant: 'serviceAccount', serviceAccountKey: { file: '/k' } },
        ...{ clientId: undefined, clientSecret: undefined },
      }),
      /oauth2\.grant: serviceAccount is not for/,
    ],
    [
      'an application at Google',
      one({ grant: 'clientCredentials' }),
      /oauth2\.grant: clientCredentials is not for/,
    ],
    ['an unknown key', one({ clientid: 'x' }), /oauth2\.clientid: unknown key, did you mean clientId\?/],
    ['a relative file', one({ tokenFile: 'a.json' }), /oauth2\.tokenFile: expected an absolute path/],
    [
      'tokens among documents',
      one({ tokenFile: '/var/spool/mailwatchd/a.json' }),
      /oauth2\.tokenFile: must not lie in storage\.directory/,
    ],
    [
      'one file for two accounts',
      {
        accounts: [
          withOAuth2({ tokenFile: '/a' }),
          withOAuth2({ tokenFile: '/a' }, { name: 'b', user: 'b' }),
        ],
      },
      'accounts[1].auth.oauth2.tokenFile: the same file as that of another account',
    ],
  ])('%s', async (_what, content, expected) => {
    const found = await faults(content);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  test('clear text is taken on loopback', async () => {
    expect(await taken(own('http://127.0.0.1:8080/token'))).toMatchObject({ oauth2: { scope: 'mail' } });
    expect(await taken(own('http://[::1]:8080/token'))).toMatchObject({ oauth2: { scope: 'mail' } });
  });

  test('a plain secret must be private, and is never shown', async () => {
    const content = one({ clientSecret: 'hunter2', refreshToken: 'hunter3', provider: 7 });
    const text = await refusal(content, { mode: 0o644 });
    expect(text.match(/others can read/g)).toHaveLength(2);
    expect(text).not.toMatch(/hunter/);
  });
});

test('a secret that everybody can read is a warning, wherever it belongs', async () => {
  const { warnings } = await load(one({ refreshToken: { file: '/proc/self/status' } }));
  expect(warnings).toEqual([expect.stringContaining('/proc/self/status')]);
});

test('config/mailwatchd.yaml tells every key', () => {
  const text = readFileSync(new URL('../../config/mailwatchd.yaml', import.meta.url), 'utf8');
  const keys = [...leavesOf(oauth2Schema), ...leavesOf(endpointSchema)].map(([key]) => key);
  for (const key of [...keys, 'provider', 'clientSecret', 'serviceAccountKey', 'refreshToken'])
    expect(text).toMatch(new RegExp(`^ +# .*\\b${key}: `, 'm'));
});
