/** Tables fit the terminal and lose nothing in a pipe; sizes read as people write them. */
import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { printable } from '../src/escape.ts';
import { asJson, cell, formatBytes, formatDuration, type Output, table } from '../src/terminal.ts';

const pipe: Output = new PassThrough();
const terminal = (columns: number): Output => Object.assign(new PassThrough(), { isTTY: true, columns });

const headings = ['MAILBOX', 'STATE', 'REASON'];
const rows = [
  ['support/INBOX', 'failing', 'the mail server refused user name or password: check both'],
  ['a/b', 'idle', '–'],
];

test('in a pipe every row is one whole line without styles', () => {
  expect(table(pipe, headings, rows)).toBe(
    [
      'MAILBOX        STATE    REASON',
      'support/INBOX  failing  the mail server refused user name or password: check both',
      'a/b            idle     –',
      '',
    ].join('\n'),
  );
});

test.each([120, 60, 48, 30])('on a terminal of %i columns it fits, and the reason is whole', (columns) => {
  const lines = stripVTControlCharacters(table(terminal(columns), headings, rows))
    .trimEnd()
    .split('\n');
  const narrowest = 8 + 2 + 8 + 2 + 16;
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(Math.max(columns, narrowest));
  const reason = lines.slice(1, -1).map((line) => line.slice(line.lastIndexOf('  ') + 2).trim());
  expect(reason.join(' ')).toContain('user name or password');
});

test('an id is never cut, however narrow the terminal is', () => {
  const id = 'INBOX-1700000000-4711';
  const shown = table(terminal(30), ['STATE', 'ID', 'REASON'], [['quarantined', id, 'too large']], ['ID']);
  expect(stripVTControlCharacters(shown)).toContain(id);
});

test('a word longer than its column is broken, not lost', () => {
  const path = 'x'.repeat(100);
  const shown = stripVTControlCharacters(table(terminal(50), ['A', 'PATH'], [['a', path]]));
  expect(shown.match(/x/g)?.length).toBe(100);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KB'],
  [64 * 1024 ** 2, '64.0 MB'],
])('%i bytes are %s', (bytes, shown) => expect(formatBytes(bytes)).toBe(shown));

test.each([
  [0, '0 s'],
  [820, '0.8 s'],
  [9_960, '10 s'],
  [119_999, '119 s'],
  [120_000, '2 min'],
  [7_199_999, '119 min'],
  [7_200_000, '2 h'],
  [14 * 86_400_000, '14 d'],
])('%i ms are %s', (milliseconds, shown) => expect(formatDuration(milliseconds)).toBe(shown));

test('cells of foreign text are escaped', () => {
  expect(cell('\u001b[2J\nIN\u202eXOB')).toBe('\\u001b[2J\\nIN\\u202eXOB');
  expect(cell(null)).toBe('–');
});

test('what is printable stays, what is long is cut', () => {
  expect(printable('Grüße 🎉')).toBe('Grüße 🎉');
  expect(printable('a\ud800b')).toBe('a\\ud800b');
  expect(printable('x'.repeat(400))).toHaveLength(301);
});

test('JSON for a terminal holds nothing that it acts on, and is the same data', () => {
  const data = { 'a\u202eb': ['\u009b2J\u001b\n', '\u2028\u200b\u{e0001}', 'Grüße 😀'] };
  expect(asJson(pipe, data)).toBe(JSON.stringify(data));
  for (const indent of [undefined, 2]) {
    const shown = asJson(terminal(80), data, indent);
    expect(shown.split('\n').join('')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(JSON.parse(shown)).toEqual(data);
  }
});
