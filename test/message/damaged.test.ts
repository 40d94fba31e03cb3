/** Declarations that say nothing, and encodings that break off: what is readable is given, with a warning. */
import { expect, test } from 'vitest';
import { parsed, plain } from './helpers.ts';

test.each([
  [
    'a multipart without a boundary is read as text (RFC 2046 §5.1.1 requires one)',
    plain(['Content-Type: multipart/mixed'], 'Hello'),
    'boundary-missing',
    'Hello',
  ],
  [
    'a boundary that never occurs: the content is text',
    plain(['Content-Type: multipart/mixed; boundary=b'], 'Hello'),
    'boundary-missing',
    'Hello',
  ],
  [
    'a Content-Type that is no type: text/plain (RFC 2045 §5.2)',
    plain(['Content-Type: text'], 'Hello'),
    'type-invalid',
    'Hello',
  ],
  [
    'an unknown transfer encoding: the bytes as they are',
    plain(['Content-Transfer-Encoding: x-rot13'], 'Uryyb'),
    'encoding-unknown',
    'Uryyb',
  ],
  [
    'base64 with a foreign character in it: that one is left out (RFC 2045 §6.8)',
    plain(['Content-Transfer-Encoding: base64'], 'SGVs*bG8='),
    'encoding-damaged',
    'Hello',
  ],
  [
    'quoted-printable with an escape that is none: as it stands (RFC 2045 §6.7)',
    plain(['Content-Transfer-Encoding: quoted-printable'], 'Hello =ZZ=21'),
    'encoding-damaged',
    'Hello =ZZ!',
  ],
])('%s', (_name, message, warning, body) => {
  const document = parsed(message);
  expect(document.body).toBe(body);
  expect(document.warnings).toContain(warning);
});

test('a uuencoded part that breaks off gives what came, and says so', () => {
  const whole = ['begin 644 a.bin', '#86)C', '`', 'end'];
  const part = (lines: string[]) =>
    plain(
      ['Content-Type: application/octet-stream; name=a.bin', 'Content-Transfer-Encoding: x-uuencode'],
      ...lines,
    );
  expect(parsed(part(whole)).contents).toEqual([Buffer.from('abc')]);
  const broken = parsed(part(whole.slice(0, 2)));
  expect(broken.contents).toEqual([Buffer.from('abc')]);
  expect(broken.warnings).toContain('encoding-damaged');
});
