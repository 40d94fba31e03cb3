/** Delivers messages as a mail server does, by LMTP (RFC 2033): one connection, one message at a time. */
import { once } from 'node:events';
import { connect } from 'node:net';

export interface LmtpClient {
  /** Resolves once the server has taken responsibility (its 250 after DATA). */
  deliver(user: string, raw: Buffer): Promise<void>;
  close(): void;
}

export async function connectLmtp(host: string, port: number): Promise<LmtpClient> {
  const socket = connect({ host, port, noDelay: true });
  let received = '';
  let ended = false;
  let wake: () => void = () => undefined;
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
    wake();
  });
  for (const event of ['error', 'close']) {
    socket.on(event, () => {
      ended = true;
      wake();
    });
  }

  /** The last line of one reply (RFC 5321 §4.2.1: the others have a hyphen after the code). */
  async function expectReply(code: string): Promise<void> {
    while (true) {
      const reply = /^(?:\d{3}-.*\r\n)*(\d{3}) .*\r\n/.exec(received);
      if (reply) {
        received = received.slice(reply[0].length);
        if (reply[1] !== code) throw new Error(`LMTP: ${reply[0].trim()}`);
        return;
      }
      if (ended) throw new Error('LMTP: the connection ended');
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  async function say(line: string, code: string): Promise<void> {
    socket.write(`${line}\r\n`);
    await expectReply(code);
  }

  async function transmit(user: string, raw: Buffer): Promise<void> {
    await say('MAIL FROM:<sender@example.org>', '250');
    await say(`RCPT TO:<${user}>`, '250');
    await say('DATA', '354');
    const text = raw.toString('latin1').replace(/\r?\n/g, '\r\n').replace(/^\./gm, '..');
    socket.write(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1');
    await say('.', '250');
  }

  await once(socket, 'connect');
  await expectReply('220');
  await say('LHLO test.example', '250');
  let queue: Promise<unknown> = Promise.resolve();
  return {
    deliver(user, raw) {
      const delivered = queue.then(() => transmit(user, raw));
      queue = delivered.catch(() => undefined);
      return delivered;
    },
    close: () => socket.destroy(),
  };
}
