/** The mail that is on the server while power is lost, and the configurations of those who watch it. */
import { createHash } from 'node:crypto';
import type { Workplace } from '../../dovecot/workplace.ts';
import type { Random } from '../../servers/random.ts';
import { type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import type { Call } from './trace.ts';

/** Who watches what, and how. */
export interface Setting {
  start: 'all' | 'new';
  after: { delete: boolean };
  messageBytes: number;
}

export interface Sent {
  uid: number;
  raw: Buffer;
  sha256: string;
  receivedAt: Date;
}

export const ACCOUNT = 'support';
const USER = 'ann@example.org';

/** A file that is not ours, where a document belongs. */
export const STRANGER = Buffer.from('a stranger\n');

/** Between the two a message is quarantined unread at first, and fetched later. */
export const LOW_LIMIT = 20_000;
export const HIGH_LIMIT = 1_000_000;

const DAYS = [20, 20, 20, 21];

/** The configuration of `setting` for a server; no log, which would only be in the way. */
export function configure(place: Workplace, server: ScriptedServer, setting: Setting): void {
  const { start, after, messageBytes } = setting;
  const { password } = server;
  place.configure({
    storage: { directory: place.storage, source: 'keep' },
    log: { directory: null },
    limits: { messageBytes: `${messageBytes}b`, inFlightBytes: '1mb' },
    accounts: [
      {
        ...{ name: ACCOUNT, host: '127.0.0.1', port: server.port, security: 'none' },
        ...{ user: USER, password, folders: ['INBOX'], start, after },
      },
    ],
  });
}

/** Of a message; the scripted server's UIDVALIDITY is the same each time. */
export const idOf = (uid: number): string => `INBOX-1700000000-${uid}`;

/** Messages of all kinds that the handoff knows: plain, with attachments, and one larger than the lower limit. */
export function makeMessages(random: Random, count = 5): Sent[] {
  const kinds = ['plain', 'attachments', 'large', 'plain', 'attachments'];
  return Array.from({ length: count }, (_, index) => {
    const raw = messageOf(random, kinds[index % kinds.length]!, index + 1);
    return {
      uid: index + 1,
      raw,
      sha256: createHash('sha256').update(raw).digest('hex'),
      receivedAt: new Date(Date.UTC(2026, 10, DAYS[index % DAYS.length], 11)),
    };
  });
}

function messageOf(random: Random, kind: string, number: number): Buffer {
  const header = [
    'From: Ann <ann@example.org>',
    `Subject: ${kind} ${number}`,
    `Message-ID: <${number}.${random.between(1, 1e9)}@example.org>`,
    'Date: Fri, 20 Nov 2026 11:00:00 +0000',
    'MIME-Version: 1.0',
  ];
  const file = (name: string, size: number) =>
    [
      '--b',
      `Content-Type: application/octet-stream; name=${name}`,
      'Content-Disposition: attachment',
      'Content-Transfer-Encoding: base64',
      '',
      random.bytes(size).toString('base64').replace(/.{76}/g, '$&\r\n'),
    ].join('\r\n');
  const text = `--b\r\nContent-Type: text/plain\r\n\r\nfiles\r\n`;
  const body = (...files: string[]) => `${text}${files.join('\r\n')}\r\n--b--\r\n`;
  const mixed = [...header, 'Content-Type: multipart/mixed; boundary=b', '', ''].join('\r\n');
  if (kind === 'attachments') return Buffer.from(mixed + body(file('one.bin', 900), file('two.bin', 5_000)));
  if (kind === 'large') return Buffer.from(mixed + body(file('large.bin', LOW_LIMIT)));
  return Buffer.from([...header, '', 'Hello.', ''].join('\r\n'));
}

/** A server that has these messages under their UIDs. */
export async function startServer(messages: readonly Sent[], uidNext: number): Promise<ScriptedServer> {
  const server = await startScriptedServer({ user: USER });
  for (const message of messages) deliver(server, message);
  server.folders.get('INBOX')!.uidNext = uidNext;
  return server;
}

export function deliver(server: ScriptedServer, { uid, raw, receivedAt }: Sent): void {
  server.deliver('INBOX', raw, { uid, internalDate: receivedAt });
}

/** The UIDs that a command was sent for. */
export function commanded(calls: readonly Call[], command: 'FETCH' | 'EXPUNGE'): Set<number> {
  const uids = new Set<number>();
  for (const call of calls) {
    if (call.kind !== 'sent') continue;
    const sets = call.data.toString('latin1').matchAll(new RegExp(`UID ${command} ([\\d:,]+)`, 'g'));
    for (const [, set = ''] of sets) {
      for (const range of set.split(',')) {
        const [low = 0, high = low] = range.split(':').map(Number);
        for (let uid = low; uid <= high; uid++) uids.add(uid);
      }
    }
  }
  return uids;
}
