/** `provider` fills in what is left out, and nothing else. */
import { describe, expect, test } from 'vitest';
import { PROVIDER_NAMES, PROVIDERS } from '../../src/providers/index.ts';
import { account, faults, load } from './temporary.ts';

const loaded = async (more: Record<string, unknown>) => {
  const { config } = await load({ accounts: [account({ host: undefined, ...more })] });
  return config.accounts[0]!;
};

test.each(PROVIDER_NAMES)('%s is all that an account needs', async (provider) => {
  expect(await loaded({ provider })).toMatchObject({
    provider,
    host: PROVIDERS[provider].host,
    port: 993,
    security: 'tls',
    maxConnections: PROVIDERS[provider].connections ?? null,
  });
});

test('IDLE is renewed before the provider ends it', async () => {
  expect((await loaded({ provider: 'yahoo' })).idleRenewEvery).toBe(150_000);
  expect((await loaded({ provider: 'gmx' })).idleRenewEvery).toBe(50_000);
  expect((await loaded({ provider: 'gmail' })).idleRenewEvery).toBe(300_000);
});

test('what is written wins', async () => {
  const more = { host: 'imap.gmx.com', security: 'starttls', idleRenewEvery: '2m' };
  expect(await loaded({ provider: 'gmx', ...more })).toMatchObject({
    host: 'imap.gmx.com',
    port: 143,
    security: 'starttls',
    idleRenewEvery: 120_000,
  });
});

test('a host that is known fills in the same', async () => {
  const named = await loaded({ provider: 'yahoo' });
  expect(await loaded({ host: 'imap.mail.yahoo.com' })).toEqual(named);
  expect(await loaded({ host: 'imap.example.org' })).toMatchObject({
    provider: null,
    maxConnections: null,
    idleRenewEvery: 300_000,
  });
});

test('a provider that is named goes before a host that is known', async () => {
  expect(await loaded({ provider: 'outlook', host: 'outlook.office365.com' })).toMatchObject({
    provider: 'outlook',
  });
});

describe('OAuth2', () => {
  const oauth2 = { clientId: 'id' };
  const endpoint = async (more: Record<string, unknown>, settings: object = oauth2) => {
    const { auth } = await loaded({ password: undefined, auth: { oauth2: settings }, ...more });
    return 'oauth2' in auth ? auth.oauth2.tokenEndpoint : null;
  };

  test.each([
    ['gmail', 'https://oauth2.googleapis.com/token'],
    ['microsoft365', 'https://login.microsoftonline.com/common/oauth2/v2.0/token'],
    ['outlook', 'https://login.microsoftonline.com/common/oauth2/v2.0/token'],
  ])('%s gets its tokens from whom it belongs to', async (provider, expected) => {
    expect(await endpoint({ provider })).toBe(expected);
  });

  test('a tenant of Microsoft, and another provider of tokens', async () => {
    expect(await endpoint({ provider: 'microsoft365' }, { ...oauth2, tenant: 'example.org' })).toContain(
      '/example.org/',
    );
    expect(await endpoint({ provider: 'gmail' }, { ...oauth2, provider: 'microsoft' })).toContain(
      'microsoftonline',
    );
  });

  test('none is known of the others', async () => {
    const settings = account({ host: undefined, provider: 'icloud', password: undefined, auth: { oauth2 } });
    expect(await faults({ accounts: [settings] })).toEqual([
      expect.stringMatching(/^accounts\[0\]\.auth\.oauth2\.provider: expected google, microsoft or /),
    ]);
  });
});

test('a mistyped provider is told the nearest one', async () => {
  expect(await faults({ accounts: [account({ provider: 'gmial' })] })).toEqual([
    expect.stringMatching(
      /^accounts\[0\]\.provider: expected gmail, .* or null, found a string, did you mean gmail\?$/,
    ),
  ]);
  expect(await faults({ accounts: [account({ provider: 7 })] })).toEqual([
    expect.stringMatching(/^accounts\[0\]\.provider: .* found a number$/),
  ]);
});
