/** An IMAP server inside this process (hoodiecrow), for the quickstart and for tests that need no Dovecot. */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { Server, Socket } from 'node:net';

/** What we use of hoodiecrow, which brings no types. */
interface Hoodiecrow {
  server: Server;
  appendMessage(
    folder: string,
    flags: string[],
    internalDate: string | Date,
    raw: string,
  ): { message: { uid: number } };
}
type CreateHoodiecrow = (options: object) => Hoodiecrow;

export interface EmbeddedOptions {
  user: string;
  password: string;
  /** Beside INBOX. */
  folders?: string[];
  /** 0, the default, chooses a free one. */
  port?: number;
  /** Told of every message at the instant it is there, however it came (`deliver`, APPEND). */
  onDelivered?: (uid: number) => void;
}

export interface EmbeddedServer extends AsyncDisposable {
  host: string;
  port: number;
  /** Appends and notifies who waits in IDLE; returns the UID. */
  deliver(raw: Buffer, folder?: string): number;
  stop(): Promise<void>;
}

/** Any number that stands out in a document's id. */
const UIDVALIDITY = 1700000000;

/** Listens on loopback, without TLS, with IDLE and UIDPLUS; mail lives in memory. */
export async function startEmbeddedServer(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const createHoodiecrow = createRequire(import.meta.url)('hoodiecrow-imap') as CreateHoodiecrow;
  const folders = Object.fromEntries(
    (options.folders ?? []).map((name) => [name, { uidvalidity: UIDVALIDITY }]),
  );
  const hoodiecrow = createHoodiecrow({
    plugins: ['ID', 'IDLE', 'UIDPLUS', 'UNSELECT', 'LITERALPLUS', 'NAMESPACE'],
    users: { [options.user]: { password: options.password } },
    storage: { INBOX: { uidvalidity: UIDVALIDITY }, '': { separator: '/', folders } },
  });
  const { onDelivered } = options;
  const append = hoodiecrow.appendMessage.bind(hoodiecrow);
  hoodiecrow.appendMessage = (...parameters) => {
    const appended = append(...parameters);
    onDelivered?.(appended.message.uid);
    return appended;
  };
  const host = '127.0.0.1';
  const sockets = new Set<Socket>();
  hoodiecrow.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  hoodiecrow.server.listen(options.port ?? 0, host);
  await once(hoodiecrow.server, 'listening');
  const { port } = hoodiecrow.server.address() as { port: number };

  async function stop(): Promise<void> {
    const closed = once(hoodiecrow.server, 'close');
    hoodiecrow.server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  return {
    host,
    port,
    // Bytes as Latin-1 characters, as hoodiecrow keeps them.
    deliver: (raw, folder = 'INBOX') =>
      hoodiecrow.appendMessage(folder, [], new Date(), raw.toString('latin1')).message.uid,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
