/** Sockets to mail servers: a name that the name servers are silent about keeps no other name waiting. */
import { type LookupAddress, type LookupOptions, promises as names } from 'node:dns';
import { connect as connectPlain, type LookupFunction, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';

interface Destination {
  host: string;
  port: number;
  servername?: string | undefined;
  tls?: object | undefined;
}

/**
 * Look-ups that are under way, by name. A resolver that gets no answer waits ten seconds, in a thread of which
 * there are few, whoever gave up meanwhile: the mailboxes of one host, and all of their tries, wait for one.
 */
const underWay = new Map<string, Promise<LookupAddress[]>>();

function addressesOf(host: string): Promise<LookupAddress[]> {
  const known = underWay.get(host);
  if (known !== undefined) return known;
  const lookup = names.lookup(host, { all: true }).finally(() => underWay.delete(host));
  underWay.set(host, lookup);
  return lookup;
}

/** For `lookup` of node:net, which asks for all addresses and tries one after the other. */
const lookup: LookupFunction = (host, options: LookupOptions, answer) => {
  addressesOf(host).then(
    (addresses) => {
      const [first] = addresses;
      if (options.all === true || first === undefined) answer(null, addresses);
      else answer(null, first.address, first.family);
    },
    (error: NodeJS.ErrnoException) => answer(error, ''),
  );
};

/** imapflow's `transport` option: as its own, but for the look-up, and that `onHandshake` hears of TLS. */
export function createTransport(onHandshake: (socket: TLSSocket) => void) {
  const secured = (options: object, onSecure: () => void): TLSSocket => {
    const socket = connectTls(options as ConnectionOptions, () => {
      onHandshake(socket);
      onSecure();
    });
    return socket;
  };
  return {
    connect(
      { secure, tls, ...destination }: Destination & { secure: boolean },
      onConnect: () => void,
    ): Socket {
      return secure
        ? secured({ ...destination, ...tls, lookup }, onConnect)
        : connectPlain({ host: destination.host, port: destination.port, lookup }, onConnect);
    },
    upgrade(socket: unknown, { tls, ...destination }: Destination, onSecure: () => void): Socket {
      return secured({ ...destination, ...tls, socket }, onSecure);
    },
  };
}
