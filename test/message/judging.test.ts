/** Proves: what a message's first bytes decide is what its whole document decides. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Candidate, Rule } from '../../src/filter.ts';
import { parseMessage } from '../../src/message/document.ts';
import { judgeDocument, judgeStart } from '../../src/message/judging.ts';
import { rule } from '../rules.ts';
import { mail, plain } from './helpers.ts';

const except = (conditions: Partial<Rule>): Candidate => ({
  filter: { only: [], except: [rule('r', conditions)] },
  size: 1000,
  internalDate: 0,
  at: 0,
});

const whole = (message: Buffer, candidate: Candidate) =>
  judgeDocument(parseMessage(message, { identity: null }), candidate).kind;

const early = (message: Buffer, candidate: Candidate, length = message.length - 1) =>
  judgeStart(message.subarray(0, length), candidate).verdict.kind;

const BODY = ['Hello', '', 'more'];

test.each<[string, Buffer, Partial<Rule>]>([
  [
    'an encoded subject',
    plain(['Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?='], ...BODY),
    { subject: { contains: 'GRÜSSE'.replace('SS', 'ß') } },
  ],
  ['a folded subject', plain(['Subject: one', '\ttwo'], ...BODY), { subject: { contains: 'one two' } }],
  [
    'the sender as the document has it',
    mail('From: "b@x.org" <a@example.org>', '', ...BODY),
    { sender: { contains: 'a@example.org' } },
  ],
  [
    'a recipient in a group',
    plain(['To: us: a@x.org, b@x.org;'], ...BODY),
    { recipient: { contains: 'b@x.org' } },
  ],
  ['a mailing list', plain(['List-Id: <a.example.org>'], ...BODY), { list: true }],
  ['a vacation notice', plain(['Auto-Submitted: auto-replied'], ...BODY), { automatic: true }],
  ['list mail that a person wrote', plain(['List-Id: <a.example.org>'], ...BODY), { automatic: false }],
  [
    'a header behind an mbox line',
    mail('From ann Thu Jan  1 00:00:00 2026', 'From: ann@x.org', '', ...BODY),
    { sender: { contains: 'ann@' } },
  ],
  [
    'a header behind blank lines',
    mail('', '', 'From: ann@x.org', '', ...BODY),
    { sender: { contains: 'ann@' } },
  ],
  [
    'lines that end in CR alone',
    Buffer.from('From: ann@x.org\rSubject: a\r\rHello\rmore\r'),
    { subject: { contains: 'a' } },
  ],
])('%s is judged by the header', (_, message, conditions) => {
  expect(early(message, except(conditions))).toBe('filtered');
  expect(whole(message, except(conditions))).toBe('filtered');
});

test.each<[string, Buffer, Partial<Rule>, number?]>([
  [
    'a header that goes on',
    plain(['Subject: a', `X-Long: ${'x'.repeat(100)}`], ...BODY),
    { subject: { contains: 'a' } },
    100,
  ],
  [
    'a header that ends with the first bytes',
    mail('From: a@x.org', '', ''),
    { sender: { contains: 'a@' } },
    17,
  ],
  [
    'a header without an end of its own',
    mail('Subject: a', 'This is no field', 'nor this', '', ...BODY),
    { subject: { contains: 'a' } },
  ],
  ['an attachment', plain(['Subject: a'], ...BODY), { attachment: true }],
  [
    'a subject in the character set of a part',
    mail(
      'From: a@x.org',
      'Subject: \xcf\xf0\xe8\xe2\xe5\xf2',
      'Content-Type: multipart/mixed; boundary=b',
      '',
      '--b',
      'Content-Type: text/plain; charset=windows-1251',
      '',
      '\xcf\xf0\xe8\xe2\xe5\xf2',
      '--b--',
      '',
    ),
    { subject: { contains: 'Привет' } },
  ],
])('%s is left to the whole message', (_, message, conditions, length) => {
  expect(early(message, except(conditions), length)).toBe('undecided');
});

test('a size that the server did not tell is that of the message', () => {
  const message = plain(['Subject: a'], ...BODY);
  for (const [largerThan, verdict] of [
    [message.length - 1, 'filtered'],
    [message.length, 'taken'],
  ] as const) {
    const untold = { ...except({ largerThan }), size: null };
    expect(early(message, untold)).toBe('undecided');
    expect(whole(message, untold)).toBe(verdict);
  }
});

test('the name of a message is told even where its header decides nothing', () => {
  const message = plain(['Message-ID: <a@x.org>'], ...BODY);
  expect(judgeStart(message.subarray(0, -1), except({ attachment: true })).messageId).toBe('a@x.org');
});

test('wherever a message is cut, its beginning decides nothing that the whole does not', () => {
  const field = fc.constantFrom(
    'From: Ann <ann@example.org>',
    'From : bob@example.org',
    'To: =?utf-8?q?=C3=A9?= <a@x.org>, b@x.org (c)',
    'Subject: a',
    'Subject: =?iso-8859-1?q?=E9t=E9?=',
    'Subject: \xe9t\xe9',
    'subject:',
    'List-Id: <a.b>',
    'Auto-Submitted: auto-generated',
    'Precedence: bulk',
    'Return-Path: <>',
    ' folded',
    'no field',
    'Content-Type: multipart/report; report-type=delivery-status; boundary=b',
    'Content-Type: text/plain; charset=windows-1251',
  );
  const start = fc.constantFrom('', '\r\n', '\xef\xbb\xbf', 'From a b\r\n', ' ');
  const end = fc.constantFrom('\r\n', '\n', '\r');
  const body = fc.constantFrom(
    '',
    'Hello',
    '--b\n\nx\n--b--\n',
    '--b\nContent-Type: a/b\n\nx\n--b--',
    '\xe9t\xe9',
  );
  const conditions: Partial<Rule>[] = [
    { sender: { contains: 'ann' } },
    { recipient: { contains: 'b@x' } },
    { subject: { contains: 'a' } },
    { subject: { source: '^été$', ignoreCase: true } },
    { subject: { source: '^$', ignoreCase: false } },
    { headers: [{ name: 'precedence', test: true }] },
    { headers: [{ name: 'from', test: false }] },
    { list: true },
    { automatic: true },
    { largerThan: 10, subject: { contains: 't' } },
    { attachment: true, list: true },
  ];
  let decided = 0;
  fc.assert(
    fc.property(
      start,
      fc.array(field, { maxLength: 8 }),
      end,
      body,
      fc.constantFrom(...conditions),
      fc.boolean(),
      fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 60, max: 100 })),
      (before, fields, line, after, condition, isOnly, cut) => {
        const text = `${before}${fields.map((each) => each + line).join('')}${line}${after}${'x'.repeat(200)}`;
        const message = Buffer.from(text, 'latin1');
        const { filter, ...known } = except(condition);
        const judged = { ...known, filter: isOnly ? { only: filter.except, except: [] } : filter };
        const verdict = early(message, judged, Math.ceil((message.length * cut) / 100));
        if (verdict === 'undecided') return;
        decided += 1;
        expect(verdict).toBe(whole(message, judged));
      },
    ),
    { numRuns: 3000 },
  );
  expect(decided).toBeGreaterThan(300);
});
