/** Proves that `check` and `plan` say of each fault of a real server what is wrong, and leave everything untouched. */
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CertificateFiles, type Certificates, createCertificates } from '../servers/certificates.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { accountOn, createWorkplace } from './workplace.ts';

const USERS = { ann: 'secret-of-ann' };

let certificates: Certificates;
let plain: Dovecot;
let tls: Dovecot;

beforeAll(async () => {
  certificates = createCertificates();
  plain = await startDovecot({ users: USERS });
  tls = await startDovecot({ users: USERS, certificate: certificates.valid });
  for (const folder of ['Rechnungen', 'Entwürfe/März']) await plain.createFolder('ann', folder);
});

afterAll(async () => {
  await plain?.stop();
  await tls?.stop();
  certificates?.[Symbol.dispose]();
});

/** Runs `check` with one account; its password must never show. */
async function check(account: object, ...options: string[]) {
  await using place = createWorkplace({ accounts: [account], limits: { operationSeconds: 5 } });
  const { status, stdout, stderr } = await place.command(['check', ...options]);
  const said = stdout + stderr;
  expect(said).not.toContain(USERS.ann);
  expect(readdirSync(place.storage), 'check writes nothing').toEqual([]);
  return { status, said };
}

const overTls = (server: Dovecot, more: object = {}) =>
  accountOn(server, 'support', 'ann', USERS.ann, {
    ...{ host: 'localhost', port: server.imapsPort, security: 'tls', ca: certificates.ca },
    ...more,
  });

describe('a server that is well', () => {
  test('over TLS with our own authority', async () => {
    expect(await check(overTls(tls))).toMatchObject({ status: 0 });
  });

  test('over STARTTLS', async () => {
    const account = overTls(tls, { port: tls.imapPort, security: 'starttls' });
    expect(await check(account)).toMatchObject({ status: 0 });
  });

  test('without TLS on loopback, a folder as people write it', async () => {
    const account = accountOn(plain, 'support', 'ann', USERS.ann, { folders: ['INBOX', 'Entwürfe/März'] });
    expect(await check(account)).toMatchObject({ status: 0 });
  });

  test('a folder by its special use', async () => {
    await plain.createFolder('ann', 'Abgelegt');
    const account = accountOn(plain, 'support', 'ann', USERS.ann, { folders: ['\\archive'] });
    expect(await check(account)).toMatchObject({ status: 0 });
  });

  test('--offline asks no server', async () => {
    const account = accountOn({ host: '127.0.0.1', imapPort: 1 }, 'support', 'ann', USERS.ann);
    expect(await check(account, '--offline')).toMatchObject({ status: 0 });
  });
});

describe('a fault of the server', () => {
  const cases: [string, RegExp, () => object][] = [
    [
      'a name that does not resolve',
      /HOST_NOT_FOUND.*mail\.nowhere\.invalid/s,
      () => overTls(tls, { host: 'mail.nowhere.invalid' }),
    ],
    ['a port where nothing listens', /CONNECTION_REFUSED/, () => overTls(tls, { port: 1 })],
    [
      'STARTTLS that is not offered',
      /STARTTLS_MISSING/,
      () => overTls(plain, { port: plain.imapPort, security: 'starttls' }),
    ],
    ['a wrong password', /AUTH_FAILED/, () => accountOn(plain, 'support', 'ann', 'a-wrong-one')],
    ['an unknown issuer', /TLS_UNKNOWN_ISSUER/, () => overTls(tls, { ca: null })],
    [
      'a missing folder, with the nearest one',
      /FOLDER_MISSING.*Rechnungen/s,
      () => accountOn(plain, 'support', 'ann', USERS.ann, { folders: ['Rechnugen'] }),
    ],
  ];
  test.each(cases)('%s', async (_name, words, account) => {
    const { status, said } = await check(account());
    expect(said).toMatch(words);
    expect(status).toBe(1);
  });

  test('an unknown issuer is told by its fingerprint, where the server sends its certificate', async () => {
    await using server = await startDovecot({ users: USERS, certificate: certificates.chain });
    const { said } = await check(overTls(server, { ca: null }));
    expect(said).toContain(certificates.fingerprint(certificates.ca));
  });

  test("else by the fingerprint of the server's own certificate", async () => {
    const { said } = await check(overTls(tls, { ca: null }));
    expect(said).toContain(certificates.fingerprint(certificates.valid.certificate));
  });

  const badCertificates: [string, RegExp, () => CertificateFiles][] = [
    ['an expired certificate', /TLS_EXPIRED/, () => certificates.expired],
    [
      'a certificate for another host',
      /TLS_WRONG_HOST.*mail\.elsewhere\.example/s,
      () => certificates.wrongHost,
    ],
    ['a certificate of another issuer', /TLS_UNKNOWN_ISSUER/, () => certificates.otherIssuer],
  ];
  test.each(badCertificates)('%s', async (_name, words, certificate) => {
    await using server = await startDovecot({ users: USERS, certificate: certificate() });
    const { status, said } = await check(overTls(server));
    expect(said).toMatch(words);
    expect(status).toBe(1);
  });

  test('login forbidden without TLS', async () => {
    await using server = await startDovecot({
      users: USERS,
      certificate: certificates.valid,
      loginDisabled: true,
    });
    const { status, said } = await check(accountOn(server, 'support', 'ann', USERS.ann));
    expect(said).toMatch(/AUTH_LOGIN_DISABLED/);
    expect(status).toBe(1);
  });

  test('each mailbox is told for itself', async () => {
    const folders = ['INBOX', 'Rechnugen', 'Entwürfe/März'];
    const { status, said } = await check(accountOn(plain, 'support', 'ann', USERS.ann, { folders }));
    expect(status).toBe(1);
    for (const folder of folders) expect(said).toContain(`support/${folder}`);
    expect(said.match(/FOLDER_MISSING/g)).toHaveLength(1);
  });
});

test('plan counts what a first start would fetch, by start', async () => {
  await using server = await startDovecot({ users: USERS });
  for (const day of [1, 2, 3]) {
    const raw = Buffer.from(`Subject: ${day}\r\n\r\n${'x'.repeat(1000)}\r\n`);
    await server.append('ann', 'INBOX', raw, { date: new Date(Date.UTC(2026, 9, day, 12)) });
  }
  const planned = async (start: string) => {
    await using place = createWorkplace({
      accounts: [accountOn(server, 'support', 'ann', USERS.ann, { start })],
    });
    const { status, stdout } = await place.command(['plan']);
    expect(status).toBe(0);
    expect(readdirSync(place.storage)).toEqual([]);
    expect(readdirSync(place.state)).toEqual([]);
    return stdout.split('\n').find((line) => line.includes('support/INBOX'));
  };
  expect(await planned('all')).toMatch(/\b3\b.*2026-10-01.*2026-10-03/);
  expect(await planned('2026-10-02')).toMatch(/\b2\b.*2026-10-02.*2026-10-03/);
  expect(await planned('new')).toMatch(/\b0\b/);
});
