/** Reaching a server: TLS as it should be, every way it can be refused named with its remedy, no password anywhere. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { MailwatchdError } from '../../src/errors.ts';
import type { Filter } from '../../src/filter.ts';
import type { ConnectAccountOptions } from '../../src/mailbox/account.ts';
import { fault } from '../../src/mailbox/faults.ts';
import { type PlanOptions, planMailbox } from '../../src/mailbox/plan.ts';
import { visitAccount } from '../../src/mailbox/visit.ts';
import type { AccountSettings } from '../../src/mailbox/watcher.ts';
import { judgeStart as judgeBytes } from '../../src/message/judging.ts';
import { PROVIDERS, providerOfHost } from '../../src/providers/index.ts';
import { rule } from '../rules.ts';
import { type CertificateFiles, type Certificates, createCertificates } from '../servers/certificates.ts';
import { type ScriptedOptions, startScriptedServer } from '../servers/scripted.ts';
import { collectLog, mail, PASSWORD, probeAlone } from './harness.ts';

let certificates: Certificates;
beforeAll(() => {
  certificates = createCertificates();
});
afterAll(() => certificates[Symbol.dispose]());

const pem = ({ certificate, key }: CertificateFiles) => ({
  cert: readFileSync(certificate, 'utf8'),
  key: readFileSync(key, 'utf8'),
});

const account = (port: number, changes: Partial<AccountSettings> = {}): AccountSettings => ({
  filter: null,
  name: 'support',
  host: '127.0.0.1',
  port,
  security: 'none',
  provider: null,
  ca: null,
  user: 'ann@example.org',
  credential: async () => ({ password: PASSWORD }),
  start: { kind: 'all' },
  after: { seen: false, move: null, delete: false },
  pollEvery: 60_000,
  idleRenewEvery: 300_000,
  ...changes,
});

const logged: string[] = [];
const options = (): ConnectAccountOptions => ({
  limits: { messageBytes: 1024 * 1024, operationSeconds: 60 },
  clock: systemClock,
  log: collectLog(logged),
  takeTurn: async () => undefined,
  signal: new AbortController().signal,
});

/** What probing a server that is set up like this fails with. */
async function failure(
  server: ScriptedOptions,
  changes: Partial<AccountSettings> = {},
): Promise<MailwatchdError> {
  await using scripted = await startScriptedServer(server);
  const { security } = server;
  const settings = account(scripted.port, { ...(security && { security }), ...changes });
  return await probeAlone(settings, 'INBOX', options()).then(
    () => {
      throw new Error('the probe did not fail');
    },
    (error) => error,
  );
}

describe('quota', () => {
  const quotaOf = async (capabilities: string[], answer: (tag: string) => string[]) => {
    await using server = await startScriptedServer({ capabilities });
    server.script = ({ name, tag, session }) => {
      if (name !== 'GETQUOTAROOT') return false;
      session.send(...answer(tag));
      return true;
    };
    const { quota, certificate } = await probeAlone(account(server.port), 'INBOX', options());
    expect(certificate).toBeNull();
    return { quota, asked: server.commands.filter((command) => command.startsWith('GETQUOTA')) };
  };

  test('the resource that is nearest to its end, storage in octets', async () => {
    const answer = (tag: string) => [
      '* QUOTAROOT INBOX "User quota"',
      '* QUOTA "User quota" (STORAGE 90 100 MESSAGE 10 1000)',
      `${tag} OK done`,
    ];
    const { quota, asked } = await quotaOf(['QUOTA'], answer);
    expect(quota).toEqual({ resource: 'storage', used: 90 * 1024, limit: 100 * 1024 });
    expect(asked).toEqual(['GETQUOTAROOT INBOX']);
  });

  test.each([
    ['a server without quota is not asked', [], 0, () => []],
    ['a refusal is no trouble', ['QUOTA'], 1, (tag: string) => [`${tag} NO not yours`]],
    [
      'a mailbox without a limit has none',
      ['QUOTA'],
      1,
      (tag: string) => ['* QUOTAROOT INBOX', `${tag} OK done`],
    ],
    [
      'nonsense is none',
      ['QUOTA'],
      1,
      (tag: string) => ['* QUOTA "x" (STORAGE 9 0 X STORAGE -1 MESSAGE a b)', `${tag} OK done`],
    ],
  ])('%s', async (_what, capabilities, count, answer) => {
    const { quota, asked } = await quotaOf(capabilities, answer);
    expect(quota).toBeNull();
    expect(asked).toHaveLength(count);
  });
});

describe('TLS', () => {
  test.each([
    'tls',
    'starttls',
  ] as const)('%s with a private authority named under `ca`', async (security) => {
    await using server = await startScriptedServer({ security, certificate: pem(certificates.valid) });
    server.deliver('INBOX', mail('one'));
    const settings = account(server.port, { security, ca: certificates.ca, host: 'localhost' });
    const probe = await probeAlone(settings, 'INBOX', options());
    expect(probe).toMatchObject({ path: 'INBOX', messages: 1, idle: true, afterFault: null });
    // The last day of the certificate, whenever TLS began.
    expect(probe.certificate?.until).toBe(Date.UTC(2049, 11, 31, 23, 59, 59));
  });

  test.each(['tls', 'starttls'] as const)('%s: an expired certificate', async (security) => {
    const error = await failure(
      { security, certificate: pem(certificates.expired) },
      { ca: certificates.ca },
    );
    expect(error.code).toBe('TLS_EXPIRED');
    expect(error.message).toContain('has expired');
  });

  test.each(['tls', 'starttls'] as const)('%s: a certificate for another host', async (security) => {
    const error = await failure(
      { security, certificate: pem(certificates.wrongHost) },
      { ca: certificates.ca },
    );
    expect(error.code).toBe('TLS_WRONG_HOST');
    expect(error.message).toContain('mail.elsewhere.example');
  });

  test.each(['tls', 'starttls'] as const)('%s: an unknown issuer, with its fingerprint', async (security) => {
    const error = await failure({ security, certificate: pem(certificates.otherIssuer) });
    expect(error.code).toBe('TLS_UNKNOWN_ISSUER');
    expect(error.message).toContain(certificates.fingerprint(certificates.otherIssuer.certificate));
    expect(error.remedy).toContain('`ca:`');
  });

  test('a certificate with a weak key is refused as such', async () => {
    const weak = certificates.issue('weak', 'IP:127.0.0.1', '-newkey', 'rsa:1024');
    const error = await failure(
      // OpenSSL does not even serve it at its ordinary level.
      { security: 'tls', certificate: { ...pem(weak), ciphers: 'DEFAULT:@SECLEVEL=0' } },
      { ca: certificates.ca },
    );
    expect(error.code).toBe('TLS_FAILED');
    expect(error.message).toContain('key too weak');
  });

  test("a server's own certificate may be named under `ca`", async () => {
    const { otherIssuer } = certificates;
    await using server = await startScriptedServer({ security: 'tls', certificate: pem(otherIssuer) });
    const settings = account(server.port, { security: 'tls', ca: otherIssuer.certificate });
    expect(await probeAlone(settings, 'INBOX', options())).toMatchObject({ messages: 0 });
  });

  test('TLS on a plain port, and the other way round', async () => {
    expect((await failure({}, { security: 'tls' })).code).toBe('TLS_FAILED');
  });

  test('a `ca` file that is not there is named', async () => {
    const error = await failure({}, { ca: '/nonexistent/ca.pem' });
    expect(error.code).toBe('SECRET_UNAVAILABLE');
    expect(error.message).toContain('/nonexistent/ca.pem');
  });

  test('nothing is believed that was injected before the STARTTLS handshake', async () => {
    const error = await failure({
      security: 'starttls',
      certificate: pem(certificates.valid),
      script: ({ name, tag, session }) => {
        if (name !== 'STARTTLS') return false;
        session.send(`${tag} OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN`);
        return true;
      },
    });
    expect(['TLS_FAILED', 'SERVER_PROTOCOL']).toContain(error.code);
  });
});

const refusals: [string, string, string][] = [
  ['NO [AUTHENTICATIONFAILED] Invalid credentials', '127.0.0.1', 'AUTH_FAILED'],
  ['NO LOGIN failed.', '127.0.0.1', 'AUTH_FAILED'],
  ['BAD invalid arguments', '127.0.0.1', 'AUTH_FAILED'],
  [
    'NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833',
    '127.0.0.1',
    'AUTH_APP_PASSWORD',
  ],
  ['NO [AUTHORIZATIONFAILED] Please use an app password', '127.0.0.1', 'AUTH_APP_PASSWORD'],
  ['NO LOGIN failed BasicAuthBlocked', '127.0.0.1', 'AUTH_BASIC_DISABLED'],
  ['NO [PRIVACYREQUIRED] Plaintext authentication disallowed', '127.0.0.1', 'AUTH_LOGIN_DISABLED'],
  ['NO [UNAVAILABLE] Temporary failure', '127.0.0.1', 'SERVER_UNAVAILABLE'],
  ['NO [LIMIT] too many', '127.0.0.1', 'SERVER_UNAVAILABLE'],
  ['NO [SERVERBUG] oops', '127.0.0.1', 'SERVER_UNAVAILABLE'],
  ['NO Too many simultaneous connections. (Failure)', '127.0.0.1', 'SERVER_UNAVAILABLE'],
  ['NO Account exceeded command or bandwidth limits. (Failure)', '127.0.0.1', 'SERVER_UNAVAILABLE'],
];
test.each(refusals)('login answered with %s', async (answer, host, code) => {
  const error = await failure(
    {
      script: ({ name, tag, session }) => {
        if (name !== 'LOGIN') return false;
        session.send(`${tag} ${answer}`);
        return true;
      },
    },
    { host },
  );
  expect(error.code).toBe(code);
});

test('the provider decides what a refusal without words means', () => {
  const refused = { authenticationFailed: true, responseText: 'LOGIN failed.', responseStatus: 'NO' };
  const at = (host: string) => {
    const name = providerOfHost(host);
    const provider = name && PROVIDERS[name];
    return fault(refused, { where: host, host, provider, bye: undefined, secrets: [], byToken: false }).code;
  };
  expect(at('outlook.office365.com')).toBe('AUTH_BASIC_DISABLED');
  expect(at('imap.mail.yahoo.com')).toBe('AUTH_APP_PASSWORD');
  expect(at('imap.mail.me.com')).toBe('AUTH_APP_PASSWORD');
  expect(at('outlook.office365.com.evil.example')).toBe('AUTH_FAILED');
});

test.each([
  ['ENOTFOUND', 'HOST_NOT_FOUND'],
  ['EAI_AGAIN', 'HOST_NOT_FOUND'],
  ['ECONNREFUSED', 'CONNECTION_REFUSED'],
  ['EHOSTUNREACH', 'CONNECTION_REFUSED'],
  ['ECONNRESET', 'CONNECTION_LOST'],
  ['NoConnection', 'CONNECTION_LOST'],
  ['ETIMEDOUT', 'OPERATION_TIMED_OUT'],
  ['ETHROTTLE', 'SERVER_UNAVAILABLE'],
  ['LineTooLarge', 'SERVER_PROTOCOL'],
  ['ParserError3', 'SERVER_PROTOCOL'],
  ['EPROTO', 'TLS_FAILED'],
])('%s is %s', (code, expected) => {
  const error = fault(Object.assign(new Error('x'), { code }), {
    where: 'mail.example.org:993',
    host: 'mail.example.org',
    provider: null,
    bye: undefined,
    secrets: [],
    byToken: false,
  });
  expect(error.code).toBe(expected);
  expect(error.message).toContain('mail.example.org:993');
});

test('a login that the server says is disabled is not tried', async () => {
  await using server = await startScriptedServer({ capabilities: ['LOGINDISABLED'] });
  await expect(probeAlone(account(server.port), 'INBOX', options())).rejects.toMatchObject({
    code: 'AUTH_LOGIN_DISABLED',
  });
  expect(server.commands.filter((command) => /LOGIN|AUTH/.test(command))).toEqual([]);
});

test('a port where nobody listens', async () => {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  await new Promise((resolve) => listener.close(resolve));
  await expect(probeAlone(account(port), 'INBOX', options())).rejects.toMatchObject({
    code: 'CONNECTION_REFUSED',
    remedy: expect.stringContaining('port'),
  });
});

test('a server that throttles is left alone at once, not waited for', async () => {
  const error = await failure({
    script: ({ name, tag, session }) => {
      if (name !== 'EXAMINE') return false;
      session.send(`${tag} BAD Request is throttled. Suggested Backoff Time: 300000 milliseconds`);
      return true;
    },
  });
  expect(error.code).toBe('SERVER_UNAVAILABLE');
});

test('a password with every kind of character arrives as it is; no answer brings it into an error or a log', async () => {
  const password = 'pa"ss\\wörd {5} 漢字';
  await using server = await startScriptedServer({ password });
  const settings = account(server.port, { credential: async () => ({ password }) });
  expect(await probeAlone(settings, 'INBOX', options())).toMatchObject({ messages: 0 });

  for (const capability of [[], ['AUTH=PLAIN'], ['AUTH=PLAIN', 'SASL-IR']]) {
    server.capabilities = capability;
    server.script = ({ name, tag, session }) => {
      if (name !== 'LOGIN' && name !== 'AUTHENTICATE') return false;
      const sasl = Buffer.from(`\0ann@example.org\0${password}`).toString('base64');
      const quoted = password.replace(/["\\]/g, '\\$&');
      session.send(`${tag} NO no login with ${password} nor "${quoted}" nor ${sasl} \u001b[31mred\u202e`);
      return true;
    };
    const error = await probeAlone(settings, 'INBOX', options()).catch((thrown) => thrown);
    const everything = [
      error.message,
      error.stack,
      JSON.stringify(error),
      String(error.cause),
      ...logged,
    ].join('\n');
    expect(error.code).toBe('AUTH_FAILED');
    expect(everything).not.toContain(password);
    expect(everything).not.toContain('wörd');
    expect(everything).not.toContain(Buffer.from(password).toString('base64').slice(0, 12));
    expect(error.message).toContain('[secret]');
    expect(everything).not.toContain('\u001b');
    expect(everything).not.toContain('\u202e');
  }
});

test('AUTHENTICATE PLAIN is used where the server offers it', async () => {
  await using server = await startScriptedServer({ capabilities: ['AUTH=PLAIN'] });
  await probeAlone(account(server.port), 'INBOX', options());
  expect(server.commands).toContain('AUTHENTICATE PLAIN');
});

describe('folders', () => {
  test.each([
    ['inbox', 'INBOX'],
    ['Kunden.Müller', 'Kunden.Müller'],
    ['Kunden/Müller', 'Kunden.Müller'],
    ['Entwürfe & Ablage', 'Entwürfe & Ablage'],
  ])('%s opens %s', async (name, path) => {
    await using server = await startScriptedServer();
    server.delimiter = '.';
    // Modified UTF-7 (RFC 3501 §5.1.3), as a server lists them.
    server.createFolder('Kunden.M&APw-ller');
    server.createFolder('Entw&APw-rfe &- Ablage');
    expect(await probeAlone(account(server.port), name, options())).toMatchObject({ path });
  });

  test('a missing one names the nearest that exists', async () => {
    await using server = await startScriptedServer();
    server.createFolder('Invoices');
    server.createFolder('Archive', { attributes: ['\\Noselect'] });
    await expect(probeAlone(account(server.port), 'Invoces', options())).rejects.toMatchObject({
      code: 'FOLDER_MISSING',
      remedy: 'did you mean "Invoices"?',
    });
  });

  test('what `after` needs and the server lacks', async () => {
    await using server = await startScriptedServer({ capabilities: ['MOVE'] });
    const probe = (changes: Partial<AccountSettings['after']>) =>
      probeAlone(
        account(server.port, { after: { seen: false, move: null, delete: false, ...changes } }),
        'INBOX',
        options(),
      );
    expect((await probe({ seen: true })).afterFault).toBeNull();
    expect((await probe({ delete: true })).afterFault!.code).toBe('DELETE_UNSUPPORTED');
    expect((await probe({ move: 'Archive' })).afterFault!.code).toBe('FOLDER_MISSING');
    server.capabilities = [];
    expect((await probe({ move: 'INBOX' })).afterFault!.code).toBe('MOVE_UNSUPPORTED');
  });

  test.each([
    { capabilities: ['SPECIAL-USE', 'LIST-EXTENDED'] },
    { capabilities: [] },
  ])('a special use opens whatever the server calls it, with $capabilities', async ({ capabilities }) => {
    await using server = await startScriptedServer({ capabilities });
    server.createFolder('[Gmail]', { attributes: ['\\HasChildren', '\\Noselect', '\\All'] });
    server.createFolder('[Gmail]/&UWiQ6JD1TvY-', { attributes: ['\\HasNoChildren', '\\all'] });
    expect(await probeAlone(account(server.port), '\\All', options())).toMatchObject({
      path: '[Gmail]/全部郵件',
    });
    await expect(probeAlone(account(server.port), '\\Junk', options())).rejects.toMatchObject({
      code: 'FOLDER_MISSING',
      message: expect.stringContaining('the server marks no folder as \\Junk'),
    });
    // Never taken for a name, which a server could give to another folder.
    expect(server.commands.filter((command) => /^(SELECT|EXAMINE) .*(All|Junk)/.test(command))).toEqual([]);
  });

  test('a special use is looked for anew once its folder cannot be opened', async () => {
    await using server = await startScriptedServer({ capabilities: ['SPECIAL-USE'] });
    server.createFolder('Archiv', { attributes: ['\\Archive'] });
    await using visit = visitAccount(account(server.port), options());
    const connection = await visit.connection();
    expect(await connection.select('\\Archive')).toMatchObject({ path: 'Archiv' });
    server.folders.delete('Archiv');
    server.createFolder('Archive', { attributes: ['\\Archive'] });
    await expect(connection.select('\\Archive')).rejects.toMatchObject({ code: 'SERVER_REFUSED' });
    expect(await connection.select('\\Archive')).toMatchObject({ path: 'Archive' });
  });

  test('without UNSELECT, a folder that is gone since it was opened keeps nobody from asking about others', async () => {
    await using server = await startScriptedServer({ capabilities: [] });
    for (const name of ['Bills', 'Old']) server.createFolder(name);
    await using visit = visitAccount(account(server.port), options());
    const connection = await visit.connection();
    await connection.select('Bills');
    server.folders.delete('Bills');
    expect([...(await connection.status(['Bills', 'Old'])).keys()]).toEqual(['Old']);
    await expect(connection.select('Bills')).rejects.toMatchObject({ code: 'FOLDER_MISSING' });
  });

  test('a folder that LIST-STATUS says nothing of is asked about by itself', async () => {
    await using server = await startScriptedServer({ capabilities: ['LIST-STATUS'] });
    for (const name of ['Bills', 'Old', 'Orders']) server.createFolder(name);
    server.script = ({ name, rest, tag, session }) => {
      if (name !== 'LIST' || !rest.includes('RETURN')) return false;
      // RFC 5819 §2: it may leave out what it cannot tell just now.
      session.send('* STATUS Bills (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 7)', `${tag} OK done`);
      return true;
    };
    await using visit = visitAccount(account(server.port), options());
    const connection = await visit.connection();
    const told = await connection.status(['Bills', 'Old', 'Orders']);
    expect([...told.keys()]).toEqual(['Bills', 'Old', 'Orders']);
    expect(server.commands.filter((line) => line.startsWith('STATUS'))).toHaveLength(2);
  });

  test('a folder is not moved into itself, whatever names it', async () => {
    await using server = await startScriptedServer({ capabilities: ['MOVE'] });
    server.createFolder('Archiv', { attributes: ['\\Archive'] });
    const after = { seen: false, move: '\\Archive', delete: false };
    const probe = (folder: string) => probeAlone(account(server.port, { after }), folder, options());
    expect((await probe('INBOX')).afterFault).toBeNull();
    expect((await probe('Archiv')).afterFault).toMatchObject({
      code: 'AFTER_FAILED',
      message: expect.stringContaining('the watched folder itself'),
    });
  });
});

describe('plan', () => {
  const judgeStart: PlanOptions['judgeStart'] = async (filter, message, start) =>
    judgeBytes(start, { ...message, filter, at: Date.now() });
  const day = (date: string) => new Date(`${date}T00:00:00Z`);
  test.each([
    [{ kind: 'all' } as const, { messages: 3, bytes: 300, oldest: '2026-10-01', newest: '2026-11-15' }],
    [
      { kind: 'date', at: day('2026-11-01').getTime() } as const,
      { messages: 2, bytes: 200, oldest: '2026-11-01', newest: '2026-11-15' },
    ],
    [{ kind: 'new' } as const, { messages: 0, bytes: 0, oldest: null, newest: null }],
  ])('start %o', async (start, expected) => {
    await using server = await startScriptedServer();
    for (const date of ['2026-11-15', '2026-10-01', '2026-11-01'])
      server.deliver('INBOX', 'x'.repeat(100), { internalDate: day(date) });
    await using visit = visitAccount(account(server.port, { start }), options());
    const plan = await planMailbox(visit, 'INBOX', { clock: systemClock, judgeStart });
    expect(plan).toEqual({
      ...expected,
      oldest: expected.oldest && day(expected.oldest).getTime(),
      newest: expected.newest && day(expected.newest).getTime(),
      rules: [],
    });
    expect(server.commands.filter((command) => /BODY|STORE/.test(command))).toEqual([]);
  });

  test('what rules make of each message, by its header and size', async () => {
    await using server = await startScriptedServer();
    for (const subject of ['invoice 1', 'invoice 2', 'invoice 3 with news', 'other', 'file'])
      server.deliver('INBOX', mail(subject));
    server.deliver('INBOX', mail('invoice 4').concat('x'.repeat(5000)));
    const rules: Filter = {
      only: [
        rule('invoices', { subject: { contains: 'invoice' } }),
        rule('files', { attachment: true, subject: { contains: 'file' } }),
      ],
      except: [rule('news', { subject: { contains: 'news' } }), rule('large', { largerThan: 4000 })],
    };
    const settings = account(server.port, { start: { kind: 'all' }, filter: rules });
    await using visit = visitAccount(settings, options());
    const plan = await planMailbox(visit, 'INBOX', { clock: systemClock, judgeStart });
    expect(plan.messages).toBe(3);
    expect(plan.rules).toEqual([
      { name: 'invoices', takes: true, messages: 2 },
      { name: 'files', takes: true, messages: 0 },
      { name: 'no rule of only', takes: false, messages: 1 },
      { name: 'news', takes: false, messages: 1 },
      { name: 'large', takes: false, messages: 1 },
      { name: null, takes: true, messages: 1 },
    ]);
    expect(server.commands.filter((command) => /BODY\.PEEK\[\]\)|STORE/.test(command))).toEqual([]);
  });
});
