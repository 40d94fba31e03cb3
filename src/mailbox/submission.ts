/** Hands a message to a mail server that sends it (RFC 6409), and the only file that knows nodemailer. */
import { isIP } from 'node:net';
import type { NodemailerError } from 'nodemailer';
import type SMTPConnection from 'nodemailer/lib/smtp-connection';
import { MailwatchdError } from '../errors.ts';
import { printable } from '../escape.ts';
import { type AccountSettings, type ConnectAccountOptions, withCredential } from './account.ts';
import { type Credential, type ServerSettings, Stopped } from './connection.ts';
import { fault, secretForms } from './faults.ts';
import { readIssuers, trusting } from './issuers.ts';
import { createTransport } from './transport.ts';

/** The server, and what it is logged in to with. */
export type SubmissionSettings = Omit<ServerSettings, 'provider'> &
  Pick<AccountSettings, 'ca' | 'credential'> & {
    /** Addresses of the envelope. */
    from: string;
    to: string;
  };

export type SubmissionOptions = Pick<ConnectAccountOptions, 'limits' | 'clock' | 'takeTurn' | 'signal'>;

/**
 * What a server may send on one connection: a reply's line has 512 octets (RFC 5321 §4.5.3.1.5), and EHLO's some thirty lines.
 * nodemailer keeps blank lines without end.
 */
const MAX_RECEIVED_BYTES = 64 * 1024;
/** nodemailer's own watchdogs are set out of reach (setTimeout's limit): ours uses the injected clock. */
const NEVER_MS = 2 ** 31 - 1;

/**
 * Resolves once the server has taken the message, with CRLF line ends, upon itself. Rejects within `operationSeconds`
 * with a code of connecting and logging in, SERVER_REFUSED or SERVER_UNAVAILABLE in the server's words, or `Stopped`.
 */
export function submit(
  server: SubmissionSettings,
  message: string,
  options: SubmissionOptions,
): Promise<void> {
  const { from, to } = server;
  // No bounce comes back as mail where the server can be asked for that (RFC 3461).
  const envelope = { from, to, dsn: { notify: 'NEVER' } };
  return session(server, options, (client) => called((done) => client.send(envelope, message, done)));
}

/** Connects and logs in. Rejects as `submit` does. */
export function verifySubmission(server: SubmissionSettings, options: SubmissionOptions): Promise<void> {
  return session(server, options, async () => undefined);
}

/** Connects, logs in, works and leaves. All that is done on one connection shares one deadline. */
async function session(
  server: SubmissionSettings,
  options: SubmissionOptions,
  work: (client: SMTPConnection) => Promise<void>,
): Promise<void> {
  const { host, port, security, user } = server;
  const { limits, clock, signal } = options;
  const where = `${host}:${port}`;
  // Loaded only where mail is sent.
  const { default: Client } = await import('nodemailer/lib/smtp-connection');
  await withCredential(server, options, async (credential) => {
    const tls = { rejectUnauthorized: true, secureContext: trusting(await readIssuers(server.ca)) };
    if (signal.aborted) throw new Stopped();
    const interrupted = Promise.withResolvers<never>();
    const end = (code: 'OPERATION_TIMED_OUT' | 'SERVER_PROTOCOL', detail: string) =>
      interrupted.reject(new MailwatchdError(code, { where, detail }));
    const cancel = clock.after(limits.operationSeconds * 1000, () =>
      end('OPERATION_TIMED_OUT', `not done within ${limits.operationSeconds} s`),
    );
    const stop = () => interrupted.reject(new Stopped());
    signal.addEventListener('abort', stop, { once: true });

    const opened = Promise.withResolvers<void>();
    const secure = security === 'tls';
    // nodemailer's own look-up passes over /etc/hosts, and keeps what it found once.
    const socket = createTransport(() => undefined).connect(
      { host, port, secure, tls, ...(isIP(host) === 0 && { servername: host }) },
      opened.resolve,
    );
    const client = new Client({
      host,
      connection: socket,
      secure,
      secured: secure,
      // Without it nodemailer goes on in clear text where STARTTLS was stripped.
      requireTLS: security === 'starttls',
      ignoreTLS: security === 'none',
      tls,
      customAuth: { [BY_TOKEN]: ({ sendCommand }) => xoauth2(user, credential, sendCommand) },
      connectionTimeout: NEVER_MS,
      greetingTimeout: NEVER_MS,
      socketTimeout: NEVER_MS,
      logger: false,
    });
    // Before anything happens and for good: an 'error' without a listener ends the process.
    for (const source of [socket, client]) source.on('error', interrupted.reject);
    bound(client, MAX_RECEIVED_BYTES, () =>
      end('SERVER_PROTOCOL', `more than ${MAX_RECEIVED_BYTES} bytes on one connection`),
    );
    const run = async () => {
      await opened.promise;
      await called((done) => client.connect(done));
      // A relay on this machine may want no login.
      if (client.allowsAuth) await called((done) => client.login(authOf(user, credential), done));
      await work(client);
      client.quit();
    };
    try {
      await Promise.race([run(), interrupted.promise]);
    } catch (error) {
      socket.destroy();
      if (error instanceof MailwatchdError || error instanceof Stopped) throw error;
      throw refusal(error as NodemailerError, { host, where, user, credential });
    } finally {
      cancel();
      signal.removeEventListener('abort', stop);
      client.close();
    }
  });
}

/** Our own XOAUTH2: nodemailer's tries a token that was refused a second time. */
const BY_TOKEN = 'TOKEN';

const authOf = (user: string, credential: Credential) =>
  'password' in credential ? { user, pass: credential.password } : { user, method: BY_TOKEN };

/** Logs in (https://developers.google.com/workspace/gmail/imap/xoauth2-protocol). Throws where the token is refused. */
async function xoauth2(
  user: string,
  credential: Credential,
  send: (command: string) => Promise<{ response: string }>,
): Promise<void> {
  const token = 'accessToken' in credential ? credential.accessToken : '';
  const initial = Buffer.from(`user=${user}\x01auth=Bearer ${token}\x01\x01`).toString('base64');
  let { response } = await send(`AUTH XOAUTH2 ${initial}`);
  // A challenge tells why it is refused; the refusal itself follows the empty answer (RFC 7628 §3.2.3).
  if (response.startsWith('334')) ({ response } = await send(''));
  if (!response.startsWith('235')) throw new Error('the token was refused');
}

/** Calls `onTooMuch` once the server has sent more, and keeps that from nodemailer. */
function bound(client: SMTPConnection, bytes: number, onTooMuch: () => void): void {
  // Not in nodemailer's types: its version is pinned, and a flood in the tests of submission holds this.
  const receiver = client as unknown as { _onData(chunk: Buffer): void };
  const receive = receiver._onData.bind(client);
  let left = bytes;
  receiver._onData = (chunk) => {
    left -= chunk.length;
    if (left < 0) onTooMuch();
    else receive(chunk);
  };
}

/** What nodemailer failed with, in the server's words where there are some. */
function refusal(
  error: NodemailerError,
  { host, where, user, credential }: { host: string; where: string; user: string; credential: Credential },
): MailwatchdError {
  const { response = '' } = error;
  // RFC 5321 §4.2.1: 4yz and 5yz refuse, the former for now; of a reply of several lines each has the status.
  const [, status = '', rest = ''] = /^([45]\d\d)[ -]?(.*)/s.exec(response) ?? [];
  const words = rest.replace(/\r?\n(?:\d{3}[ -]?)?/g, ' ');
  if (error.command === 'STARTTLS' && status !== '')
    return new MailwatchdError('STARTTLS_MISSING', {
      where,
      detail: printable(`${status} ${words}`),
      remedy: 'use `security: tls` with port 465, or have STARTTLS switched on',
    });
  const secrets = secretForms(user, credential);
  const byToken = 'accessToken' in credential;
  const context = { where, host, provider: null, bye: undefined, secrets, byToken };
  if (status !== '')
    return fault(
      {
        authenticationFailed: error.code === 'EAUTH',
        responseStatus: status,
        responseText: words,
        serverResponseCode: status.startsWith('4') ? 'UNAVAILABLE' : '',
      },
      context,
    );
  if (response !== '') return fault({ code: 'InvalidResponse', message: `it said: ${response}` }, context);
  const code = error.originalCode ?? error.code;
  return fault({ ...error, message: error.message, code, tlsFailed: error.code === 'ETLS' }, context);
}

/** What ends with a callback. */
function called(begin: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    begin((error) => (error ? reject(error) : resolve()));
  });
}
