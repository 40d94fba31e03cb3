/** Messages made to exhaust a parser give a complete document, or what was readable of them and a warning. */
import { expect, test } from 'vitest';
import { MAX_HTML, textOfHtml } from '../../src/message/html.ts';
import { mail, parsed, plain } from './helpers.ts';

const MIB = 1024 * 1024;
const times = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_, n) => make(n));

test('200 nested multiparts are read to the innermost', () => {
  const levels = times(200, (n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`).join(
    '',
  );
  const closed = times(200, (n) => `\r\n--b${199 - n}--`).join('');
  const document = parsed(mail(`From: a@b.example\r\n${levels}\r\ninnermost${closed}\r\n`));
  expect(document.body).toBe('innermost');
  expect(document.warnings).toEqual(['date-missing', 'deep-nesting']);
});

test('10,000 nested multiparts end in text, not in a stack overflow', () => {
  const levels = times(
    10_000,
    (n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`,
  ).join('');
  const document = parsed(mail(`${levels}\r\ninnermost`));
  expect(document.body).toContain('innermost');
  expect(document.warnings).toContain('parts-cut');
});

test('5,000 parts are all given', () => {
  const parts = times(5000, (n) => `--b\r\nContent-Type: image/png; name=${n}.png\r\n\r\n${n}\r\n`).join('');
  const document = parsed(plain(['Content-Type: multipart/mixed; boundary=b'], `${parts}--b--\r\n`));
  expect(document.attachments.length).toBe(5000);
  expect(document.contents.at(-1)?.toString()).toBe('4999');
  expect(document.warnings).toContain('many-parts');
});

test('more parts than are told apart: the last one holds the rest', () => {
  const parts = times(10_500, (n) => `--b\r\nContent-Type: image/png\r\n\r\n${n}\r\n`).join('');
  const document = parsed(plain(['Content-Type: multipart/mixed; boundary=b'], `${parts}--b--\r\n`));
  expect(document.warnings).toContain('parts-cut');
  expect(document.contents.at(-1)?.toString()).toContain('10499');
});

test('20,000 recipients are all given', () => {
  const to = times(20_000, (n) => `User ${n} <user${n}@example.org>`).join(',\r\n ');
  const document = parsed(plain([`To: ${to}`], ''));
  expect(document.to.length).toBe(20_000);
  expect(document.to.at(-1)).toEqual({ name: 'User 19999', address: 'user19999@example.org' });
  expect(document.warnings).toEqual(['many-recipients']);
});

test('50,000 fields are all given', () => {
  const document = parsed(
    plain(
      times(50_000, (n) => `X-${n}: ${n}`),
      'text',
    ),
  );
  expect(document.headers.length).toBe(50_002);
  expect(document).toMatchObject({ body: 'text', warnings: [] });
});

test.each([100_000, 100_001])('of %i fields 100,000 are given, and the body', (count) => {
  const fields = times(count, (n) => `X: ${n}\r\n folded\r\n`).join('');
  const document = parsed(mail(`${fields}\r\ntext`));
  expect(document.headers.length).toBe(100_000);
  expect(document.headers.at(-1)).toEqual(['X', '99999 folded']);
  expect(document.body).toBe('text');
  expect(document.warnings.includes('header-cut')).toBe(count > 100_000);
});

test('a field of 1 MiB is complete', () => {
  const document = parsed(plain([`Subject: ${'x'.repeat(MIB)}`], 'text'));
  expect(document.subject?.length).toBe(MIB);
  expect(document.warnings).toEqual([]);
});

test('a field of 20 MiB is cut, and what follows is read', () => {
  const document = parsed(plain([`X-Long: ${'x'.repeat(20 * MIB)}`], 'text'));
  expect(document.warnings).toEqual(['header-cut']);
  expect(document).toMatchObject({ body: 'text', sender: { name: 'Ann', address: 'ann@example.org' } });
});

test('a header of 10 MiB of fields is cut, and the body is read', () => {
  const document = parsed(
    plain(
      times(10, () => `X: ${'x'.repeat(MIB)}`),
      'text',
    ),
  );
  expect(document.warnings).toEqual(['header-cut']);
  expect(document.body).toBe('text');
});

test('100,000 continuations of a file name are cut', () => {
  const parameters = times(100_000, (n) => `;\r\n filename*${n}*=%41`).join('');
  const document = parsed(plain([`Content-Disposition: attachment${parameters}`], 'bytes'));
  expect(document.attachments[0]?.filename).toMatch(/^A+$/);
  expect(document.warnings).toContain('header-cut');
});

/** Each would take minutes, or end the process, where the time or memory for it were not in proportion to its length. */
test.each([
  ['words that never end', () => `Subject: ${'=?a?q?'.repeat(300_000)}?=`],
  ['angle brackets', () => `References: ${'<'.repeat(MIB)}`],
  ['angle brackets with space', () => `References: ${'< '.repeat(MIB / 2)}x`],
  ['parentheses', () => `To: ${'('.repeat(MIB)}`],
  ['quotes', () => `To: ${'"a@'.repeat(300_000)}`],
  ['a type of slashes', () => `Content-Type: ${'a/'.repeat(100_000)}`],
  ['spaces in a date', () => `Date: 1${' '.repeat(MIB)}x`],
  ['dots in a file name', () => `Content-Disposition: attachment; filename="${'. '.repeat(100_000)}x"`],
  ['white space in a body', () => `Content-Transfer-Encoding: quoted-printable\r\n\r\n${' '.repeat(MIB)}x`],
  ['format=flowed', () => `Content-Type: text/plain; format=flowed\r\n\r\n${'> a \r\n'.repeat(300_000)}`],
  ['UTF-7', () => `Content-Type: text/plain; charset=utf-7\r\n\r\n${'+AGE-'.repeat(300_000)}`],
  [
    'lines that look like boundaries',
    () => `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--bx\r\n'.repeat(300_000)}`,
  ],
])('%s', (_, header) => {
  expect(parsed(mail(header(), '', '')).version).toBe(1);
});

test('HTML: 800 nested tables, 300,000 nested elements, comments and entities without end', () => {
  const tables = `${'<table><tr><td>'.repeat(800)}innermost${'</td></tr></table>'.repeat(800)}`;
  expect(parsed(plain(['Content-Type: text/html'], tables))).toMatchObject({
    body: 'innermost',
    warnings: [],
  });
  expect(textOfHtml(`${'<b>'.repeat(300_000)}x`).text).toBe('x');
  expect(textOfHtml(`x${'<!--'.repeat(300_000)}`).text).toBe('x');
  expect(textOfHtml('&amp;'.repeat(300_000)).text.length).toBe(300_000);
});

test('HTML beyond the bound is made text up to it', () => {
  const html = `<p>${'x'.repeat(MAX_HTML)}</p><p>end</p>`;
  const document = parsed(plain(['Content-Type: text/html'], html));
  expect(document.html?.length).toBe(html.length);
  expect(document.body.length).toBe(MAX_HTML - 3);
  expect(document.warnings).toEqual(['html-cut']);
});
