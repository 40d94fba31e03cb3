/** Which issuers of certificates are trusted: the system's, and those of an account's `ca` besides them. */
import { readFile } from 'node:fs/promises';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { MailwatchdError } from '../errors.ts';

/** RFC 8996. */
const OLDEST_TLS = 'TLSv1.2';
/** Different files of `ca`, many times as many as anybody has. */
const MAX_CONTEXTS = 100;

/** The text of a PEM file; null where none is named. Throws SECRET_UNAVAILABLE. */
export async function readIssuers(path: string | null): Promise<string | null> {
  if (path === null) return null;
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const detail = `the file of \`ca\` cannot be read (${error instanceof Error ? error.message : error})`;
    throw new MailwatchdError('SECRET_UNAVAILABLE', { where: path, detail });
  }
}

/**
 * By the PEM text of `ca`: to read all roots anew takes 15 ms of the main thread, and a context of its own 27 KB, at
 * each connection (both measured).
 */
const contexts = new Map<string | null, SecureContext>();

/** Trusts the system's issuers, and these besides them; of these an intermediate or the server's own certificate will do. */
export function trusting(ca: string | null): SecureContext {
  const known = contexts.get(ca);
  if (known !== undefined) return known;
  const context = createSecureContext({
    minVersion: OLDEST_TLS,
    ...(ca !== null && { ca: [...getCACertificates('default'), ca], allowPartialTrustChain: true }),
  });
  // Files that change are read at each login; those of long ago are not needed again.
  if (contexts.size >= MAX_CONTEXTS) contexts.clear();
  contexts.set(ca, context);
  return context;
}
