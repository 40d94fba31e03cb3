/** A certificate authority of our own with one server certificate a fault that clients must notice. */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** PEM files of a server's certificate and its key. */
export interface CertificateFiles {
  certificate: string;
  key: string;
}

export interface Certificates extends Disposable {
  /** The file for a client's `ca`. */
  ca: string;
  /** For `localhost` and 127.0.0.0/8's first two addresses, valid today. */
  valid: CertificateFiles;
  /** `valid` with its issuer's certificate behind it, as servers are told to send it. */
  chain: CertificateFiles;
  /** As `valid`, but its last day was in 2021. */
  expired: CertificateFiles;
  /** Valid today, for `mail.elsewhere.example`. */
  wrongHost: CertificateFiles;
  /** As `valid`, signed by an authority that is not in `ca`. */
  otherIssuer: CertificateFiles;
  /** As `valid`, but it ends then. */
  ending(at: Date): CertificateFiles;
  /** One more as `valid`, for other names (`DNS:…,IP:…`), with another key (options of `openssl req`). */
  issue(name: string, alternativeNames: string, ...parameters: string[]): CertificateFiles;
  /** SHA-256 fingerprint of a PEM file's certificate, as OpenSSL writes it (`AB:CD:…`). */
  fingerprint(file: string): string;
}

const LOOPBACK = 'DNS:localhost,IP:127.0.0.1,IP:127.0.0.2';

/** Dates as `openssl ca` takes them (UTCTime): it can date back, which `openssl x509` of OpenSSL 3.0 cannot. */
const LONG_AGO = '200101000000Z';
const LONG_EXPIRED = '210101000000Z';
const FAR_AHEAD = '491231235959Z';

/** Makes everything in a temporary directory, which disposing removes. Needs the program `openssl`. */
export function createCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-certificates-'));
  const ours = createAuthority(join(directory, 'ours'), 'mailwatchd test authority');
  const other = createAuthority(join(directory, 'other'), 'some other authority');
  const valid = issue(ours, 'valid', LOOPBACK, FAR_AHEAD);
  const chain = { ...valid, certificate: join(directory, 'chain.pem') };
  writeFileSync(
    chain.certificate,
    [valid.certificate, ours.certificate].map((file) => readFileSync(file)).join(''),
  );
  return {
    ca: ours.certificate,
    valid,
    chain,
    expired: issue(ours, 'expired', LOOPBACK, LONG_EXPIRED),
    wrongHost: issue(ours, 'wrong-host', 'DNS:mail.elsewhere.example', FAR_AHEAD),
    otherIssuer: issue(other, 'other-issuer', LOOPBACK, FAR_AHEAD),
    ending: (at) => issue(ours, 'ending', LOOPBACK, utcTime(at)),
    issue: (name, alternativeNames, ...parameters) =>
      issue(ours, name, alternativeNames, FAR_AHEAD, ...parameters),
    fingerprint: (file) => new X509Certificate(readFileSync(file)).fingerprint256,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

interface Authority extends CertificateFiles {
  directory: string;
  configuration: string;
}

function createAuthority(directory: string, name: string): Authority {
  mkdirSync(directory);
  const authority = {
    directory,
    certificate: join(directory, 'ca.pem'),
    key: join(directory, 'ca.key'),
    configuration: join(directory, 'ca.cnf'),
  };
  writeFileSync(join(directory, 'index.txt'), '');
  writeFileSync(
    authority.configuration,
    [
      '[ca]\ndefault_ca = authority',
      `[authority]\ndatabase = ${directory}/index.txt\nnew_certs_dir = ${directory}\nrand_serial = yes`,
      'default_md = sha256\npolicy = any\nunique_subject = no\ncopy_extensions = copy',
      '[any]\ncommonName = supplied',
    ].join('\n'),
  );
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '3650'],
    ...['-subj', `/CN=${name}`, '-addext', 'keyUsage=critical,keyCertSign'],
    ...['-keyout', authority.key, '-out', authority.certificate],
  );
  return authority;
}

function issue(
  authority: Authority,
  name: string,
  alternativeNames: string,
  notAfter: string,
  ...parameters: string[]
): CertificateFiles {
  const key = parameters.length > 0 ? parameters : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const file = (ending: string) => join(authority.directory, `${name}.${ending}`);
  openssl(
    ...['req', ...key, '-nodes', '-subj', `/CN=${name}`],
    ...['-addext', `subjectAltName=${alternativeNames}`, '-keyout', file('key'), '-out', file('csr')],
  );
  openssl(
    ...[
      'ca',
      '-batch',
      '-notext',
      '-config',
      authority.configuration,
      '-startdate',
      LONG_AGO,
      '-enddate',
      notAfter,
    ],
    ...['-cert', authority.certificate, '-keyfile', authority.key, '-in', file('csr'), '-out', file('pem')],
  );
  return { certificate: file('pem'), key: file('key') };
}

/** UTCTime (RFC 5280 §4.1.2.5.1), `261120120000Z`. */
const utcTime = (at: Date): string => `${at.toISOString().replace(/\D/g, '').slice(2, 14)}Z`;

function openssl(...parameters: string[]): void {
  execFileSync('openssl', parameters, { stdio: 'pipe' });
}
