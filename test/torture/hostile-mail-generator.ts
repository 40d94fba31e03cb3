/** Messages with every class of broken mail (DESIGN, Parsing) in combinations, and what their documents must hold. */
import type { Random } from '../servers/random.ts';
import { hashOf } from './hostile-mail-parse.ts';

export interface Expected {
  subject: string;
  sender: { name: string | null; address: string };
  sentAt: string | null;
  messageId: string;
  /** sha256 of each attachment, in order. */
  attachments: string[];
  /** Texts that stand in `body`, in order; where there are none, those of `html` do. */
  texts: string[];
  htmls: string[];
}

export interface Made {
  raw: Buffer;
  expected: Expected;
}

interface Writer {
  random: Random;
  expected: Expected;
  /** Lines may end in CR alone: no content depends on line ends. */
  lineless: boolean;
  parts: number;
}

type Bytes = Buffer | string;
const join = (...pieces: Bytes[]): Buffer =>
  Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)));
const utf8 = (text: string) => Buffer.from(text).toString('latin1');

/** Files whose names are to mislead a file system or a reader. */
const NAMES = [
  ...[
    '../../../etc/passwd',
    '/etc/passwd',
    '..',
    '.',
    '...',
    '',
    ' ',
    '. .',
    '~',
    '-rf',
    'C:\\windows\\a.exe',
    '\\\\host\\share',
  ],
  ...[
    'a\0b.txt',
    'a\nb.txt',
    'a\r\nX-Injected: y',
    'a\x1b[2Jb',
    'a\u202egpj.exe',
    'a\u200b.txt',
    '\u2066a\u2069',
    'a\u2028b',
    '\ufeffa',
  ],
  ...[
    'CON',
    'con.txt',
    'NUL',
    'LPT1.pdf',
    'aux',
    'a.json',
    'a.JSON',
    'a.json.',
    'a.json ',
    'a.j\u017fon',
    'a.\uff4a\uff53\uff4f\uff4e',
    '.json',
  ],
  ...[
    'x'.repeat(300),
    `${'ä'.repeat(300)}.pdf`,
    `a.${'x'.repeat(300)}`,
    `${'x'.repeat(250)}.json`,
    '😀'.repeat(100),
    `${'. '.repeat(100)}a`,
  ],
  ...[
    'File.txt',
    'file.TXT',
    'FILE.txt',
    'Ä.txt',
    'A\u0308.txt',
    'ﬁle.txt',
    'ß.txt',
    'SS.txt',
    'İ.txt',
    'a.txt',
    'a.txt',
  ],
  ...[
    '..%2f..%2fa',
    '%00',
    '$(id)',
    '`id`',
    ';rm',
    '"quoted".txt',
    "o'neil",
    'a;b=c.txt',
    'a*b?.txt',
    '=?utf-8?q?=2e=2e=2fa?=',
  ],
];

/** Text, how it is written, and what a reader must see. `null`: no character set is declared. */
const TEXTS: { charset: string | null; bytes: string; text: string }[] = [
  { charset: 'utf-8', bytes: utf8('Grüße 日本 😀'), text: 'Grüße 日本 😀' },
  { charset: null, bytes: utf8('Grüße'), text: 'Grüße' },
  { charset: 'us-ascii', bytes: utf8('Grüße'), text: 'Grüße' },
  { charset: 'x-unheard-of', bytes: utf8('Grüße'), text: 'Grüße' },
  { charset: 'iso-8859-1', bytes: 'Gr\xfc\xdfe \x80', text: 'Grüße €' },
  { charset: 'windows-1252', bytes: '\x93so\x94', text: '“so”' },
  { charset: 'utf-7', bytes: 'Gr+APwA3w-e', text: 'Grüße' },
  { charset: 'gb2312', bytes: '\x84\x37 \xc4\xe3'.slice(3), text: '你' },
  { charset: 'hz-gb-2312', bytes: '~{Dc:C~}', text: '你好' },
  { charset: 'iso-2022-jp', bytes: '\x1b$B$3$s\x1b(B', text: 'こん' },
  { charset: 'koi8-r', bytes: '\xf0\xd2\xc9\xd7\xc5\xd4', text: 'Привет' },
  { charset: 'utf-8', bytes: utf8('‮reversed and ​hidden'), text: '‮reversed and ​hidden' },
];

const DATES: [string, string | null][] = [
  ['Fri, 20 Nov 2026 11:00:00 +0100', '2026-11-20T11:00:00+01:00'],
  ['20 Nov 26 11:00 EST', '2026-11-20T11:00:00-05:00'],
  ['Fri, 20 Nov 2026 11:00:00 (comment (nested)) GMT', '2026-11-20T11:00:00+00:00'],
  ['2026-11-20T11:00:00+01:00', '2026-11-20T11:00:00+01:00'],
  ['Fri, 31 Feb 2026 11:00:00 +0000', null],
  ['yesterday', null],
  ['', null],
  ['Fri, 20 Nov 2026 11:00:00', '2026-11-20T11:00:00Z'],
];

const SENDERS: [string, Expected['sender']][] = [
  ['Ann <ann@example.org>', { name: 'Ann', address: 'ann@example.org' }],
  ['Doe, John <john@example.org>', { name: 'Doe, John', address: 'john@example.org' }],
  ['"Doe, John" <john@example.org>', { name: 'Doe, John', address: 'john@example.org' }],
  ['=?utf-8?q?M=C3=BCller=2C?= Bo <bo@example.org>', { name: 'Müller, Bo', address: 'bo@example.org' }],
  [utf8('Jörg <jörg@exämple.org>'), { name: 'Jörg', address: 'jörg@exämple.org' }],
  ['user@bank.example(x).evil.example', { name: 'x', address: 'user@bank.example.evil.example' }],
  ['"user@bank.example"@evil.example', { name: null, address: '"user@bank.example"@evil.example' }],
];

const SUBJECTS: [string, string][] = [
  ['plain', 'plain'],
  ['=?utf-8?q?a=0Ab=0D=0AX-Injected:_y?=', 'a b X-Injected: y'],
  ['=?utf-8?b?w6Q=?=\r\n =?utf-8?b?w7Y=?=', 'äö'],
  ['=?utf-8?q?a=00b?=', 'ab'],
  [utf8('ungeniert grüßend'), 'ungeniert grüßend'],
  ['=?iso-8859-1?q?=80?=', '€'],
  ['folded\r\n\tsubject', 'folded subject'],
];

/** A message, always the same for a state of `random`. */
export function makeHostile(random: Random): Made {
  const expected: Expected = {
    ...{ subject: '', sender: { name: null, address: '' }, sentAt: null, messageId: '' },
    ...{ attachments: [], texts: [], htmls: [] },
  };
  const writer: Writer = { random, expected, lineless: true, parts: 0 };
  const header = writeHeader(writer);
  const body = random.fraction() < 0.9 ? multipart(writer, 0) : leaf(writer);
  const raw = join(header, body);
  if (writer.lineless && random.fraction() < 0.1)
    return { raw: Buffer.from(raw.toString('latin1').replaceAll('\r\n', '\r'), 'latin1'), expected };
  return { raw, expected };
}

/** The fields of the message, but those of its content. */
function writeHeader({ random, expected }: Writer): string {
  const [from, sender] = random.pick(SENDERS);
  const [subject, subjectText] = random.pick(SUBJECTS);
  const [date, sentAt] = random.pick(DATES);
  const id = random.bytes(6).toString('hex');
  Object.assign(expected, { sender, subject: subjectText, sentAt, messageId: `${id}@x` });
  const chance = (text: string, of = 0.15) => (random.fraction() < of ? text : '');
  const colon = () => random.pick([':', ' :', '\t:', ': ', ':\r\n ']);
  const fields = [
    `From${colon()}${from}`,
    `Subject${colon()}${subject}`,
    `Date${colon()}${date}`,
    `Message-ID${colon()}<${id}@x>`,
    chance('From: Forged <forged@evil.example>'),
    chance('Subject: forged'),
    chance('Date: Thu, 1 Jan 1970 00:00:00 +0000'),
    chance('Message-ID: <forged@x>'),
    chance('this line is no field'),
    chance(`X-Long: ${'x'.repeat(random.between(1, 100_000))}`, 0.05),
  ];
  // A field without text has no line of its own.
  const lines = fields.filter((field) => field !== '');
  return (
    chance('\xef\xbb\xbf') +
    chance('\r\n\r\n') +
    chance('From MAILER-DAEMON Fri Nov 20 11:00:00 2026\r\n') +
    `${lines.join('\r\n')}\r\n`
  );
}

const MOST_PARTS = 40;

function multipart(writer: Writer, depth: number): Buffer {
  const { random } = writer;
  const boundary = `=_${random.bytes(6).toString('hex')}${random.pick(['', '.', "'", '+', '/?'])}`;
  const subtype = random.pick([
    'mixed',
    'alternative',
    'related',
    'digest',
    'signed',
    'report',
    'x-unheard-of',
  ]);
  const pieces: Bytes[] = [];
  const padding = () => (random.fraction() < 0.2 ? random.pick([' ', '\t', '  \t ']) : '');
  if (random.fraction() < 0.3) pieces.push('preamble\r\n');
  for (let left = random.between(1, 4); left > 0; left--) {
    if (pieces.length > 0) pieces.push('\r\n');
    pieces.push(`--${boundary}${padding()}\r\n`, child(writer, subtype, depth));
  }
  // The boundary around it, or the end, closes one that is not.
  if (random.fraction() < 0.75) {
    pieces.push(`\r\n--${boundary}--${padding()}`);
    if (random.fraction() < 0.3) pieces.push('\r\nepilogue');
  }
  const encoding =
    random.fraction() < 0.15
      ? `Content-Transfer-Encoding: ${random.pick(['base64', 'quoted-printable', 'x-uuencode'])}\r\n`
      : '';
  return join(`${encoding}Content-Type: multipart/${subtype};\r\n boundary="${boundary}"\r\n\r\n`, ...pieces);
}

function child(writer: Writer, parentSubtype: string, depth: number): Buffer {
  const { random } = writer;
  writer.parts += 1;
  if (depth < 6 && writer.parts < MOST_PARTS && random.fraction() < 0.3) return multipart(writer, depth + 1);
  // In a digest a part without a header is a message (RFC 2046 §5.1.5).
  if (parentSubtype === 'digest' && random.fraction() < 0.7) return join('\r\n', enclosed(writer));
  return leaf(writer);
}

function leaf(writer: Writer): Buffer {
  const kind = writer.random.between(1, 6);
  if (kind <= 2) return text(writer);
  if (kind === 3) return html(writer);
  if (kind === 4)
    return join(
      `Content-Type: ${writer.random.pick(['message/rfc822', 'message/delivery-status', 'text/rfc822-headers'])}\r\n\r\n`,
      enclosed(writer),
    );
  return file(writer);
}

/** What nobody but this message says. */
const mark = ({ random }: Writer) => `mark-${random.bytes(5).toString('hex')}`;

function text(writer: Writer): Buffer {
  const { charset, bytes, text: shown } = writer.random.pick(TEXTS);
  const own = mark(writer);
  writer.expected.texts.push(`${own} ${shown}`);
  const type =
    charset === null ? 'Content-Type: text/plain\r\n' : `Content-Type: text/plain; charset=${charset}\r\n`;
  const disposition = writer.random.fraction() < 0.2 ? 'Content-Disposition: inline\r\n' : '';
  return join(type, disposition, encoded(writer, join(`${own} `, bytes)));
}

function html(writer: Writer): Buffer {
  const { charset, bytes, text: shown } = writer.random.pick(TEXTS.slice(0, 6));
  const own = mark(writer);
  writer.expected.htmls.push(`${own} ${shown}`);
  const meta = charset !== null && writer.random.fraction() < 0.3 ? `<meta charset="${charset}">` : '';
  const declared = charset === null ? '' : `; charset="${charset}"`;
  const page = join(`<html><head>${meta}<title>t</title></head><p>${own} `, bytes, '</p></html>');
  return join(`Content-Type: text/html${declared}\r\n`, encoded(writer, page));
}

/** A message inside of the message, as it stands. */
function enclosed(writer: Writer): Buffer {
  writer.lineless = false;
  const inner = join(
    `From: inner@x\r\nSubject: ${mark(writer)}\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n`,
    '--inner\r\n\r\ninner text\r\n--inner\r\nContent-Type: image/png; name=inner.png\r\n\r\nPNG\r\n--inner--',
  );
  writer.expected.attachments.push(hashOf(inner));
  return inner;
}

function file(writer: Writer): Buffer {
  const { random, expected } = writer;
  const content = random.bytes(random.between(0, random.pick([1, 10, 300, 5000])));
  const type = random.pick([
    'application/pdf',
    'image/png',
    'application/octet-stream',
    'text/csv',
    'text/plain',
    'text/html',
  ]);
  const name = nameParameter(random, random.pick(NAMES));
  expected.attachments.push(hashOf(content));
  return join(
    `Content-Type: ${type}\r\nContent-Disposition: attachment${name}\r\n`,
    encoded(writer, content, ['base64', 'quoted-printable', 'x-uuencode']),
  );
}

/** As RFC 2231 wants it, as it does not, in encoded words, or raw. */
function nameParameter(random: Random, name: string): string {
  const percent = [...Buffer.from(name)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`);
  const half = random.between(0, percent.length);
  switch (random.between(1, 6)) {
    case 1:
      return `; filename*=utf-8''${percent.join('')}`;
    case 2:
      return `;\r\n filename*0*=utf-8''${percent.slice(0, half).join('')};\r\n filename*1*=${percent.slice(half).join('')}`;
    case 3:
      return `; filename*=${percent.join('')}`;
    case 4:
      return `; filename="=?utf-8?b?${Buffer.from(name).toString('base64')}?="`;
    case 5:
      // Line ends would end the field: that is another message.
      return `; filename="${utf8(name.replace(/[\r\n"\\]/g, '\\$&').replace(/[\r\n]/g, ' '))}"`;
    default:
      return '';
  }
}

type Encoding = 'base64' | 'quoted-printable' | 'x-uuencode' | '8bit';

/** The field, the blank line and the content. */
function encoded(
  writer: Writer,
  content: Buffer,
  choices: Encoding[] = ['base64', 'quoted-printable', '8bit'],
): Buffer {
  const encoding = writer.random.pick(choices);
  const field = `Content-Transfer-Encoding: ${writer.random.pick([encoding, encoding.toUpperCase()])}\r\n\r\n`;
  return join(field, ENCODERS[encoding](content, writer.random));
}

const ENCODERS: Record<Encoding, (content: Buffer, random: Random) => Bytes> = {
  base64: (content, random) => {
    const width = random.pick([4, 60, 76, 77, 1_000_000]);
    return (content.toString('base64').match(new RegExp(`.{1,${width}}`, 'g')) ?? []).join('\r\n');
  },
  'quoted-printable': (content) =>
    (
      [...content]
        .map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`)
        .join('')
        .match(/.{1,75}/g) ?? []
    )
      .join('')
      .replace(/.{72}/g, '$&=\r\n'),
  'x-uuencode': (content) => {
    const lines = ['begin 644 a'];
    for (let at = 0; at < content.length; at += 45) lines.push(uuLine(content.subarray(at, at + 45)));
    return [...lines, '`', 'end'].join('\r\n');
  },
  '8bit': (content) => content,
};

function uuLine(bytes: Buffer): string {
  const char = (six: number) => (six === 0 ? '`' : String.fromCharCode(0x20 + six));
  let line = char(bytes.length);
  for (let at = 0; at < bytes.length; at += 3) {
    const [a, b = 0, c = 0] = bytes.subarray(at, at + 3) as unknown as [number, number, number];
    line += char(a >> 2) + char(((a & 3) << 4) | (b >> 4)) + char(((b & 15) << 2) | (c >> 6)) + char(c & 63);
  }
  return line;
}
