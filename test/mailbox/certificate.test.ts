/** Until when a server's certificate is valid is known also of a connection that lasts for months. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type CertificateFiles, createCertificates } from '../servers/certificates.ts';
import { createHarness, RECONCILE_MS } from './harness.ts';

const DAY = 86_400_000;
const pem = ({ certificate, key }: CertificateFiles) => ({
  cert: readFileSync(certificate, 'utf8'),
  key: readFileSync(key, 'utf8'),
});

test.each([
  'tls',
  'starttls',
] as const)('%s: a certificate that is renewed meanwhile is noticed', async (security) => {
  using certificates = createCertificates();
  // By the system's clock it must be valid, and the harness's is behind that or near it.
  const endsAt = Math.floor((Date.now() + 20 * DAY) / 1000) * 1000;
  const ending = pem(certificates.ending(new Date(endsAt)));
  await using harness = await createHarness({ security, certificate: ending });
  const { server, clock } = harness;
  clock.jump(Date.now() - clock.now());
  await harness.watch({
    account: { host: 'localhost', security, ca: certificates.ca },
    reconcileEvery: RECONCILE_MS,
  });
  await server.idle();
  expect(harness.report().certificate?.until).toBe(endsAt);

  server.certificate = pem(certificates.valid);
  const again = () => server.seen(/^IDLE/);
  let idle = again();
  clock.advance(RECONCILE_MS);
  await idle;
  expect(server.connections()).toBe(1);
  expect(harness.report().certificate?.until).toBe(endsAt);

  idle = again();
  // In one step, so that IDLE is not renewed all the time.
  clock.advance(DAY);
  await idle;
  await harness.until(({ certificate }) => certificate!.until > endsAt);
  expect([...server.sessions].filter((session) => session.alive() && session.folder !== null)).toHaveLength(
    1,
  );
});
