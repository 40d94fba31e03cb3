/** Harm done to real messages: bits, cuts, splices, and the tokens that mail is made of in wrong places. */
import type { Random } from '../../servers/random.ts';

export interface Mutation {
  raw: Buffer;
  /** What was done, for whoever repeats it. */
  name: string;
}

/** What readers of mail look for. */
const TOKENS = [
  ...[
    '\r\n',
    '\n',
    '\r',
    '\r\n\r\n',
    '\n\n',
    '\0',
    ' ',
    '\t',
    '\r\n ',
    '\x1b$B',
    '\x1b(B',
    '\xff\xfe',
    '\xef\xbb\xbf',
  ],
  ...[
    '--',
    '\r\n--',
    '--\r\n',
    ';',
    ':',
    '=',
    '"',
    '\\',
    '(',
    ')',
    '<',
    '>',
    ',',
    '@',
    '=?',
    '?=',
    '%',
    "'",
    "''",
    '*',
    '*0*=',
  ],
  ...[
    '=?utf-8?q?=C3?=',
    '=?utf-8?b?w6Q?=',
    '=?iso-2022-jp?b?GyRC?=',
    '=?x?x?x?=',
    '+AD',
    '~{',
    '=\r\n',
    '=3D',
    '====',
    '%00',
    '%ff',
    '../',
  ],
  ...[
    'From: a@b\r\n',
    'From : a@b\r\n',
    'From x\r\n',
    '>From x\r\n',
    'Date: now\r\n',
    'Subject: =?utf-8?q?=0A=00?=\r\n',
  ],
  ...[
    'Content-Type: multipart/mixed; boundary=b\r\n',
    'Content-Type: text/html\r\n',
    'Content-Type: message/rfc822\r\n',
  ],
  ...[
    'Content-Type: multipart/digest; boundary=b\r\n',
    'Content-Type: text/plain; charset=utf-7\r\n',
    '--b\r\n',
    '--b--\r\n',
  ],
  ...[
    'Content-Transfer-Encoding: base64\r\n',
    'Content-Transfer-Encoding: quoted-printable\r\n',
    'Content-Transfer-Encoding: x-uuencode\r\n',
  ],
  ...[
    'Content-Disposition: attachment; filename="../../a.json"\r\n',
    "Content-Disposition: attachment; filename*=utf-8''%2e%2e%2f%00\r\n",
  ],
  ...[
    'begin 644 a\r\n',
    'end\r\n',
    '\xe2\x80\xae',
    '\xed\xa0\x80',
    '\xf0\x9f\x98\x80',
    '<!--',
    '&#x110000;',
    '&#0;',
    '<script>',
    '</',
  ],
];

/** Only so much of a message is copied or cut at once. */
const LONGEST = 4096;

type Harm = [name: string, harm: (random: Random, raw: Buffer, other: Buffer) => Buffer];

const HARMS: Harm[] = [
  ['bits', (random, raw) => overwrite(random, raw, (byte) => byte ^ (1 << random.between(0, 7)))],
  ['bytes', (random, raw) => overwrite(random, raw, () => random.between(0, 255))],
  ['8-bit', (random, raw) => overwrite(random, raw, (byte) => byte | 0x80)],
  ['end', (random, raw) => raw.subarray(0, random.between(0, raw.length))],
  ['begin', (random, raw) => raw.subarray(random.between(0, raw.length))],
  [
    'cut',
    (random, raw) => {
      const [from, to] = range(random, raw);
      return Buffer.concat([raw.subarray(0, from), raw.subarray(to)]);
    },
  ],
  [
    'twice',
    (random, raw) => {
      const [from, to] = range(random, raw);
      return insert(random, raw, raw.subarray(from, to));
    },
  ],
  [
    'splice',
    (random, raw, other) =>
      Buffer.concat([raw.subarray(0, lineStart(random, raw)), other.subarray(lineStart(random, other))]),
  ],
  [
    'insert',
    (random, raw, other) => {
      const [from, to] = range(random, other);
      return insert(random, raw, other.subarray(from, to));
    },
  ],
  ['token', (random, raw) => insert(random, raw, Buffer.from(random.pick(TOKENS), 'latin1'))],
  [
    'tokens',
    (random, raw) =>
      insert(random, raw, Buffer.from(random.pick(TOKENS).repeat(random.between(2, 200)), 'latin1')),
  ],
  [
    'line',
    (random, raw) => {
      const at = lineStart(random, raw);
      return Buffer.concat([
        raw.subarray(0, at),
        Buffer.from(random.pick(TOKENS), 'latin1'),
        raw.subarray(at),
      ]);
    },
  ],
  ['wrapped', (_, raw) => Buffer.concat([Buffer.from('Content-Type: message/rfc822\r\n\r\n'), raw])],
  [
    'line ends',
    (random, raw) =>
      Buffer.from(
        raw.toString('latin1').replaceAll('\r\n', random.pick(['\n', '\r', '\r\r\n', '\n\r'])),
        'latin1',
      ),
  ],
];

/** One to four harms at once; `other` is another message to take from. */
export function mutate(random: Random, raw: Buffer, other: Buffer): Mutation {
  const names: string[] = [];
  let mutant = raw;
  for (let left = random.between(1, 4); left > 0; left--) {
    const [name, harm] = random.pick(HARMS);
    names.push(name);
    mutant = harm(random, mutant, other);
  }
  return { raw: mutant, name: names.join('+') };
}

function overwrite(random: Random, raw: Buffer, change: (byte: number) => number): Buffer {
  const result = Buffer.from(raw);
  if (result.length === 0) return result;
  for (let left = random.between(1, 8); left > 0; left--) {
    const at = random.between(0, result.length - 1);
    result[at] = change(result[at]!);
  }
  return result;
}

function range(random: Random, raw: Buffer): [number, number] {
  const from = random.between(0, raw.length);
  return [from, Math.min(raw.length, from + random.between(0, LONGEST))];
}

function insert(random: Random, raw: Buffer, piece: Buffer): Buffer {
  const at = random.between(0, raw.length);
  return Buffer.concat([raw.subarray(0, at), piece, raw.subarray(at)]);
}

/** Headers and boundaries are lines: harm there goes deeper. */
function lineStart(random: Random, raw: Buffer): number {
  const lf = raw.indexOf(0x0a, random.between(0, raw.length));
  return lf < 0 ? 0 : lf + 1;
}
