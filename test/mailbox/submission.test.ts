/** A message is handed to an SMTP server as configured, never less safely; and what it says of that is told in its words. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type SubmissionSettings, submit, verifySubmission } from '../../src/mailbox/submission.ts';
import { createManualClock } from '../clock.ts';
import { type CertificateFiles, type Certificates, createCertificates } from '../servers/certificates.ts';
import { type SmtpOptions, startSmtpServer } from '../servers/smtp.ts';
import { PASSWORD } from './harness.ts';

const ANN = 'ann@example.org';
const MESSAGE = 'Subject: x\r\n\r\n.one dot\r\n..two\r\n';

let certificates: Certificates;
beforeAll(() => {
  certificates = createCertificates();
});
afterAll(() => certificates?.[Symbol.dispose]());

const pem = ({ certificate, key }: CertificateFiles) => ({
  cert: readFileSync(certificate),
  key: readFileSync(key),
});

async function createSubmission(given: SmtpOptions = {}, settings: Partial<SubmissionSettings> = {}) {
  const { security = 'none' } = given;
  const delivered: { to: string; raw: string }[] = [];
  const server = await startSmtpServer({
    users: { [ANN]: PASSWORD },
    certificate: pem(certificates.valid),
    deliver: (to, raw) => void delivered.push({ to, raw: raw.toString() }),
    ...given,
  });
  const clock = createManualClock();
  const controller = new AbortController();
  const options = {
    limits: { messageBytes: 1024, operationSeconds: 60 },
    clock,
    takeTurn: async () => undefined,
    signal: controller.signal,
  };
  const account: SubmissionSettings = {
    host: 'localhost',
    port: server.port,
    security,
    ca: certificates.ca,
    user: ANN,
    credential: async () => ({ password: PASSWORD }),
    from: ANN,
    to: 'ann+canary@example.org',
    ...settings,
  };
  return {
    server,
    delivered,
    clock,
    stop: () => controller.abort(),
    submit: () => submit(account, MESSAGE, options),
    verify: () => verifySubmission(account, options),
    refusal: () =>
      submit(account, MESSAGE, options).then(
        () => expect.unreachable(),
        (error: Error) => error,
      ),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const turnUntil = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
};

test.each([
  'none',
  'starttls',
  'tls',
] as const)('security: %s: logs in and hands over every byte', async (security) => {
  await using submission = await createSubmission({ security });
  await submission.submit();
  expect(submission.delivered).toEqual([{ to: 'ann+canary@example.org', raw: MESSAGE }]);
  const { commands } = submission.server;
  expect(commands).toContainEqual(expect.stringMatching(/^AUTH PLAIN /));
  // A bounce would be mail.
  expect(commands).toContain('RCPT TO:<ann+canary@example.org> NOTIFY=NEVER');
  await turnUntil(() => submission.server.open() === 0);
  expect(commands.at(-1)).toBe('QUIT');
});

test('verifying goes as far as the login', async () => {
  await using submission = await createSubmission();
  await submission.verify();
  await turnUntil(() => submission.server.open() === 0);
  expect(submission.server.commands.map((line) => line.split(' ')[0])).toEqual(['EHLO', 'AUTH', 'QUIT']);
});

test('a server that wants no login gets none', async () => {
  await using submission = await createSubmission();
  submission.server.script = (line) => (line.startsWith('EHLO') ? '250 test.example' : undefined);
  await submission.submit();
  expect(submission.server.commands.join()).not.toContain('AUTH');
});

test('a stripped STARTTLS is refused before anything is told', async () => {
  await using submission = await createSubmission({ security: 'starttls' });
  submission.server.script = (line) => {
    if (line.startsWith('EHLO')) return '250-test.example\r\n250 AUTH PLAIN';
    return line === 'STARTTLS' ? '502 5.5.1 unknown command' : undefined;
  };
  expect(await submission.refusal()).toMatchObject({ code: 'STARTTLS_MISSING' });
  expect(submission.server.commands.filter((line) => !/^(EHLO .*|STARTTLS)$/.test(line))).toEqual([]);
});

test.each([
  ['expired', 'TLS_EXPIRED'],
  ['wrongHost', 'TLS_WRONG_HOST'],
  ['otherIssuer', 'TLS_UNKNOWN_ISSUER'],
] as const)('a certificate that is %s is refused, by TLS and STARTTLS', async (name, code) => {
  const certificate = pem(certificates[name]);
  for (const security of ['tls', 'starttls'] as const) {
    await using submission = await createSubmission({ security, certificate });
    expect(await submission.refusal()).toMatchObject({ code });
    expect(submission.server.commands.join()).not.toContain('AUTH');
  }
});

test.each([
  ['AUTH', '535 5.7.8 Username and Password not accepted', 'AUTH_FAILED', /not accepted/],
  ['AUTH', '454 4.7.0 Temporary authentication failure', 'SERVER_UNAVAILABLE', /Temporary authentication/],
  ['AUTH', '534 5.7.9 Application-specific password required', 'AUTH_APP_PASSWORD', /Application-specific/],
  [
    'MAIL',
    '550 5.7.1 Not allowed to send as this\x1b[2J',
    'SERVER_REFUSED',
    /550 5\.7\.1 Not allowed .*\\u001b\[2J/,
  ],
  ['RCPT', '452 4.2.2 Mailbox full', 'SERVER_UNAVAILABLE', /452 4\.2\.2 Mailbox full/],
  ['DATA', '421 4.3.2 Closing', 'SERVER_UNAVAILABLE', /421 4\.3\.2 Closing/],
])('%s answered by %s is %s', async (command, answer, code, words) => {
  await using submission = await createSubmission();
  submission.server.script = (line) => (line.startsWith(command) ? answer : undefined);
  const error = await submission.refusal();
  expect(error).toMatchObject({ code });
  expect(error.message).toMatch(words);
});

test('with PIPELINING, too, a refusal is told by what was refused', async () => {
  await using submission = await createSubmission();
  submission.server.script = (line) => {
    if (line.startsWith('EHLO')) return '250-test.example\r\n250-PIPELINING\r\n250 AUTH PLAIN';
    if (line.startsWith('RCPT')) return '550 5.1.1 No such user';
    return line === 'DATA' ? '554 5.5.1 No valid recipients' : undefined;
  };
  const error = await submission.refusal();
  expect(error).toMatchObject({ code: 'SERVER_REFUSED' });
  expect(error.message).toContain('550 5.1.1 No such user');
});

test('a server that repeats a login does not tell it on', async () => {
  await using submission = await createSubmission();
  submission.server.script = (line) =>
    line.startsWith('AUTH') ? `535 5.7.8 ${line} for ${PASSWORD}` : undefined;
  const { message } = await submission.refusal();
  expect(message).toContain('AUTH PLAIN [secret] for [secret]');
});

test('what a server says on several lines is told on one', async () => {
  await using submission = await createSubmission();
  submission.server.script = (line) =>
    line.startsWith('AUTH')
      ? '535-5.7.8 Not accepted. For more go to\r\n535 5.7.8 https://x.example'
      : undefined;
  const { message } = await submission.refusal();
  expect(message).toContain('5.7.8 Not accepted. For more go to 5.7.8 https://x.example: check `user`');
});

test.each([
  [/^[EH][EH]LO/, 'hello?', /it said: hello\?/],
  [/^AUTH/, '+ go on', /it said: \+ go on/],
  [/^MAIL/, '250 fine\r\n\r\n* BYE', /it said: \* BYE/],
  [/^RCPT/, '\x1b[2J', /it said: \\u001b\[2J/],
  [/^\.$/, '354 more', /it said: 354 more/],
])('%s answered by %j is no SMTP', async (command, answer, words) => {
  await using submission = await createSubmission();
  submission.server.script = (line) => (command.test(line) ? answer : undefined);
  const error = await submission.refusal();
  expect(error).toMatchObject({ code: 'SERVER_PROTOCOL' });
  expect(error.message).toMatch(words);
});

test('so is another greeting', async () => {
  await using submission = await createSubmission({ greeting: '* OK [CAPABILITY IMAP4rev1] ready' });
  const error = await submission.refusal();
  expect(error).toMatchObject({ code: 'SERVER_PROTOCOL' });
  expect(error.message).toContain('it said: * OK [CAPABILITY IMAP4rev1] ready');
});

const MUCH = 1024 * 1024;
test.each([
  ['a greeting without end', { greeting: '220-hello\r\n'.repeat(MUCH / 11) }],
  ['blank lines without end', { greeting: '\r\n'.repeat(MUCH / 2) }],
  ['a line without end', { greeting: 'x'.repeat(MUCH) }],
  ['an answer without end', { EHLO: '250-X\r\n'.repeat(MUCH / 7) }],
  ['an answer without end under TLS', { EHLO: '250-X\r\n'.repeat(MUCH / 7), security: 'starttls' }],
] as const)('%s ends the connection', async (_what, {
  EHLO,
  ...options
}: { EHLO?: string } & SmtpOptions) => {
  await using submission = await createSubmission(options);
  const { server } = submission;
  server.script = (line) => {
    const isPlain = options.security === 'starttls' && !server.commands.includes('STARTTLS');
    return line.startsWith('EHLO') && !isPlain ? EHLO : undefined;
  };
  const error = await submission.refusal();
  expect(error).toMatchObject({ code: 'SERVER_PROTOCOL' });
  expect(error.message).toContain('more than 65536 bytes');
  await turnUntil(() => server.open() === 0);
});

const STEPS = ['EHLO', 'STARTTLS', 'AUTH', 'MAIL', 'RCPT', 'DATA', '.'];
const at = (step: string, answer: string | null) => (line: string) =>
  line.startsWith(step) ? answer : undefined;

test.each(['the greeting', ...STEPS])('a server that hangs up at %s', async (step) => {
  const isGreeting = step === 'the greeting';
  await using submission = await createSubmission({
    security: 'starttls',
    ...(isGreeting && { greeting: null }),
  });
  submission.server.script = at(step, null);
  expect(await submission.refusal()).toMatchObject({ code: 'CONNECTION_LOST' });
  await turnUntil(() => submission.server.open() === 0);
  expect(submission.clock.timers()).toEqual([]);
});

test('a server that hangs up once it has taken the message has taken it', async () => {
  await using submission = await createSubmission();
  submission.server.script = at('QUIT', null);
  await submission.submit();
  expect(submission.delivered).toHaveLength(1);
  await turnUntil(() => submission.server.open() === 0);
});

test('an access token logs in by XOAUTH2', async () => {
  const credential = async () => ({ accessToken: 'ya29.token' });
  await using submission = await createSubmission({ users: { [ANN]: 'ya29.token' } }, { credential });
  await submission.submit();
  expect(submission.delivered).toHaveLength(1);
});

test('a token that is refused is tried once, and its refusal told without it', async () => {
  const credential = async () => ({ accessToken: 'ya29.token' });
  await using submission = await createSubmission({ users: {} }, { credential });
  const error = await submission.refusal();
  expect(error).toMatchObject({ code: 'AUTH_FAILED' });
  expect(error.message).toContain('token refused');
  expect(submission.server.commands.filter((line) => line.startsWith('AUTH'))).toHaveLength(1);
});

test('a token that was revoked gives way to another one, once', async () => {
  const asked: (string | undefined)[] = [];
  const credential = async (refused?: string) => {
    asked.push(refused);
    return { accessToken: refused === undefined ? 'revoked' : 'fresh' };
  };
  await using submission = await createSubmission({ users: { [ANN]: 'fresh' } }, { credential });
  await submission.submit();
  expect(asked).toEqual([undefined, 'revoked']);
  expect(submission.delivered).toHaveLength(1);
});

test('nobody there, and another protocol', async () => {
  const closed = await createSubmission();
  await closed[Symbol.asyncDispose]();
  expect(await closed.refusal()).toMatchObject({ code: 'CONNECTION_REFUSED' });
  await using plain = await createSubmission({ security: 'none' }, { security: 'tls' });
  const error = await plain.refusal();
  expect(error).toMatchObject({ code: 'TLS_FAILED' });
  expect(error.message).toContain('993 and 465 are tls, 143 and 587 starttls');
});

test.each([
  'the greeting',
  'the handshake',
  ...STEPS,
])('a server that is silent at %s is left at a deadline, or a stop', async (step) => {
  const [greets, security] = [
    step !== 'the greeting',
    step === 'the handshake' ? 'tls' : 'starttls',
  ] as const;
  for (const end of ['a deadline', 'a stop']) {
    await using submission = await createSubmission(
      { security: 'starttls', ...(!greets && { greeting: '' }) },
      { security },
    );
    const { server, clock } = submission;
    let steps = 0;
    server.script = (line) => (line.startsWith(step) && ++steps ? '' : undefined);
    const refused = submission.refusal();
    const isSilent = () => (STEPS.includes(step) ? steps > 0 : server.open() > 0);
    await turnUntil(isSilent);
    if (end === 'a stop') submission.stop();
    else clock.advance(60_000);
    const error = await refused;
    if (end === 'a stop') expect(error.constructor.name).toBe('Stopped');
    else expect(error).toMatchObject({ code: 'OPERATION_TIMED_OUT' });
    await turnUntil(() => server.open() === 0);
    expect(clock.timers()).toEqual([]);
  }
});

test('a stop before its turn connects to nobody', async () => {
  await using submission = await createSubmission();
  submission.stop();
  expect((await submission.refusal()).constructor.name).toBe('Stopped');
  expect(submission.server.connections()).toBe(0);
});
