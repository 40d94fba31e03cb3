/** Hears where a browser goes on to after a login: on loopback, or from whoever copies the address. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Redirect {
  /** On 127.0.0.1, with a port of its own: what providers take from a program (RFC 8252 §7.3). */
  uri: string;
  /** The first address below `uri` that carries this state, of the browser or of `tell`. */
  arrival(state: string): Promise<URL>;
  /** Takes an address that somebody copied; false where it is not the one. */
  tell(address: string): boolean;
  close(): void;
}

const PAGE =
  '<!doctype html><meta charset="utf-8"><title>mailwatchd</title><p>Done. Go back to the terminal; this window may be closed.\n';

export async function awaitRedirect(): Promise<Redirect> {
  const arrived = Promise.withResolvers<URL>();
  let expected: string | null = null;
  const tell = (address: string): boolean => {
    const url = URL.canParse(address, uri) ? new URL(address, uri) : null;
    const isOurs = url?.origin === new URL(uri).origin && url.pathname === '/';
    // Anybody on this machine may ask us, but does not know the state.
    if (url === null || !isOurs || expected === null || url.searchParams.get('state') !== expected)
      return false;
    arrived.resolve(url);
    return true;
  };
  const listener = createServer((request, response) => {
    const known = tell(request.url ?? '');
    response.writeHead(known ? 200 : 404, { 'content-type': 'text/html', connection: 'close' });
    response.end(known ? PAGE : '');
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(0, '127.0.0.1', resolve);
  });
  const uri = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/`;
  return {
    uri,
    arrival(state) {
      expected = state;
      return arrived.promise;
    },
    tell,
    close: () => listener.close(),
  };
}
