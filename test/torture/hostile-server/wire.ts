/** Hostility below IMAP: connections that are refused, cut or never answered, and TLS that proves nothing. */
import { readFileSync } from 'node:fs';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { ErrorCode } from '../../../src/errors.ts';
import type { CertificateFiles, Certificates } from '../../servers/certificates.ts';
import type { ScriptedServer } from '../../servers/scripted.ts';
import { type Behaviour, blackHole, cutAfter, instead, shouts } from './behaviour.ts';

export const pem = ({ certificate, key }: CertificateFiles): SecureContextOptions => ({
  cert: readFileSync(certificate, 'utf8'),
  key: readFileSync(key, 'utf8'),
});

const lost: ErrorCode[] = ['CONNECTION_LOST'];

const connections: Behaviour[] = [
  {
    name: 'refuses connections',
    says: ['CONNECTION_REFUSED'],
    spoil: (server) => server.stopListening(),
    mend: (server) => server.listen(),
  },
  {
    name: 'accepts and is silent',
    says: ['OPERATION_TIMED_OUT'],
    spoil: (server) => {
      server.accept = () => true;
    },
  },
  holeInItsPlace(),
  {
    name: 'accepts and resets',
    says: lost,
    spoil: (server) => {
      server.accept = (socket) => {
        socket.resetAndDestroy();
        return true;
      };
    },
  },
  {
    name: 'accepts and closes',
    says: lost,
    spoil: (server) => {
      server.accept = (socket) => {
        socket.end();
        return true;
      };
    },
  },
  {
    name: 'resets within the greeting',
    says: lost,
    spoil: (server) => {
      server.transmit = cutAfter(() => 7, 'reset');
    },
  },
  {
    name: 'closes within each body, of thirty messages',
    says: [...lost, 'MESSAGE_UNFETCHABLE'],
    messages: 30,
    // 30, 15, 7, 3, and one alone from then on.
    narrowings: 4,
    spoil: instead(/BODY\.PEEK/, ({ session }) => {
      session.write('* 1 FETCH (UID 1 BODY[] {100}\r\nhalf of it');
      session.end();
    }),
  },
  {
    name: 'resets in IDLE',
    says: lost,
    spoil: instead('IDLE', ({ session }) => session.reset()),
  },
];

function holeInItsPlace(): Behaviour {
  const hole = blackHole(({ address }) => address);
  return {
    name: 'a port where connections vanish',
    says: ['OPERATION_TIMED_OUT'],
    spoil(server) {
      server.stopListening();
      return hole.spoil(server);
    },
    async mend(server) {
      await hole.mend(server);
      await server.listen();
    },
  };
}

/** Opens TLS with a certificate, or in a way, that proves nothing. */
const handshake =
  (options: (certificates: Certificates) => SecureContextOptions): Behaviour['spoil'] =>
  (server, { certificates }) => {
    server.certificate = options(certificates);
  };

/** Old keys, digests and versions are only to be had where OpenSSL's own level is lowered. */
const WEAK = 'DEFAULT:@SECLEVEL=0';

const certificateFaults: [
  name: string,
  says: ErrorCode[],
  certificate: (certificates: Certificates) => CertificateFiles,
][] = [
  ['an expired certificate', ['TLS_EXPIRED'], ({ expired }) => expired],
  ['a certificate for another host', ['TLS_WRONG_HOST'], ({ wrongHost }) => wrongHost],
  ['a certificate of an unknown issuer', ['TLS_UNKNOWN_ISSUER'], ({ otherIssuer }) => otherIssuer],
  [
    'a certificate with a weak key',
    ['TLS_FAILED'],
    (certificates) => certificates.issue('weak', 'DNS:localhost,IP:127.0.0.1', '-newkey', 'rsa:1024'),
  ],
];

const renegotiating = new WeakSet<TLSSocket>();

const tls: Behaviour[] = [
  ...(['tls', 'starttls'] as const).flatMap((security) => [
    ...certificateFaults.map(
      ([name, says, certificate]): Behaviour => ({
        name: `${security}: ${name}`,
        security,
        says,
        distrusted: true,
        // The second is to show the operator whom he would trust.
        connectionsPerAttempt: says.includes('TLS_UNKNOWN_ISSUER') ? 2 : 1,
        host: '127.0.0.1',
        spoil: handshake((certificates) => ({ ...pem(certificate(certificates)), ciphers: WEAK })),
      }),
    ),
    {
      name: `${security}: TLS 1.1 at most`,
      security,
      says: ['TLS_FAILED'],
      distrusted: true,
      spoil: handshake(({ valid }) => ({
        ...pem(valid),
        ciphers: WEAK,
        minVersion: 'TLSv1',
        maxVersion: 'TLSv1.1',
      })),
    } satisfies Behaviour,
    {
      name: `${security}: ciphers without authentication`,
      security,
      says: ['TLS_FAILED'],
      distrusted: true,
      spoil: handshake(() => ({ ciphers: 'aNULL:@SECLEVEL=0', maxVersion: 'TLSv1.2' })),
    } satisfies Behaviour,
    {
      name: `${security}: renegotiation without end`,
      security,
      says: [...lost, 'TLS_FAILED', 'OPERATION_TIMED_OUT', 'SERVER_PROTOCOL'],
      goesOn: true,
      spoil(server, { certificates }) {
        server.certificate = { ...pem(certificates.valid), maxVersion: 'TLSv1.2' };
        const again = (socket: TLSSocket): void => {
          if (!socket.destroyed) socket.renegotiate({}, () => void setTimeout(again, 1, socket).unref());
        };
        server.script = ({ session }) => {
          if (session.tls !== null && !renegotiating.has(session.tls)) {
            renegotiating.add(session.tls);
            again(session.tls);
          }
          return false;
        };
      },
    } satisfies Behaviour,
  ]),
  {
    name: 'tls: cut in the handshake',
    security: 'tls',
    says: ['CONNECTION_LOST', 'TLS_FAILED'],
    distrusted: true,
    spoil: (server) => {
      server.accept = (socket) => {
        socket.once('data', () => socket.end(Buffer.from('160303004a02000046', 'hex')));
        return true;
      };
    },
  },
  {
    name: 'tls: reset in the handshake',
    security: 'tls',
    says: ['CONNECTION_LOST', 'TLS_FAILED'],
    distrusted: true,
    spoil: (server) => {
      server.accept = (socket) => {
        socket.once('data', () => {
          socket.write(Buffer.from('1603030', 'latin1'));
          socket.resetAndDestroy();
        });
        return true;
      };
    },
  },
  {
    name: 'tls: silence in the handshake',
    security: 'tls',
    says: ['OPERATION_TIMED_OUT'],
    distrusted: true,
    spoil: (server) => {
      server.accept = (socket) => {
        socket.once('data', () => socket.write(Buffer.from('160303004a0200', 'hex')));
        return true;
      };
    },
  },
  {
    name: 'tls: an alert',
    security: 'tls',
    says: ['TLS_FAILED'],
    distrusted: true,
    spoil: shouts(Buffer.from('15030300020228', 'hex'), true),
  },
  {
    name: 'tls: plain IMAP instead',
    security: 'tls',
    says: ['TLS_FAILED'],
    distrusted: true,
    spoil: shouts('* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] no TLS here\r\n', false),
  },
  {
    name: 'tls: PREAUTH',
    security: 'tls',
    says: [],
    goesOn: true,
    spoil(server) {
      server.greeting = '* PREAUTH welcome';
      server.preauthenticated = true;
    },
    mend(server) {
      server.preauthenticated = false;
    },
  },
];

const starttls: Behaviour[] = [
  {
    name: 'starttls: stripped',
    security: 'starttls',
    says: ['STARTTLS_MISSING'],
    distrusted: true,
    spoil: (server) => stripped(server),
  },
  {
    name: 'starttls: stripped, and still taken for granted',
    security: 'starttls',
    says: ['STARTTLS_MISSING', 'TLS_FAILED'],
    distrusted: true,
    spoil(server) {
      stripped(server);
      server.greeting = '* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready';
    },
  },
  ...(
    [
      ['NO', 'NO [UNAVAILABLE] not now', ['STARTTLS_MISSING', 'TLS_FAILED', 'SERVER_UNAVAILABLE']],
      ['BAD', 'BAD what is that', ['STARTTLS_MISSING', 'TLS_FAILED']],
      ['BYE', 'BYE no', ['SERVER_UNAVAILABLE', 'CONNECTION_LOST', 'STARTTLS_MISSING']],
    ] as const
  ).map(
    ([name, words, says]): Behaviour => ({
      name: `starttls: answered ${name}`,
      security: 'starttls',
      says: [...says],
      distrusted: true,
      spoil: instead('STARTTLS', ({ tag, session }) => session.send(`${tag} ${words}`)),
    }),
  ),
  {
    name: 'starttls: promised, and plain text after it',
    security: 'starttls',
    says: ['TLS_FAILED', 'SERVER_PROTOCOL'],
    distrusted: true,
    spoil: instead('STARTTLS', ({ tag, session }) => {
      session.send(`${tag} OK begin`);
      setTimeout(() => session.send('* CAPABILITY IMAP4rev1 AUTH=PLAIN'), 50).unref();
    }),
  },
  {
    name: 'starttls: promised, and silence after it',
    security: 'starttls',
    // What it says to a handshake is that it is no IMAP.
    says: ['OPERATION_TIMED_OUT', 'TLS_FAILED'],
    distrusted: true,
    spoil: instead('STARTTLS', ({ tag, session }) => session.send(`${tag} OK begin`)),
  },
  {
    // CVE-2011-0411's kind: what came before the handshake must not count as said within it.
    name: 'starttls: answers injected in plain text with the OK',
    security: 'starttls',
    says: ['TLS_FAILED', 'SERVER_PROTOCOL'],
    distrusted: true,
    spoil: instead('STARTTLS', (command) => {
      const { tag, session } = command;
      const next = (Number.parseInt(tag, 16) + 1).toString(16).toUpperCase();
      session.upgrade(
        `${tag} OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n${next} OK [CAPABILITY IMAP4rev1] logged in already\r\n`,
      );
    }),
  },
  {
    name: 'starttls: PREAUTH instead',
    security: 'starttls',
    says: ['STARTTLS_MISSING', 'TLS_FAILED', 'SERVER_PROTOCOL'],
    distrusted: true,
    spoil(server) {
      server.greeting = '* PREAUTH no need for TLS';
      server.preauthenticated = true;
    },
    mend(server) {
      server.preauthenticated = false;
    },
  },
  {
    name: 'starttls: LOGIN disabled within TLS as well',
    security: 'starttls',
    says: ['AUTH_LOGIN_DISABLED'],
    distrusted: true,
    spoil: (server) => {
      server.capabilities = [...server.capabilities, 'LOGINDISABLED'];
    },
  },
];

function stripped(server: ScriptedServer): void {
  server.script = ({ name, tag, session }) => {
    if (name === 'STARTTLS') session.send(`${tag} BAD what?`);
    else if (name === 'CAPABILITY') session.send('* CAPABILITY IMAP4rev1 AUTH=PLAIN', `${tag} OK done`);
    else return false;
    return true;
  };
}

export const WIRE: Behaviour[] = [...connections, ...tls, ...starttls];
