/** Between a program and a mail server: when connections were begun, and when the server pushed something. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface Tap extends Disposable {
  host: string;
  port: number;
  /** When the server sent something first since the last `arm`, by `performance.now()`. */
  heardAt(): number | null;
  arm(): void;
  /** When clients connected. */
  connectedAt: readonly number[];
}

/**
 * Passes all on to the server on this port, as it is: `telling` says what counts as a push, where that can be seen.
 * `onChunk` is shown all that goes over.
 */
export async function openTap(
  { host, port }: { host: string; port: number },
  telling: (chunk: Buffer) => boolean = () => true,
  onChunk: (from: 'client' | 'server', chunk: Buffer) => void = () => undefined,
): Promise<Tap> {
  let heardAt: number | null = null;
  const connectedAt: number[] = [];
  const open = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    connectedAt.push(performance.now());
    const upstream = connect({ port, host, noDelay: true });
    upstream.on('data', (chunk: Buffer) => {
      if (telling(chunk)) heardAt ??= performance.now();
      onChunk('server', chunk);
    });
    client.on('data', (chunk: Buffer) => onChunk('client', chunk));
    upstream.pipe(client).on('error', () => upstream.destroy());
    client.pipe(upstream).on('error', () => client.destroy());
    open.add(client);
    client.once('close', () => open.delete(client));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as { port: number };
  return {
    host: '127.0.0.1',
    port: address.port,
    heardAt: () => heardAt,
    arm() {
      heardAt = null;
    },
    connectedAt,
    [Symbol.dispose]() {
      server.close();
      for (const client of open) client.destroy();
    },
  };
}

/**
 * Each session of Dovecot notifies in a time of its own, half a second after the delivery: only on the daemon's own
 * connection can it be seen when it heard of a message.
 */
export const isPush = (chunk: Buffer): boolean => /^\* \d+ EXISTS\r\n/m.test(chunk.toString('latin1'));
