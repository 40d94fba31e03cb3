/** Well-formed mail gives what mailparser's own simpleParser gives: the synchronous driver differs only where it mends. */
import fc from 'fast-check';
import { simpleParser } from 'mailparser';
import { expect, test } from 'vitest';
import { mail, parsed } from './helpers.ts';

/** The same messages in every run. */
const SEED = 20261120;

const word = fc.stringMatching(/^[a-z]{1,8}$/);
const unicodeWord = fc.constantFrom('Grüße', 'naïve', 'Привет', '日本語', 'emoji 😀', 'plain');
const address = fc.record({ name: fc.option(unicodeWord, { nil: '' }), local: word, domain: word });
const line = fc.array(fc.oneof(word, unicodeWord), { maxLength: 12 }).map((words) => words.join(' '));
/** Never empty: see the last test. */
const text = fc.array(line, { minLength: 1, maxLength: 10 }).map((lines) => ['x', ...lines].join('\r\n'));

type Leaf = {
  kind: 'text' | 'html' | 'file';
  content: string;
  encoding: 'base64' | 'quoted-printable' | '8bit';
  name: string;
};
const leaf = fc.record<Leaf>({
  kind: fc.constantFrom('text', 'html', 'file'),
  content: text,
  encoding: fc.constantFrom('base64', 'quoted-printable', '8bit'),
  name: fc.constantFrom('a.pdf', 'Grüße.txt', 'two words.bin'),
});

const encodedWord = (value: string) => `=?utf-8?B?${Buffer.from(value).toString('base64')}?=`;
const display = ({ name, local, domain }: { name: string; local: string; domain: string }) =>
  `${name === '' ? '' : `${encodedWord(name)} `}<${local}@${domain}.example>`;

/** Every byte but the line ends encoded, with soft line breaks. */
function quotedPrintable(value: string): string {
  const encode = (byte: number) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return value
    .split('\r\n')
    .map((one) =>
      (
        Array.from(Buffer.from(one), encode)
          .join('')
          .match(/.{1,60}/g) ?? []
      ).join('=\r\n'),
    )
    .join('\r\n');
}

function write({ kind, content, encoding, name }: Leaf): string {
  const type = { text: 'text/plain; charset=utf-8', html: 'text/html; charset=utf-8', file: 'image/png' }[
    kind
  ];
  const body =
    encoding === 'base64'
      ? (
          Buffer.from(content)
            .toString('base64')
            .match(/.{1,76}/g) ?? []
        ).join('\r\n')
      : encoding === 'quoted-printable'
        ? quotedPrintable(content)
        : content;
  const disposition =
    kind === 'file'
      ? `Content-Disposition: attachment; filename*=utf-8''${encodeURIComponent(name)}\r\n`
      : '';
  return `Content-Type: ${type}\r\n${disposition}Content-Transfer-Encoding: ${encoding}\r\n\r\n${body}`;
}

const message = fc
  .record({
    from: address,
    to: fc.array(address, { minLength: 1, maxLength: 5 }),
    subject: line,
    parts: fc.array(leaf, { minLength: 1, maxLength: 5 }),
    id: word,
  })
  .map(({ from, to, subject, parts, id }) =>
    [
      `From: ${display(from)}`,
      `To: ${to.map(display).join(',\r\n ')}`,
      `Subject: ${encodedWord(subject)}`,
      `Message-ID: <${id}@x.example>`,
      `References: <${id}.1@x.example> <${id}.2@x.example>`,
      'Date: Fri, 20 Nov 2026 11:00:00 +0100',
      'Content-Type: multipart/mixed; boundary="=_b"',
      '',
      ...parts.map((part) => `--=_b\r\n${write(part)}`),
      '--=_b--',
      '',
    ].join('\r\n'),
  );

const squeeze = (value: string) => value.replace(/\s+/g, ' ').trim();

test('addresses, ids, subject, text, HTML and attachments are the same', async () => {
  await fc.assert(
    fc.asyncProperty(message, async (raw) => {
      const bytes = Buffer.from(raw);
      const ours = parsed(bytes);
      const theirs = await simpleParser(bytes, {
        skipTextToHtml: true,
        skipHtmlToText: true,
        skipImageLinks: true,
        keepCidLinks: true,
      });
      const list = (value: typeof theirs.to) =>
        [value ?? []]
          .flat()
          .flatMap((one) =>
            one.value.map(({ name, address: at }) => ({ name: name || null, address: at ?? null })),
          );
      expect(ours.from).toEqual(list(theirs.from));
      expect(ours.to).toEqual(list(theirs.to));
      expect(ours.subject).toBe(theirs.subject ?? '');
      expect(`<${ours.messageId}>`).toBe(theirs.messageId);
      expect(ours.references.map((id) => `<${id}>`)).toEqual(theirs.references);
      expect(new Date(ours.sentAt ?? '')).toEqual(theirs.date);
      expect(ours.attachments.map(({ filename, contentType }) => ({ filename, contentType }))).toEqual(
        theirs.attachments.map(({ filename, contentType }) => ({ filename, contentType })),
      );
      expect(ours.contents).toEqual(theirs.attachments.map(({ content }) => content));
      expect(squeeze(ours.html ?? '')).toBe(squeeze((theirs.html || '').replaceAll('<br/>', '')));
      if (ours.html === null) expect(squeeze(ours.body)).toBe(squeeze(theirs.text ?? ''));
      expect(ours.warnings).toEqual([]);
    }),
    { seed: SEED, numRuns: 200 },
  );
});

test('any bytes give a valid document, the same one twice', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '--b',
      '--b--',
      '\r\n',
      '\n',
      'Content-Type: multipart/mixed; boundary=b\r\n',
      'From: a@b\r\n',
      '=?utf-8?Q?',
      '?=',
      'Content-Transfer-Encoding: base64\r\n',
      '\0',
      '\x1b$B',
      "filename*0*=utf-8'",
      '<',
      ';',
    ),
    fc.string({ unit: 'binary', maxLength: 20 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      parsed(Buffer.from(pieces.join('')));
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('an empty part before another one is empty (RFC 2046 §5.1.1), where simpleParser gives its line end', async () => {
  const bytes = mail(
    'Content-Type: multipart/mixed; boundary=b',
    '',
    '--b',
    'Content-Type: image/png',
    '',
    '',
    '--b',
    'Content-Type: image/gif',
    '',
    'x',
    '--b--',
    '',
  );
  expect(parsed(bytes).contents.map(String)).toEqual(['', 'x']);
  expect((await simpleParser(bytes)).attachments.map(({ content }) => String(content))).toEqual([
    '\r\n',
    'x',
  ]);
});
