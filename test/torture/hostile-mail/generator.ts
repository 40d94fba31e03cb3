/** Messages with every class of broken mail (DESIGN, Parsing) in combinations, and what their documents must hold. */
import type { Random } from '../../servers/random.ts';
import { hashOf } from './parse.ts';
import { type Address, KNOWN_WORDS, type Wording, type Words } from './words.ts';

export interface Expected {
  subject: string;
  sender: Address;
  sentAt: string | null;
  messageId: string;
  /** Type and sha256 of each attachment, in order. */
  attachments: [string, string][];
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
  words: Words;
  expected: Expected;
  /** Lines may end in CR alone: no content depends on line ends. */
  lineless: boolean;
  parts: number;
}

type Bytes = Buffer | string;
const join = (...pieces: Bytes[]): Buffer =>
  Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)));

/** A message, always the same for a state of `random` and the words. */
export function makeHostile(random: Random, words = KNOWN_WORDS): Made {
  const expected: Expected = {
    ...{ subject: '', sender: { name: null, address: '' }, sentAt: null, messageId: '' },
    ...{ attachments: [], texts: [], htmls: [] },
  };
  const writer: Writer = { random, words, expected, lineless: true, parts: 0 };
  const header = writeHeader(writer);
  const body = random.fraction() < 0.9 ? multipart(writer, 0) : leaf(writer);
  const raw = join(header, body);
  if (writer.lineless && random.fraction() < 0.1)
    return { raw: Buffer.from(raw.toString('latin1').replaceAll('\r\n', '\r'), 'latin1'), expected };
  return { raw, expected };
}

/** The fields of the message, but those of its content. */
function writeHeader({ random, words, expected }: Writer): string {
  const [from, sender] = random.pick(words.senders);
  const [subject, subjectText] = random.pick(words.subjects);
  const [date, sentAt] = random.pick(words.dates);
  const id = random.bytes(6).toString('hex');
  Object.assign(expected, { sender, subject: subjectText, sentAt, messageId: `${id}@x` });
  const chance = (text: string, of = 0.15) => (random.fraction() < of ? text : '');
  const colon = () => random.pick([':', ' :', '\t:', ': ', ':\r\n ']);
  const fields = [
    `From${colon()}${from}`,
    `Subject${colon()}${subject}`,
    date === null ? '' : `Date${colon()}${date}`,
    `Message-ID${colon()}<${id}@x>`,
    chance('From: Forged <forged@evil.example>'),
    chance('Subject: forged'),
    date === null ? '' : chance('Date: Thu, 1 Jan 1970 00:00:00 +0000'),
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
  if (parentSubtype === 'digest' && random.fraction() < 0.7)
    return join('\r\n', enclosed(writer, 'message/rfc822'));
  return leaf(writer);
}

function leaf(writer: Writer): Buffer {
  const kind = writer.random.between(1, 6);
  if (kind <= 2) return text(writer);
  if (kind === 3) return html(writer);
  if (kind === 4) {
    const type = writer.random.pick(['message/rfc822', 'message/delivery-status', 'text/rfc822-headers']);
    return join(`Content-Type: ${type}\r\n\r\n`, enclosed(writer, type));
  }
  return file(writer);
}

/** What nobody but this message says. */
const mark = ({ random }: Writer) => `mark-${random.bytes(5).toString('hex')}`;

/** Such text makes no other that is there disappear. */
const BLANK = ['', ' ', '\t', '\r\n\r\n', '\xc2\xa0'];

function text(writer: Writer): Buffer {
  const { random, words, expected } = writer;
  const disposition = random.fraction() < 0.2 ? 'Content-Disposition: inline\r\n' : '';
  if (random.fraction() < 0.1)
    return join(
      'Content-Type: text/plain; charset=utf-8\r\n',
      disposition,
      encoded(writer, join(random.pick(BLANK))),
    );
  const wording = random.pick(words.texts);
  const own = mark(writer);
  expected.texts.push(`${own} ${wording.text}`.trimEnd());
  const type =
    wording.charset === null
      ? 'Content-Type: text/plain\r\n'
      : `Content-Type: text/plain; charset=${wording.charset}\r\n`;
  return join(type, disposition, encoded(writer, wording.write(own), encodingsOf(wording)));
}

/** A page that declares its character set, by the part's own field or by an element of it alone. */
function html(writer: Writer): Buffer {
  const { random, words, expected } = writer;
  const wording = random.pick(words.texts.filter(({ charset, wide }) => !wide && !SHIFTING.has(charset)));
  const own = mark(writer);
  expected.htmls.push(`${own} ${wording.text}`.trimEnd());
  const { charset } = wording;
  const element = charset !== null && random.fraction() < 0.5;
  const declared = charset !== null && !(element && META.has(charset) && random.fraction() < 0.5);
  const page = join(
    `<html><head>${element ? `<meta charset="${charset}">` : ''}<title>t</title></head><p>`,
    wording.write(own),
    random.pick(PAGE_ENDS),
  );
  return join(
    `Content-Type: text/html${declared ? `; charset="${charset}"` : ''}\r\n`,
    encoded(writer, page),
  );
}

/** What one leaves open hides nothing of the next. */
const PAGE_ENDS = ['</p></html>', '</p></html>', '', '<style>', '<!-- ', '<script>', '<p title="'];

/** Pages are not written in these. */
const SHIFTING = new Set<string | null>(['utf-7', 'hz-gb-2312', 'iso-2022-jp', 'iso-2022-kr']);
/** An element alone is enough for these. */
const META = new Set(['utf-8', 'koi8-r', 'windows-1252']);

const encodingsOf = ({ wide }: Wording): Encoding[] =>
  wide ? ['base64', 'quoted-printable'] : ['base64', 'quoted-printable', '8bit'];

/** A message inside of the message, as it stands. */
function enclosed(writer: Writer, type: string): Buffer {
  writer.lineless = false;
  const inner = join(
    `From: inner@x\r\nSubject: ${mark(writer)}\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n`,
    '--inner\r\n\r\ninner text\r\n--inner\r\nContent-Type: image/png; name=inner.png\r\n\r\nPNG\r\n--inner--',
  );
  writer.expected.attachments.push([type, hashOf(inner)]);
  return inner;
}

function file(writer: Writer): Buffer {
  const { random, words, expected } = writer;
  const content = random.bytes(random.between(0, random.pick([1, 10, 300, 5000])));
  const type = random.pick([
    'application/pdf',
    'image/png',
    'application/octet-stream',
    'text/csv',
    'text/plain',
    'text/html',
  ]);
  const name = nameParameter(random, random.pick(words.names));
  expected.attachments.push([type, hashOf(content)]);
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
      return `; filename="${Buffer.from(name.replace(/[\r\n"\\]/g, '\\$&').replace(/[\r\n]/g, ' ')).toString('latin1')}"`;
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
