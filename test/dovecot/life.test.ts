/** Proves on a real Dovecot that what will break is said before it does, where people and monitoring look. */
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Certificates, createCertificates } from '../servers/certificates.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { startSmtpServer } from '../servers/smtp.ts';
import { accountOn, createWorkplace, type MailboxStatus } from './workplace.ts';

const DAY = 86_400_000;

let certificates: Certificates;
let server: Dovecot;

beforeAll(async () => {
  certificates = createCertificates();
  const certificate = certificates.ending(new Date(Date.now() + 10.5 * DAY));
  server = await startDovecot({ users: { ann: 'ann' }, certificate, quotaKilobytes: 100 });
});

afterAll(async () => {
  await server?.stop();
  certificates?.[Symbol.dispose]();
});

test('certificate, quota and credential: in status, check, and the lines that Monit reads', async () => {
  const tls = { host: 'localhost', port: server.imapsPort, security: 'tls', ca: certificates.ca };
  await using place = createWorkplace({ accounts: [] });
  const password = join(place.directory, 'password');
  writeFileSync(password, 'ann', { mode: 0o600 });
  const changedAt = new Date(Date.now() - 94.5 * DAY);
  utimesSync(password, changedAt, changedAt);
  place.configure({
    accounts: [accountOn(server, 'support', 'ann', '', { ...tls, password: { file: password } })],
  });
  await server.append('ann', 'INBOX', Buffer.from(`Subject: large\r\n\r\n${'x'.repeat(93 * 1024)}\r\n`));
  const daemon = place.start();
  await place.settled(daemon);

  const certificate = /the mail server's certificate ends in 10 d \(\d{4}-\d\d-\d\d\)/;
  const quota = /9\d % of the mailbox's quota \(storage\) is used/;
  const [mailbox] = place.mailboxes()!;
  expect(mailbox).toMatchObject({ healthy: true, reason: null, quota: { limit: 100 * 1024 } });
  expect(mailbox!.credentialChangedAt).toBe(changedAt.toISOString());
  expect(mailbox!.warnings).toEqual([
    { what: 'certificate', text: expect.stringMatching(certificate) },
    { what: 'quota', text: expect.stringMatching(quota) },
  ]);
  // It is written after status.json, and the log by another way.
  const line = new RegExp(`^support/INBOX\\tok\\twarning: ${certificate.source}; ${quota.source}\\n$`);
  await daemon.until('the line', () => line.test(readFileSync(join(place.state, 'mailboxes'), 'utf8')));
  const logged = () => daemon.output().match(/warn forewarning mailbox=/g)?.length;
  await daemon.until('the log', () => logged() === 2);
  const check = await place.command(['status', '--check']);
  expect(check.status).toBe(0);
  expect(check.stdout).toMatch(/^OK: 1 mailbox\n(.*\n)*warning: support\/INBOX: the mail server/);
  const details = (await place.command(['status', 'support/INBOX'])).stdout;
  expect(details).toMatch(/^certificate +ends in 10 d \(/m);
  expect(details).toMatch(/^credential +changed \S+Z \(94 d ago\)$/m);
  expect(details).toMatch(/^quota +9\d % of 100\.0 KB$/m);
  expect(details.match(/^warning /gm)).toHaveLength(2);
  expect((await place.command(['check'])).stdout).toMatch(
    /certificate ends in 10 d \(.*\), quota 9\d % of 100\.0 KB/,
  );
  expect(logged()).toBe(2);
});

test('a canary makes its round trip, is never published, and its folder is a mailbox of its own', async () => {
  const plain = await startDovecot({ users: { bob: 'bob' }, quotaKilobytes: 100 });
  await using _plain = plain;
  await using place = createWorkplace({ accounts: [] });
  const account = accountOn(plain, 'support', 'bob', 'bob', { canary: { every: '1m' } });
  place.configure({ accounts: [account] });
  const check = await place.command(['check']);
  expect(check.stdout).toMatch(/^support: canary +ok +mailwatchd-canary will be made, every 60 s$/m);
  expect((await place.command(['describe'])).stdout).toContain('\tsupport/mailwatchd-canary\n');
  // Whoever writes to us may write this field as well.
  const forged = 'Subject: forged\r\nX-Mailwatchd-Canary: 0123456789abcdef0123456789abcdef\r\n\r\nHello.\r\n';
  await plain.deliver('bob', Buffer.from(forged));
  // So full that it does not take a canary.
  const large = Buffer.from(`Subject: large\r\n\r\n${'x'.repeat(99.5 * 1024)}\r\n`);
  const uid = await plain.append('bob', 'INBOX', large);

  const daemon = place.start();
  const seen = (condition: (canary: MailboxStatus) => boolean) =>
    daemon.until('the canary', () => place.mailboxes()?.slice(1).some(condition));
  await seen(({ healthy }) => !healthy);
  await daemon.until('the mail to be published', () => place.mailboxes()?.[0]?.stored === 2);
  expect(place.mailboxes()![1]!.reason).toMatch(/^CANARY_MISSING: support\/mailwatchd-canary: .*[Qq]uota/);
  expect((await place.command(['status', '--check'])).stdout).toMatch(
    /^support\/mailwatchd-canary: CANARY_MISSING/,
  );

  await plain.expunge('bob', 'INBOX', [uid]);
  daemon.process.kill('SIGHUP');
  await seen(({ healthy, delay }) => healthy && delay?.count === 1);
  expect(place.mailboxes()).toMatchObject([
    { folder: 'INBOX', healthy: true, stored: 2 },
    { folder: 'mailwatchd-canary', state: 'idle', healthy: true, reason: null, missing: 0 },
  ]);
  expect(place.mailboxes()![1]!.lastPushAt).not.toBeNull();
  expect(await plain.messages('bob', 'mailwatchd-canary')).toEqual([]);
  expect((await place.list()).map(({ folder }) => folder)).toEqual(['INBOX', 'INBOX']);
  expect(await daemon.stop()).toBe(0);
});

test('a canary by SMTP makes the whole way of mail, by a plus address into its folder', async () => {
  const bob = 'bob@example.org';
  const mailServer = await startDovecot({ users: { [bob]: 'bob' }, plusAddresses: true });
  await using _mailServer = mailServer;
  await using relay = await startSmtpServer({
    security: 'tls',
    certificate: {
      cert: readFileSync(certificates.valid.certificate),
      key: readFileSync(certificates.valid.key),
    },
    users: { relay: 'submission-secret' },
    deliver: (to, raw) => mailServer.deliver(to, raw),
  });
  await using place = createWorkplace({ accounts: [] });
  const smtp = {
    ...{ host: 'localhost', port: relay.port, user: 'relay', password: 'submission-secret' },
    to: 'bob+mailwatchd-canary@example.org',
  };
  const more = { ca: certificates.ca, canary: { every: '1m', smtp } };
  place.configure({ accounts: [accountOn(mailServer, 'support', bob, 'bob', more)] });
  const sent = `sent by localhost:${relay.port} to ${smtp.to}`;
  expect((await place.command(['check'])).stdout).toContain(`will be made, ${sent}, every 60 s`);

  relay.script = (line) => (line.startsWith('MAIL') ? '550 5.7.1 Sending is switched off' : undefined);
  const daemon = place.start();
  const seen = (condition: (canary: MailboxStatus) => boolean) =>
    daemon.until('the canary', () => place.mailboxes()?.slice(1).some(condition));
  await seen(({ healthy }) => !healthy);
  expect(place.mailboxes()![1]!.reason).toMatch(/^CANARY_MISSING: .*550 5\.7\.1 Sending is switched off/);
  relay.script = undefined;
  daemon.process.kill('SIGHUP');
  await seen(({ healthy, delay }) => healthy && delay?.count === 1);
  expect(place.mailboxes()).toMatchObject([
    { folder: 'INBOX', healthy: true, expected: 0 },
    { folder: 'mailwatchd-canary', healthy: true, reason: null, missing: 0 },
  ]);
  expect(await mailServer.messages(bob, 'mailwatchd-canary')).toEqual([]);
  expect(await daemon.stop()).toBe(0);
  expect(daemon.output()).not.toContain('submission-secret');

  place.configure({
    accounts: [
      accountOn(mailServer, 'support', bob, 'bob', {
        ...more,
        canary: { every: '1m', smtp: { ...smtp, password: 'another-secret' } },
      }),
    ],
  });
  const refused = await place.command(['check']);
  expect(refused.stdout).toMatch(/^support: canary +AUTH_FAILED +localhost:\d+: 5\.7\.8 wrong: check/m);
  expect(`${refused.stdout}${refused.stderr}`).not.toContain('another-secret');
});

test('a canary by SMTP that comes into INBOX is left out of the storage, also after a restart; a forged one is mail', async () => {
  const bob = 'bob@example.org';
  const mailServer = await startDovecot({ users: { [bob]: 'bob' } });
  await using _mailServer = mailServer;
  const sent: Buffer[] = [];
  await using relay = await startSmtpServer({
    users: { [bob]: 'bob' },
    async deliver(to, raw) {
      sent.push(raw);
      await mailServer.deliver(to, raw);
    },
  });
  const smtp = { host: '127.0.0.1', port: relay.port, security: 'none' };
  const account = accountOn(mailServer, 'support', bob, 'bob', { canary: { every: '1h', smtp } });
  await using place = createWorkplace({ accounts: [account] });
  const settled = (filtered: number, stored: number) => () => {
    const [inbox] = place.mailboxes() ?? [];
    return inbox?.filtered === filtered && inbox.stored === stored;
  };
  const first = place.start();
  await first.until('the canary', settled(1, 1));
  expect((await place.command(['list', '--state', 'filtered'])).stdout).toContain('mailwatchd canary');

  const forged = sent[0]!.toString().replace(/[0-9a-f]{32}\r$/m, `${'0'.repeat(32)}\r`);
  expect(forged).toMatch(/^X-Mailwatchd-Canary: [0-9a-f]{32} 0{32}\r$/m);
  await mailServer.deliver(bob, Buffer.from(forged));
  await first.until('the forged one', settled(1, 2));
  expect(await first.stop()).toBe(0);

  // On its way at the stop.
  await mailServer.deliver(bob, sent[0]!);
  const second = place.start();
  // And the one of this start.
  await second.until('the canaries', settled(3, 4));
  expect(await second.stop()).toBe(0);
  expect((await place.list()).map(({ state }) => state).sort()).toEqual([
    ...Array(3).fill('filtered'),
    'published',
  ]);
});
