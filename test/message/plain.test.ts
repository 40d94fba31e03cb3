/** What is plain is read by a shorter way: the same as by the whole grammar, to which a comment, a special or a fault leads. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBase64 } from '../../src/message/transfer.ts';
import { parsed, plain } from './helpers.ts';

/** The same cases in every run. */
const SEED = 20261121;

/** Longer than what is decoded at once. */
const LONG = 90_000;

const wrapped = (content: Buffer, width: number, lineEnd: string) =>
  (content.toString('base64').match(new RegExp(`.{1,${width}}`, 'g')) ?? []).join(lineEnd);

test('base64 in lines of any width, whole, without its padding and with a foreign character in it', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.nat(2000), fc.integer({ min: LONG - 5, max: LONG })),
      fc.constantFrom(4, 60, 75, 76, 998, LONG * 2),
      fc.constantFrom('\r\n', '\n', '\r', ' \n'),
      fc.constantFrom('-', '_', '*', '\x80'),
      fc.nat(),
      (size, width, lineEnd, foreign, place) => {
        const content = Buffer.alloc(size, 'Grüße, 日本語 😀');
        const text = wrapped(content, width, lineEnd);
        expect(decodeBase64(Buffer.from(text))).toEqual({ content, damaged: false });
        const unpadded = text.replace(/=+$/, '');
        expect(decodeBase64(Buffer.from(unpadded))).toEqual({ content, damaged: unpadded !== text });
        const at = place % (unpadded.length + 1);
        const dirty = Buffer.from(`${text.slice(0, at)}${foreign}${text.slice(at)}`, 'latin1');
        expect(decodeBase64(dirty)).toEqual({ content, damaged: true });
      },
    ),
    { seed: SEED, numRuns: 100 },
  );
});

test('base64 of two padded pieces is both', () => {
  const piece = wrapped(Buffer.alloc(1000, 'x'), 76, '\r\n');
  expect(decodeBase64(Buffer.from(`${piece}\r\n${piece}`))).toEqual({
    content: Buffer.alloc(2000, 'x'),
    damaged: false,
  });
});

test('CRLF is one line end wherever it stands', () => {
  for (let before = 65_530; before < 65_540; before += 1) {
    const text = `${'x'.repeat(before)}\r\n\r\r\n\ry`;
    expect(parsed(plain([], text)).body).toBe(`${'x'.repeat(before)}\n\r\n\ry`);
  }
});

const entry = fc.constantFrom(
  'ann@example.org',
  '<ann@example.org>',
  'Ann Example <ann+x=y@example.org>',
  "Ann  O'Neil <ann@example.org>",
  '"Example, Ann" <ann@example.org>',
  '" Ann " <ann@example.org>',
  '"" <ann@example.org>',
  '"ann@example.org" <ann@example.org>',
  '=?utf-8?q?Gr=C3=BC=C3=9Fe?= <ann@example.org>',
  '=?utf-8?B?R3I=?= =?utf-8?B?w7w=?= <ann@example.org>',
  '=?utf-8?q?=3D=3Futf-8=3Fq=3Fz=3F=3D?= <ann@example.org>',
  '=?utf-7?q?+2AA-?= <ann@example.org>',
  'Ann =?utf-8?q?=C3=BC?= <ann@example.org>',
  'Ann',
  'Ann@home <ann@example.org>',
  '"A" B <ann@example.org>',
  '"A\\"B" <ann@example.org>',
  'ann@[192.0.2.1]',
  '=?utf-8?q?x?=@example.org',
  'A: b@example.org;',
  '<ann@example.org',
  '',
);

test('addresses', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 5 }), (entries) => {
      const list = entries.join(', ');
      const short = parsed(plain([`To: ${list}`]));
      const whole = parsed(plain([`To: [first] <first@example.org>, ${list}`]));
      expect(short.to).toEqual(whole.to.slice(1));
    }),
    { seed: SEED },
  );
});

const parameter = fc.constantFrom(
  'name=a.txt',
  'NAME="b c.txt"',
  'name=""',
  'name="a\\"b.txt"',
  "name*=utf-8''%C3%BC_=%20a.txt",
  "name*=''%41",
  'name*=%41.txt',
  "name*0*=utf-8''%41; name*1=b",
  'charset=utf-8',
  'charset="iso-8859-1"',
  'format=flowed',
  'constructor=x',
  '__proto__=x',
  'empty',
  '',
);

test('parameters', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('application/pdf', 'Application/PDF', 'text/html', 'a'),
      fc.array(parameter, { maxLength: 4 }),
      fc.constantFrom(';', '; ', ' ; '),
      (type, parameters, separator) => {
        const value = [type, ...parameters].join(separator);
        const [short, whole] = [value, `${value} (comment)`].map((given) => {
          const message = plain([`Content-Type: ${given}`, 'Content-Disposition: attachment'], 'x');
          const { attachments, warnings } = parsed(message);
          const [{ contentType, filename } = {}] = attachments;
          return { contentType, filename, warnings };
        });
        expect(short).toEqual(whole);
      },
    ),
    { seed: SEED },
  );
});
