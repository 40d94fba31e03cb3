/** Messages of depth, width and length that exhaust who reads them naively; each fits `limits.messageBytes`. */
import { gzipSync } from 'node:zlib';
import type { MessageDocument } from '../../../src/message/document.ts';
import type { WarningCode } from '../../../src/message/warnings.ts';

const MIB = 1024 * 1024;
/** A little below the default of `limits.messageBytes`, so that they are parsed and not refused. */
const LARGEST = 64 * MIB - 64 * 1024;

export interface Bomb {
  name: string;
  make(): Buffer;
  /** Warnings that must stand in its document: it is cut where docs/document.md says so. */
  warns?: WarningCode[];
  /** Thousands of files are made of it. */
  fillsDisk?: boolean;
  /** Whether all of it is in its document, where it must be. */
  isWhole?(document: MessageDocument): boolean;
}

const HEAD = 'From: Ann <ann@example.org>\r\nDate: Fri, 20 Nov 2026 11:00:00 +0100\r\n';

const message = (fields: string, body: string | Buffer = 'text\r\n'): Buffer =>
  Buffer.concat([
    Buffer.from(`${HEAD}${fields}${fields === '' ? '' : '\r\n'}\r\n`, 'latin1'),
    Buffer.from(body),
  ]);

const count = (times: number, make: (n: number) => string): string =>
  Array.from({ length: times }, (_, n) => make(n)).join('');

/** `unit` again and again, up to the largest message. */
const filled = (unit: string): Buffer => Buffer.alloc(LARGEST, unit, 'latin1');

const html = (body: Buffer | string) => message('Content-Type: text/html; charset=utf-8', body);
const attached = (encoding: string, body: Buffer) =>
  message(
    `Content-Type: image/png; name=a.png\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: ${encoding}`,
    body,
  );
const mixed = (body: string | Buffer) => message('Content-Type: multipart/mixed; boundary=b', body);

/** A stream of many: each is 64 MB of nothing. */
const compressed = (): Buffer => Buffer.concat(Array(64).fill(gzipSync(Buffer.alloc(64 * MIB))));

/** The first so many are never left out; of the others a run does those that it has time for. */
export const THOSE_OF_THE_ISSUE = 24;

export const BOMBS: Bomb[] = [
  {
    name: '10,000 nested parts',
    warns: ['deep-nesting', 'parts-cut'],
    make: () =>
      Buffer.from(
        count(10_000, (n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`),
        'latin1',
      ),
  },
  { name: '10,000 nested messages', make: () => nested('Content-Type: message/rfc822\r\n\r\n', 10_000) },
  {
    name: '100,000 parts',
    fillsDisk: true,
    warns: ['parts-cut'],
    make: () => mixed(count(100_000, (n) => `--b\r\nContent-Type: image/png\r\n\r\n${n}\r\n`)),
  },
  {
    name: '100,000 text parts',
    warns: ['parts-cut'],
    make: () => mixed(count(100_000, (n) => `--b\r\n\r\n${n}\r\n`)),
  },
  {
    name: '1,000,000 addresses',
    warns: ['header-cut'],
    make: () => message(`To: ${count(1_000_000, (n) => `a${n}@x.example,\r\n `)}z@x`),
  },
  {
    name: '1,000,000 addresses in 1,000 fields',
    warns: ['header-cut'],
    make: () => message(manyFields(1000, 1000)),
  },
  {
    name: '64 MB of one header',
    warns: ['header-cut'],
    make: () => message(`Subject: ${filled('subject ').toString('latin1')}`),
  },
  {
    name: '64 MB of one folded header',
    warns: ['header-cut'],
    make: () => message(`References: ${filled('<a@b>\r\n ').toString('latin1')}x`),
  },
  {
    name: '64 MB of header fields',
    warns: ['header-cut'],
    make: () => message(`${filled('X-A: b\r\n').toString('latin1')}Y: z`),
  },
  {
    name: 'RFC 2231 with 100,000 continuations',
    warns: ['header-cut'],
    make: () =>
      message(
        `Content-Type: application/pdf;${count(100_000, (n) => `\r\n name*${n}*=%C3%A4`)}`.replaceAll(
          '%C3%A4\r\n',
          '%C3%A4;\r\n',
        ),
      ),
  },
  {
    // Shorter than the longest field: cut for its parameters alone.
    name: 'RFC 2231 with 50,000 continuations',
    warns: ['header-cut'],
    make: () => message(`Content-Type: application/pdf${count(50_000, (n) => `;\r\n name*${n}*=%C3%A4`)}`),
  },
  {
    name: 'RFC 2231 with 100,000 continuations backwards',
    warns: ['header-cut'],
    make: () =>
      message(`Content-Disposition: attachment${count(100_000, (n) => `;\r\n filename*${99_999 - n}=a`)}`),
  },
  { name: 'base64 in one line of 64 MB', make: () => attached('base64', filled('QUJD')) },
  {
    name: 'base64 text in one line of 64 MB',
    make: () => message('Content-Transfer-Encoding: base64', filled('QUJD')),
  },
  { name: 'HTML of 64 MB', warns: ['html-cut'], make: () => html(filled('<p>paragraph &amp; more</p>\r\n')) },
  { name: 'HTML of 64 MB of brackets', make: () => html(filled('<')) },
  {
    name: 'HTML of 100,000 nested elements',
    make: () => html(`${'<div>'.repeat(100_000)}x${'</div>'.repeat(100_000)}`),
  },
  {
    name: 'HTML of 800 nested tables',
    make: () => html(`${'<table><tr><td>'.repeat(800)}innermost${'</td></tr></table>'.repeat(800)}`),
    isWhole: ({ body, html: page }) => body.includes('innermost') && page?.length === 800 * 33 + 9,
  },
  {
    name: '200 nested multiparts',
    make: () =>
      Buffer.from(
        `${HEAD}${count(200, (n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`)}\r\ninnermost`,
        'latin1',
      ),
    isWhole: ({ body }) => body === 'innermost',
  },
  {
    name: '5,000 parts',
    fillsDisk: true,
    make: () => mixed(count(5000, (n) => `--b\r\nContent-Type: image/png\r\n\r\n${n}\r\n`)),
    isWhole: ({ attachments }) => attachments.length === 5000,
  },
  {
    name: '20,000 recipients',
    make: () => message(`To: ${count(20_000, (n) => `Ann <a${n}@x.example>,\r\n `)}z@x`),
    isWhole: ({ to }) => to.length === 20_001,
  },
  {
    name: 'a subject of 1 MB',
    make: () => message(`Subject: ${'x'.repeat(MIB)}`),
    isWhole: ({ subject }) => subject?.length === MIB,
  },
  {
    name: '50,000 header fields',
    make: () => message(count(50_000, (n) => `X-${n}: y\r\n`).trimEnd()),
    isWhole: ({ headers }) => headers.length === 50_002,
  },
  {
    name: '4 GB of NUL, compressed',
    make: () =>
      message(
        'Content-Type: application/gzip\r\nContent-Encoding: gzip\r\nContent-Transfer-Encoding: base64',
        compressed().toString('base64'),
      ),
    isWhole: ({ attachments }) => attachments[0]?.size === compressed().length,
  },
  { name: 'HTML of one tag of 64 MB', make: () => html(`<a href="${filled('x').toString('latin1')}`) },
  { name: 'HTML of 64 MB of references', make: () => html(filled('&')) },
  { name: 'HTML of 64 MB of open lists', make: () => html(filled('<ul><li>')) },
  { name: '64 MB of line ends', make: () => message('', filled('\r\n')) },
  { name: '64 MB of CR', make: () => message('', filled('\r')) },
  { name: '64 MB of CR from the first byte', make: () => filled('\r') },
  { name: '64 MB of LF from the first byte', make: () => filled('\n') },
  { name: '64 MB of NUL', make: () => filled('\0') },
  {
    name: '64 MB of NUL in the text',
    make: () => message('Content-Type: text/plain; charset=utf-8', filled('\0')),
  },
  {
    name: '64 MB of quoted-printable spaces',
    make: () => message('Content-Transfer-Encoding: quoted-printable', filled(' ')),
  },
  {
    name: '64 MB of soft line breaks',
    make: () => message('Content-Transfer-Encoding: quoted-printable', filled('=\r\n')),
  },
  {
    name: '64 MB of format=flowed',
    make: () => message('Content-Type: text/plain; format=flowed; delsp=yes', filled('> \r\n')),
  },
  { name: '64 MB of UTF-7', make: () => message('Content-Type: text/plain; charset=utf-7', filled('+AGE-')) },
  {
    name: '64 MB of HZ',
    make: () => message('Content-Type: text/plain; charset=hz-gb-2312', filled('~{VPND~}')),
  },
  {
    name: '64 MB of ISO-2022-JP',
    make: () => message('Content-Type: text/plain; charset=iso-2022-jp', filled('\x1b$B$3\x1b(B')),
  },
  {
    name: '64 MB of UTF-16',
    make: () => message('Content-Type: text/plain; charset=utf-16', filled('\xd8\x00')),
  },
  {
    name: '64 MB of UTF-32',
    make: () => message('Content-Type: text/plain; charset=utf-32', filled('\0\0\0a')),
  },
  {
    name: '64 MB that no character set has',
    make: () => message('Content-Type: text/plain; charset=x-none', filled('\xff\x81')),
  },
  {
    name: '64 MB of damaged UTF-8',
    make: () => message('Content-Type: text/plain; charset=utf-8', filled('\xc3\xa4\xc3')),
  },
  { name: '64 MB of Windows-1252', make: () => message('Content-Type: text/plain', filled('\xe4')) },
  {
    name: '64 MB of uuencode',
    make: () => attached('x-uuencode', Buffer.concat([Buffer.from('begin 644 a\n'), filled('`\n')])),
  },
  { name: '64 MB of boundaries', make: () => mixed(filled('--b\n')) },
  { name: '64 MB of closing boundaries', make: () => mixed(filled('--b--\n')) },
  { name: '64 MB of what is nearly a boundary', make: () => mixed(filled('--bx\n')) },
  { name: '64 MB of a boundary and white space', make: () => mixed(`--b${filled(' ').toString('latin1')}x`) },
  { name: '64 MB of dashes', make: () => mixed(filled('-')) },
  { name: 'a boundary of 200 KB', make: () => longBoundary(200_000) },
  {
    name: 'the same boundary 9,000 times',
    make: () => nested('Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n', 9000),
  },
  { name: 'encoded words without end', make: () => message(`Subject: ${'=?utf-8?q?'.repeat(200_000)}`) },
  { name: 'encoded words that never close', make: () => message(`Subject: ${'=?a?b?'.repeat(300_000)}?=`) },
  {
    name: 'encoded words of 300,000 character sets',
    make: () => message(`Subject: ${count(100_000, (n) => `=?cs${n}?q?=E4?=\r\n `)}`),
  },
  {
    name: 'encoded words in each address',
    make: () => message(`To: ${count(50_000, (n) => `=?utf-8?b?w6Q=?= <a${n}@x>,\r\n `)}z@x`),
  },
  ...traps('Subject', ['=?', '=?utf-8?q?', ' ', '\t', '\xe4', '\x1b$', '=?a?b?=?=']),
  ...traps('From', [
    '(',
    '((a)',
    '"a',
    '<',
    ',',
    ';',
    ':',
    'a:',
    '\\',
    '"\\"',
    'a@',
    '@',
    '=?',
    '<a@b',
    'a b ',
    '\t',
    '[',
    'a.',
  ]),
  ...traps('Content-Type', [
    'a/',
    ';',
    '; ',
    ';a',
    ';a=',
    ';a="',
    ';a*=',
    ';a*0=',
    '"',
    '\\',
    '(',
    'text/plain;',
    ' ,',
    "'",
    '%',
    'a=b ',
    '=?',
  ]),
  ...traps('Content-Disposition', [
    'attachment;filename="',
    ';filename*',
    ";filename*=utf-8''%",
    ';filename*0*=%',
    '. ',
    '\u00a0',
    ' .',
  ]),
  ...traps('Date', ['1', ' ', '(', '1 ', '1:', '-', ', ', 'a', '+']),
  ...traps('Message-ID', ['<', '>', '< ', '<>', '@', ' @']),
  ...traps('References', ['<', '<a', 'a@ ', '>', '<a>']),
  ...traps('Content-Transfer-Encoding', ['(', '(a)', ' ', '"', 'a', '-']),
  ...traps('Content-ID', ['<', '(', '"']),
];

/** A field of this length is read whole. */
const MUCH = 2 * MIB - 100;

/** Each would take minutes where an expression or a search were not in proportion to its length. */
function traps(field: string, units: string[]): Bomb[] {
  return units.map((unit) => ({
    name: `${field} of ${JSON.stringify(unit)}`,
    make: () => {
      const value = Buffer.alloc(MUCH, unit, 'latin1').toString('latin1');
      // The second one ends in what makes a match fail.
      const parts = [value, `${value}\x01!`].map((one) => `--b\r\n${field}: ${one}\r\n\r\ntext\r\n`);
      const root = `X-Other: y\r\n${field}: ${value}\x01!\r\n`;
      const type = /^content-/i.test(field) ? '' : 'Content-Type: multipart/mixed; boundary=b\r\n';
      return Buffer.from(`${root}${HEAD}${type}\r\n${parts.join('')}--b--\r\n`, 'latin1');
    },
  }));
}

function nested(level: string, depth: number): Buffer {
  return Buffer.from(`${HEAD}${level.repeat(depth)}\r\ninnermost\r\n`, 'latin1');
}

function manyFields(fields: number, addresses: number): string {
  const list = count(addresses, (n) => `a${n}@x.example,`);
  return Array.from({ length: fields }, () => `To: ${list}z@x.example`).join('\r\n');
}

function longBoundary(length: number): Buffer {
  const boundary = 'x'.repeat(length);
  const near = 'x'.repeat(length - 1);
  return message(
    `Content-Type: multipart/mixed; boundary=${boundary}`,
    `--${boundary}\r\n\r\none\r\n${`--${near}\r\n`.repeat(100)}--${boundary}--\r\n`,
  );
}
