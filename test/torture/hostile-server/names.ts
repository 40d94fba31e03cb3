/** A name server that answers as it is told, and the hostility that goes by names. */
import { createSocket } from 'node:dgram';
import type { ScriptedServer } from '../../servers/scripted.ts';
import { type Behaviour, blackHole } from './behaviour.ts';
import { pem } from './wire.ts';

/** `silence`: none at all. Addresses may come late, ms. */
export type Answer =
  | 'no such name'
  | 'failure'
  | 'garbage'
  | 'silence'
  | { addresses: string[]; after?: number };

export interface NameServer extends AsyncDisposable {
  address: string;
  /** By name, in lower case. Other names do not exist. */
  answers: Map<string, Answer>;
}

export const DOMAIN = 'torture.example';
/** For the certificate of all that is reached by name. */
export const NAMES = `DNS:*.${DOMAIN}`;
const A = 1;

export async function startNameServer(address: string): Promise<NameServer> {
  const socket = createSocket('udp4');
  const answers = new Map<string, Answer>();
  socket.on('message', (query, { port, address: client }) => {
    const { name, type, end } = readQuestion(query);
    const answer = answers.get(name) ?? 'no such name';
    if (answer === 'silence') return;
    const send = () => socket.send(reply(query.subarray(0, end), type, answer), port, client);
    if (typeof answer === 'object' && answer.after) setTimeout(send, answer.after).unref();
    else send();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(53, address, resolve);
  });
  return {
    address,
    answers,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

/** RFC 1035 §4.1.2: labels, type, class. */
function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

/** RFC 1035 §4.1.1 and §4.1.3. Addresses of IPv4 only: any other question has no answer, but the name exists. */
function reply(question: Buffer, type: number, answer: Exclude<Answer, 'silence'>): Buffer {
  const header = Buffer.from(question);
  if (answer === 'garbage') return Buffer.concat([header.subarray(0, 2), Buffer.alloc(40, 0xff)]);
  const code = answer === 'no such name' ? 3 : answer === 'failure' ? 2 : 0;
  const addresses = typeof answer === 'object' && type === A ? answer.addresses : [];
  header.writeUInt16BE(0x8180 | code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(addresses.length, 6);
  header.writeUInt32BE(0, 8);
  const records = addresses.map((each) =>
    // The name by a pointer to the question's, type A, class IN, no time to live, four bytes.
    Buffer.from([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 0, 0, 4, ...each.split('.').map(Number)]),
  );
  return Buffer.concat([header, ...records]);
}

/** One mailbox by name; `answer` while it is hostile, the server's own address after that. */
function named(
  nameServer: NameServer,
  label: string,
  behaviour: Omit<Behaviour, 'name' | 'security' | 'host' | 'spoil' | 'mend'>,
  answer: (server: ScriptedServer) => Answer,
  more: Partial<Pick<Behaviour, 'spoil' | 'mend'>> = {},
): Behaviour {
  const host = `${label.replaceAll(/[^a-z]+/g, '-')}.${DOMAIN}`;
  return {
    ...behaviour,
    name: `DNS: ${label}`,
    security: 'tls',
    host,
    spoil(server, tools) {
      nameServer.answers.set(host, answer(server));
      return more.spoil?.(server, tools);
    },
    mend(server) {
      nameServer.answers.set(host, { addresses: [server.address] });
      return more.mend?.(server);
    },
  };
}

/** The resolver prefers it to those of all servers (RFC 6724 §5, rule 9): nobody listens there. */
const DEAD = '127.0.0.2';

export function byName(nameServer: NameServer): Behaviour[] {
  const hole = blackHole(() => DEAD);
  const make = (...parameters: Parameters<typeof named> extends [unknown, ...infer Rest] ? Rest : never) =>
    named(nameServer, ...parameters);
  return [
    make('an ordinary name', { says: [], goesOn: true }, ({ address }) => ({ addresses: [address] })),
    make('no such name', { says: ['HOST_NOT_FOUND'] }, () => 'no such name'),
    make('server failure', { says: ['HOST_NOT_FOUND', 'OPERATION_TIMED_OUT'] }, () => 'failure'),
    make('garbage', { says: ['HOST_NOT_FOUND', 'OPERATION_TIMED_OUT'] }, () => 'garbage'),
    make('silence', { says: ['HOST_NOT_FOUND', 'OPERATION_TIMED_OUT'] }, () => 'silence'),
    make('silence elsewhere', { says: ['HOST_NOT_FOUND', 'OPERATION_TIMED_OUT'] }, () => 'silence'),
    make('a slow answer', { says: [], goesOn: true }, ({ address }) => ({
      addresses: [address],
      after: 1000,
    })),
    make('a late answer', { says: ['OPERATION_TIMED_OUT'] }, ({ address }) => ({
      addresses: [address],
      after: 4000,
    })),
    make('the first address refuses', { says: [], goesOn: true }, ({ address }) => ({
      addresses: [DEAD, address],
    })),
    make(
      'connections to the first address vanish',
      { says: [], goesOn: true },
      ({ address }) => ({ addresses: [DEAD, address] }),
      { spoil: hole.spoil, mend: hole.mend },
    ),
    make('every address refuses', { says: ['CONNECTION_REFUSED'] }, () => ({
      addresses: [DEAD, '127.0.0.3', '127.0.0.4'],
    })),
    make(
      'the address of somebody else',
      { says: ['TLS_WRONG_HOST'], distrusted: true },
      ({ address }) => ({ addresses: [address] }),
      {
        spoil: (server, { certificates }) => {
          server.certificate = pem(certificates.wrongHost);
        },
      },
    ),
  ];
}
