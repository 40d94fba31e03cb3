/** `replyText`: what a person wrote anew, in the forms in which clients quote. A guess, and never slow. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parsed, plain, utf8 } from './helpers.ts';

const reply = (...lines: string[]) =>
  parsed(
    plain(
      ['In-Reply-To: <a@example.org>', 'Content-Type: text/plain; charset=utf-8'],
      ...lines.map((line) => utf8(line)),
    ),
  ).replyText;

const OUTLOOK = ['To: Bob', 'Cc: Carl', 'Subject: offer', '', 'What do you say?'];

test.each<[string, string[], string]>([
  [
    'of Gmail',
    [
      'Yes.',
      '',
      'On Fri, Nov 20, 2026 at 11:00 AM Ann <ann@example.org> wrote:',
      '',
      '> Do you?',
      '>',
      '> Ann',
      '',
    ],
    'Yes.',
  ],
  [
    'of Gmail, wrapped',
    [
      'Yes.',
      '',
      'On Fri, Nov 20, 2026 at 11:00 AM Ann Elisabeth Example <',
      'ann@example.org> wrote:',
      '',
      '> Do you?',
    ],
    'Yes.',
  ],
  [
    'of Apple Mail, with a signature',
    [
      'Yes.',
      '',
      'Second.',
      '',
      '-- ',
      'Bob',
      'Sales',
      '',
      '> On 20. Nov 2026, at 11:00, Ann wrote:',
      '> ',
      '> Do you?',
    ],
    'Yes.\n\nSecond.',
  ],
  [
    'of Thunderbird in German',
    ['Ja.', '', 'Am 20.11.26 um 11:00 schrieb Ann Example:', '> Wirklich?'],
    'Ja.',
  ],
  [
    'in French',
    ['Oui.', '', 'Le ven. 20 nov. 2026 à 11:00, Ann <ann@example.org> a écrit :', 'unquoted'],
    'Oui.',
  ],
  ['in Polish, unquoted', ['Tak.', 'W dniu 20.11.2026 o 11:00, Ann pisze:', 'Czy?'], 'Tak.'],
  ['in a language that nobody told us of', ['是。', '', '安 2026年11月20日写道：', '> 吗？'], '是。'],
  [
    'of Outlook',
    [
      'Yes.',
      '',
      '________________________________',
      'From: Ann <ann@example.org>',
      'Sent: Friday, November 20, 2026 11:00 AM',
      ...OUTLOOK,
    ],
    'Yes.',
  ],
  [
    'of Outlook in bold and German',
    [
      'Ja.',
      '',
      '*Von:* Ann <ann@example.org>',
      '*Gesendet:* Freitag, 20. November 2026 11:00',
      '*An:* Bob',
      '*Betreff:* Angebot',
      '',
      'Wirklich?',
    ],
    'Ja.',
  ],
  ['of Outlook 2003', ['Yes.', '', '-----Original Message-----', 'whatever'], 'Yes.'],
  ['a signature alone', ['Yes.', '--', 'Bob'], 'Yes.'],
  ['nothing but history', ['On Fri, Ann wrote:', '> Do you?'], ''],
])('%s', (_, lines, text) => {
  expect(reply(...lines)).toBe(text);
});

test.each([
  ['nothing is quoted', ['Yes.', 'On Friday I wrote a letter.']],
  ['the answers stand below what they answer', ['> Do you?', 'Yes.', '> And Carl?', 'No.']],
  [
    'it was forwarded',
    [
      'See below.',
      '---------- Forwarded message ---------',
      'From: Ann',
      'Date: Fri',
      'To: Bob',
      '',
      '> Do you?',
    ],
  ],
  ['one field is no header', ['From: Berlin we go on.', 'To: nobody']],
  ['it is too long to be looked at', ['x'.repeat(256 * 1024), '> quoted']],
])('absent where %s', (_, lines) => {
  expect(reply(...lines)).toBeUndefined();
});

test('absent where the message is no reply', () => {
  expect(parsed(plain([], 'Yes.', '> Do you?'))).not.toHaveProperty('replyText');
});

test('a colon before the quotation takes its own line with it only where that line is a paragraph', () => {
  expect(reply('Yes.', '', 'a', 'b', 'c', 'You wrote:', '> Do you?')).toBe('Yes.\n\na\nb\nc');
});

test('is a beginning of the body, whatever the body is', () => {
  const line = fc.constantFrom(
    '',
    'a',
    '> q',
    '-- ',
    'On a',
    'wrote:',
    'From: a',
    'To: b',
    'Date: c',
    ':',
    '- Original Message -',
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const document = parsed(plain(['References: <a@b>'], ...lines));
      if (document.replyText !== undefined) expect(document.body.startsWith(document.replyText)).toBe(true);
    }),
  );
});

test('no text takes long', { timeout: 20_000 }, () => {
  const pieces = [
    'On ',
    '\n',
    'wrote',
    ' wrote',
    ':',
    '>',
    ' ',
    'From: ',
    'To:',
    '-',
    'On wrote a:',
    'W dniu pisze \n',
    '\t',
    '_',
  ];
  for (const a of pieces) for (const b of pieces) reply((a + b).repeat(200_000 / (a + b).length));
});
