/** Looks at certificates of servers: until when one is valid, and of one that we do not trust whom the operator would trust. */
import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import type { Clock } from '../clock.ts';
import type { Validity } from '../model.ts';

/** Of the server's own certificate; null where it cannot be read. */
export function validityOf(socket: TLSSocket): Validity | null {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  return { from: certificate.validFromDate.getTime(), until: certificate.validToDate.getTime() };
}

/** Where to look, and how long. */
export interface CertificateOptions {
  host: string;
  port: number;
  security: 'tls' | 'starttls';
  /** Milliseconds for all of it. */
  timeout: number;
  clock: Clock;
}

/** A greeting and the answer to STARTTLS are two short lines; a server that sends more is not one. */
const MAX_DIALOGUE_BYTES = 64 * 1024;

/**
 * Subject and SHA-256 fingerprint of the outermost certificate that the server sends (the issuer, or
 * the server's own where it is self-signed); null where it cannot be had.
 */
export function untrustedIssuer(options: CertificateOptions): Promise<string | null> {
  return look(options, (socket) => describe(socket.getPeerCertificate(true)));
}

/** Of the certificate that the server shows now; null where it cannot be had. */
export function currentValidity(options: CertificateOptions): Promise<Validity | null> {
  return look(options, validityOf);
}

/** Nothing secret is sent: this connection ends with the handshake. */
function look<Seen>(
  options: CertificateOptions,
  read: (socket: TLSSocket) => Seen | null,
): Promise<Seen | null> {
  const { host, port, security, timeout, clock } = options;
  return new Promise((resolve) => {
    /** The outermost: destroying a socket under its TLS crashes the process (Node 24.21, measured). */
    let outermost: Socket | undefined;
    const finish = (answer: Seen | null) => {
      cancel();
      outermost?.destroy();
      resolve(answer);
    };
    const cancel = clock.after(timeout, () => finish(null));
    const keep = <Some extends Socket>(socket: Some): Some => {
      outermost = socket;
      socket.on('error', () => finish(null));
      socket.on('close', () => finish(null));
      return socket;
    };
    const handshake = (socket?: Socket) => {
      const secure: TLSSocket = keep(
        connectTls({
          host,
          port,
          ...(socket && { socket }),
          ...(isIP(host) === 0 && { servername: host }),
          // The certificate is only looked at; the connection that logs in always verifies.
          rejectUnauthorized: false,
        }),
      );
      secure.once('secureConnect', () => finish(read(secure)));
    };
    if (security === 'tls') handshake();
    else startTls(keep(connectPlain({ host, port })), handshake);
  });
}

/** STARTTLS by hand (RFC 3501 §6.2.1): greeting, command, OK. */
function startTls(socket: Socket, upgrade: (socket: Socket) => void): void {
  let received = '';
  let asked = false;
  const read = (chunk: Buffer) => {
    received += chunk.toString('latin1');
    if (received.length > MAX_DIALOGUE_BYTES) {
      socket.destroy();
    } else if (!asked && received.includes('\n')) {
      asked = true;
      received = '';
      socket.write('a STARTTLS\r\n');
    } else if (asked && /^a /im.test(received) && received.endsWith('\n')) {
      socket.off('data', read);
      if (/^a OK/im.test(received)) upgrade(socket);
      else socket.destroy();
    }
  };
  socket.on('data', read);
}

function describe(leaf: DetailedPeerCertificate): string | null {
  let outermost = leaf;
  const seen = new Set<DetailedPeerCertificate>();
  while (outermost.issuerCertificate && !seen.has(outermost.issuerCertificate)) {
    seen.add(outermost);
    outermost = outermost.issuerCertificate;
  }
  if (!outermost.fingerprint256) return null;
  const name = outermost.subject?.CN ?? outermost.subject?.O;
  return `SHA-256 fingerprint ${outermost.fingerprint256} of ${name === undefined ? 'its certificate' : `"${name}"`}`;
}
