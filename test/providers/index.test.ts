/** Each provider is complete, and found by its servers and by no look-alike. */
import { expect, test } from 'vitest';
import { parseDuration } from '../../src/config/format.ts';
import { PROVIDER_NAMES, PROVIDERS, providerOfHost } from '../../src/providers/index.ts';

test.each(PROVIDER_NAMES)('%s', (name) => {
  const { host, domains, idleRenewEvery, connections, refusals } = PROVIDERS[name];
  const found = providerOfHost(host);
  // Outlook.com is on the servers of Microsoft 365.
  expect(name === 'outlook' ? 'microsoft365' : name).toBe(found);
  for (const domain of domains) {
    expect(domain).toBe(domain.toLowerCase());
    expect(providerOfHost(domain)).toBe(name);
  }
  if (idleRenewEvery !== undefined) {
    // Renewing more rarely than by default would be no reason to say so.
    expect(parseDuration(idleRenewEvery)).toBeLessThan(300_000);
    expect(parseDuration(idleRenewEvery)).toBeGreaterThanOrEqual(30_000);
  }
  if (connections !== undefined) expect(connections).toBeGreaterThan(0);
  for (const { words } of refusals) expect(words.flags).toBe('i');
});

test.each([
  ['IMAP.Gmail.COM.', 'gmail'],
  ['export.imap.mail.yahoo.com', 'yahoo'],
  ['imappro.zoho.eu', 'zoho'],
  ['imap-mail.outlook.com', 'outlook'],
  ['imap.gmail.com.evil.example', null],
  ['notimap.gmail.com', null],
  ['evilzoho.com', null],
  ['mail.example.org', null],
  ['192.0.2.1', null],
])('%s is a server of %s', (host, name) => {
  expect(providerOfHost(host)).toBe(name);
});
