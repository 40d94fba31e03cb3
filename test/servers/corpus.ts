/** Messages as real mailboxes hold them, made from a seed: charsets, multiparts, attachments, 1 KB to 1 MB. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Random, seededRandom } from './random.ts';

export interface CorpusMessage {
  raw: Buffer;
  /** What the document must say; null where the message was not made by us. */
  expected: {
    subject: string;
    messageId: string | null;
    attachments: { filename: string; sha256: string }[];
  } | null;
}

const WORDS =
  'invoice order delivery meeting report ticket update contract offer reminder server backup question schedule release payment address account customer team please find attached thank you regards tomorrow review'.split(
    ' ',
  );
const FOREIGN = [
  'Grüße aus München',
  'Ça va très bien',
  'Счёт на оплату',
  '請求書をお送りします',
  'Überraschung 🎉 für dich',
  'λόγος και τιμή',
];
const PEOPLE = ['Ann Example', 'Müller, Jörg', 'Zoë O’Neil', '山田太郎', 'billing', 'Иван Петров'];
const FILES = ['report.pdf', 'photo 1.jpg', 'Übersicht.xlsx', 'data.json', 'notes.txt', '見積.docx'];

/** Sizes are spread logarithmically; the exponent makes small ones more frequent, as they are. */
const SMALLEST = 1_000;
const LARGEST = 1_000_000;
const SMALL_BIAS = 2.5;

/** Of a hundred messages: so many have no Message-ID, and so many are one that came before once more. */
const PERCENT_WITHOUT_ID = 5;
const PERCENT_TWICE = 2;

/**
 * `count` messages, always the same for a seed. Where `MAILWATCHD_TEST_CORPUS` names a folder of .eml
 * files, as many of them come first.
 */
export function makeCorpus(seed: number, count: number): CorpusMessage[] {
  const random = seededRandom(seed);
  const messages: CorpusMessage[] = readForeign(process.env.MAILWATCHD_TEST_CORPUS, count);
  const own = messages.length;
  while (messages.length < count) {
    const again = messages.length > own && random.between(1, 100) <= PERCENT_TWICE;
    messages.push(
      again
        ? messages[random.between(own, messages.length - 1)]!
        : makeMessage(random, `${seed}.${messages.length}`),
    );
  }
  return messages;
}

function readForeign(directory: string | undefined, limit: number): CorpusMessage[] {
  if (!directory) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.eml'))
    .sort()
    .slice(0, limit)
    .map((name) => ({ raw: readFileSync(join(directory, name)), expected: null }));
}

export const anySize = (random: Random, largest = LARGEST, smallBias = SMALL_BIAS): number =>
  Math.round(SMALLEST * (largest / SMALLEST) ** (random.fraction() ** smallBias));

/** A message of 1 to 4 KB with `name` in its Message-ID, for measurements. */
export function makeSmallMessage(random: Random, name: string): Buffer {
  return makeMessage(random, name, random.between(1_000, 4_000)).raw;
}

/** About `size` bytes, with `name` in its Message-ID. */
export function makeMessage(random: Random, name: string, size = anySize(random)): CorpusMessage {
  const messageId = random.between(1, 100) <= PERCENT_WITHOUT_ID ? null : `${name}@corpus.example`;
  const subject = `${random.pick([...FOREIGN, sentence(random, 4), sentence(random, 12)])} ${name}`;
  const attachments: { filename: string; sha256: string }[] = [];
  const body = makeBody(random, size, attachments);
  const header = [
    `Received: from mx.example.org (mx.example.org [192.0.2.1]) by mail.example.net; ${date(random)}`,
    `From: ${encodeWord(random, random.pick(PEOPLE))} <sender${random.between(1, 50)}@example.org>`,
    'To: "Support" <support@example.net>, sales@example.net',
    `Subject: ${encodeWord(random, subject)}`,
    `Date: ${date(random)}`,
    ...(messageId ? [`Message-ID: <${messageId}>`] : []),
    'MIME-Version: 1.0',
  ];
  return {
    raw: Buffer.concat([ascii(`${header.join('\r\n')}\r\n`), body]),
    expected: { subject, messageId, attachments },
  };
}

/** A part with its own header, about `size` bytes long. */
function makeBody(random: Random, size: number, attachments: { filename: string; sha256: string }[]): Buffer {
  if (size > 20_000 || random.fraction() < 0.3) {
    const files = Array.from(
      { length: random.between(1, 3) },
      (_, index) => `${index}-${random.pick(FILES)}`,
    );
    const text = random.fraction() < 0.5 ? makeText(random, 500) : makeAlternative(random, 1_000);
    return multipart(random, 'mixed', [
      text,
      ...files.map((file) => makeFile(random, file, size / files.length, attachments)),
    ]);
  }
  return random.fraction() < 0.4 ? makeAlternative(random, size) : makeText(random, size);
}

function makeAlternative(random: Random, size: number): Buffer {
  const html = `<html><body>${paragraph(random, size / 2).replace(/.+/g, '<p>$&</p>')}</body></html>`;
  return multipart(random, 'alternative', [
    makeText(random, size / 2),
    encoded('text/html', 'utf-8', Buffer.from(html)),
  ]);
}

/** Text in one of the charsets and transfer encodings that mail comes in. */
function makeText(random: Random, size: number): Buffer {
  const text = paragraph(random, size);
  switch (random.between(1, 5)) {
    case 1:
      return Buffer.concat([
        ascii('Content-Type: text/plain; charset=us-ascii\r\n\r\n'),
        ascii(text.replace(/[^\0-\x7f]/g, '?')),
      ]);
    case 2:
      return Buffer.concat([
        ascii('Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'),
        Buffer.from(text.replace(/[^\0-\xff]/g, '?'), 'latin1'),
      ]);
    case 3:
      return Buffer.concat([
        ascii(
          'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n',
        ),
        ascii(quotedPrintable(text)),
      ]);
    case 4:
      // "こんにちは" as ISO-2022-JP writes it.
      return ascii(
        `Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3$s$K$A$O\x1b(B\r\n${text.replace(/[^\0-\x7f]/g, '?')}`,
      );
    default:
      return encoded('text/plain', 'utf-8', Buffer.from(text));
  }
}

function makeFile(
  random: Random,
  filename: string,
  size: number,
  attachments: { filename: string; sha256: string }[],
): Buffer {
  // Base64 makes four bytes of three.
  const content = random.bytes(Math.ceil(size * 0.72));
  attachments.push({ filename, sha256: createHash('sha256').update(content).digest('hex') });
  const type = filename.endsWith('.pdf') ? 'application/pdf' : 'application/octet-stream';
  // RFC 2231, beside the old way that many still write.
  const header = `Content-Type: ${type}; name="=?utf-8?B?${Buffer.from(filename).toString('base64')}?="\r\nContent-Disposition: attachment; filename*=utf-8''${encodeURIComponent(filename)}\r\n`;
  return Buffer.concat([ascii(header), base64Body(content)]);
}

const encoded = (type: string, charset: string, content: Buffer): Buffer =>
  Buffer.concat([ascii(`Content-Type: ${type}; charset=${charset}\r\n`), base64Body(content)]);

const base64Body = (content: Buffer): Buffer =>
  ascii(
    `Content-Transfer-Encoding: base64\r\n\r\n${content.toString('base64').replace(/.{1,76}/g, '$&\r\n')}`,
  );

function multipart(random: Random, subtype: string, parts: Buffer[]): Buffer {
  const boundary = `=_${random.bytes(9).toString('hex')}`;
  return Buffer.concat([
    ascii(`Content-Type: multipart/${subtype}; boundary="${boundary}"\r\n\r\n`),
    ...parts.flatMap((part) => [ascii(`--${boundary}\r\n`), part, ascii('\r\n')]),
    ascii(`--${boundary}--\r\n`),
  ]);
}

function paragraph(random: Random, size: number): string {
  const lines: string[] = [];
  for (let length = 0; length < size; length += lines.at(-1)!.length + 2) {
    lines.push(random.fraction() < 0.1 ? random.pick(FOREIGN) : sentence(random, 9));
  }
  return `${lines.join('\r\n')}\r\n`;
}

const sentence = (random: Random, words: number): string =>
  Array.from({ length: words }, () => random.pick(WORDS)).join(' ');

/** RFC 2047, by B or Q, in words of at most 75 characters that no character is cut between. */
function encodeWord(random: Random, text: string): string {
  if (/^[A-Za-z0-9 .]*$/.test(text)) return text;
  const base64 = random.fraction() < 0.5;
  const pieces = text.match(/.{1,8}/gsu) ?? [];
  return pieces
    .map((piece) =>
      base64
        ? `=?UTF-8?B?${Buffer.from(piece).toString('base64')}?=`
        : `=?utf-8?Q?${[...Buffer.from(piece)].map((byte) => (/[A-Za-z0-9]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : hex(byte))).join('')}?=`,
    )
    .join('\r\n ');
}

function quotedPrintable(text: string): string {
  return text
    .split('\r\n')
    .map((line) => {
      const bytes = [...Buffer.from(line)].map((byte) =>
        byte > 126 || byte < 32 || byte === 61 ? hex(byte) : String.fromCharCode(byte),
      );
      const lines = [''];
      for (const byte of bytes) {
        if (lines.at(-1)!.length + byte.length > 75) lines.push('');
        lines[lines.length - 1] += byte;
      }
      return lines.join('=\r\n');
    })
    .join('\r\n');
}

const hex = (byte: number): string => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;

const date = (random: Random): string =>
  new Date(
    Date.UTC(
      2026,
      random.between(0, 10),
      random.between(1, 28),
      random.between(0, 23),
      random.between(0, 59),
    ),
  )
    .toUTCString()
    .replace('GMT', '+0000');

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
