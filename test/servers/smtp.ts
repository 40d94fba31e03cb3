/**
 * A small SMTP server on 127.0.0.1 that takes mail (RFC 5321, 3207, 4954), of which a script may replace any answer.
 * Plain, TLS and STARTTLS.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

export interface SmtpOptions {
  security?: 'tls' | 'starttls' | 'none';
  /** PEM texts, for TLS. */
  certificate?: { cert: string | Buffer; key: string | Buffer };
  /** Password or access token by user name; nobody logs in where there is none. */
  users?: Record<string, string>;
  /** Default: `220 test.example`. Empty: silence. Null: hangs up. */
  greeting?: string | null;
  /** What becomes of a message; one that rejects is refused for now. */
  deliver?: (to: string, raw: Buffer) => Promise<void> | void;
}

export interface SmtpServer extends AsyncDisposable {
  port: number;
  /** Every line of clients but for messages, `DATA` included, and the dot at their end. */
  commands: string[];
  /** How many connections there were, and how many are open. */
  connections(): number;
  open(): number;
  /** The answer to a line, or to the dot at a message's end, as `greeting`; undefined: what the server itself would answer. */
  script: ((line: string) => string | null | undefined) | undefined;
}

export async function startSmtpServer(options: SmtpOptions = {}): Promise<SmtpServer> {
  const { security = 'none', certificate = {}, users = {}, deliver = () => undefined } = options;
  const { greeting = '220 test.example' } = options;
  const sockets = new Set<Socket>();
  const commands: string[] = [];
  let connections = 0;

  function serve(socket: Socket, secure: boolean): (text: string | null) => void {
    const send = (text: string | null) => {
      if (text === null) socket.end();
      else if (text !== '') socket.write(`${text}\r\n`);
    };
    let received = '';
    let to = '';
    let inMessage = false;
    let refusedToken = false;

    function take(line: string) {
      commands.push(line);
      const scripted = server.script?.(line);
      if (scripted !== undefined) return send(scripted);
      const [, name = '', rest = ''] = /^(\S*) ?(.*)$/.exec(line) ?? [];
      switch (name.toUpperCase()) {
        case 'EHLO': {
          const more =
            security === 'starttls' && !secure ? ['STARTTLS'] : ['AUTH PLAIN LOGIN XOAUTH2', 'DSN'];
          return send(
            ['test.example', ...more]
              .map((text, index) => `250${index < more.length ? '-' : ' '}${text}`)
              .join('\r\n'),
          );
        }
        case 'STARTTLS':
          send('220 2.0.0 go ahead');
          socket.off('data', read);
          serve(keep(new TLSSocket(socket, { isServer: true, ...certificate })), true);
          return;
        case 'AUTH':
          return logIn(rest);
        case 'MAIL':
        case 'RSET':
          return send('250 2.0.0 fine');
        case 'RCPT':
          to = /<(.*)>/.exec(rest)?.[1] ?? '';
          return send('250 2.1.5 fine');
        case 'DATA':
          inMessage = true;
          return send('354 go ahead');
        case 'QUIT':
          send('221 2.0.0 bye');
          return void socket.end();
        case '':
          if (refusedToken) return send('535 5.7.8 token refused');
      }
      send('500 5.5.1 what?');
    }

    function logIn(rest: string) {
      const [mechanism, initial = ''] = rest.split(' ');
      const text = Buffer.from(initial, 'base64').toString();
      // RFC 4616; XOAUTH2 is `user=…^Aauth=Bearer …^A^A`.
      const words = mechanism === 'XOAUTH2' ? text.replaceAll('\x01', ' ').split(/[= ]/) : text.split('\0');
      const [user = '', secret] = mechanism === 'XOAUTH2' ? [words[1], words[4]] : words.slice(1);
      if (secret !== undefined && users[user] === secret) return send('235 2.7.0 welcome');
      refusedToken = mechanism === 'XOAUTH2';
      send(refusedToken ? '334 eyJzdGF0dXMiOiI0MDEifQ==' : '535 5.7.8 wrong');
    }

    function read(chunk: Buffer): void {
      received += chunk.toString('latin1');
      for (;;) {
        const mark = inMessage ? '\r\n.\r\n' : '\r\n';
        const end = received.indexOf(mark);
        if (end < 0) return;
        const text = received.slice(0, end);
        received = received.slice(end + mark.length);
        if (!inMessage) {
          take(text);
          continue;
        }
        inMessage = false;
        const scripted = server.script?.('.');
        if (scripted !== undefined) {
          send(scripted);
          continue;
        }
        // RFC 5321 §4.5.2: a leading dot was doubled.
        const raw = Buffer.from(`${text}\r\n`.replace(/^\.\./gm, '.'), 'latin1');
        Promise.resolve(deliver(to, raw)).then(
          () => send('250 2.0.0 taken'),
          (error: Error) => send(`451 4.3.0 ${error.message}`),
        );
      }
    }
    socket.on('data', read);
    return send;
  }

  function keep<Some extends Socket>(socket: Some): Some {
    // Clients that refuse the certificate.
    socket.on('error', () => undefined);
    return socket;
  }

  const listener = createServer((plain) => {
    connections += 1;
    sockets.add(keep(plain).once('close', () => sockets.delete(plain)));
    const tls = security === 'tls';
    serve(tls ? keep(new TLSSocket(plain, { isServer: true, ...certificate })) : plain, tls)(greeting);
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');

  const server: SmtpServer = {
    port: (listener.address() as AddressInfo).port,
    commands,
    connections: () => connections,
    open: () => sockets.size,
    script: undefined,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await once(listener.close(), 'close');
    },
  };
  return server;
}
