/** Each condition of a rule, how rules come together, and regular expressions that no text makes slow. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Candidate,
  depthOf,
  type Filter,
  type HeaderFacts,
  judge,
  NONE_OF_ONLY,
  type Rule,
  reasonsOf,
} from '../src/filter.ts';
import { rule } from './rules.ts';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 27);

const header = (changes: Partial<HeaderFacts> = {}): HeaderFacts => ({
  sender: 'Ann@Example.org',
  recipients: ['support@example.net', 'bob@example.com'],
  subject: 'Invoice 42 for Müller',
  fields: [
    ['X-Spam-Flag', 'YES'],
    ['Received', 'one'],
    ['received', 'two'],
  ],
  list: false,
  automatic: false,
  ...changes,
});

const candidate = (filter: Filter): Candidate => ({
  filter,
  size: 5000,
  internalDate: NOW - 10 * DAY,
  at: NOW,
});

/** Whether a rule of these conditions takes the message. */
const takes = (conditions: Partial<Rule>, facts = header(), attachments = false) =>
  judge(candidate({ only: [rule('r', conditions)], except: [] }), facts, attachments).kind === 'taken';

const pattern = (source: string, ignoreCase = false) => ({ source, ignoreCase });

describe('conditions', () => {
  test.each<[string, Partial<Rule>, boolean]>([
    ['a part of the sender in any case', { sender: { contains: '@EXAMPLE.ORG' } }, true],
    ['another sender', { sender: { contains: '@example.com' } }, false],
    ['one of several recipients', { recipient: { contains: 'bob@' } }, true],
    ['no recipient', { recipient: { contains: 'ann@' } }, false],
    ['letters composed otherwise', { subject: { contains: 'MU\u0308LLER' } }, true],
    ['an expression', { subject: pattern('^Invoice \\d+') }, true],
    ['an expression in another case', { subject: pattern('^invoice \\d+') }, false],
    ['an expression that ignores case', { subject: pattern('^invoice \\d+', true) }, true],
    ['a field of such a text', { headers: [{ name: 'x-spam-flag', test: { contains: 'yes' } }] }, true],
    ['the second field of a name', { headers: [{ name: 'received', test: pattern('^two$') }] }, true],
    ['a field that is there', { headers: [{ name: 'x-spam-flag', test: true }] }, true],
    ['a field that is not there', { headers: [{ name: 'x-spam-score', test: false }] }, true],
    ['a field that should not be there', { headers: [{ name: 'received', test: false }] }, false],
    ['an expression on an absent field', { headers: [{ name: 'x-none', test: pattern('') }] }, false],
    ['larger', { largerThan: 4999 }, true],
    ['as large is not larger', { largerThan: 5000 }, false],
    ['smaller', { smallerThan: 5001 }, true],
    ['as large is not smaller', { smallerThan: 5000 }, false],
    ['older', { olderThan: 9 * DAY }, true],
    ['not as old', { olderThan: 11 * DAY }, false],
    ['younger', { youngerThan: 11 * DAY }, true],
    ['no list mail', { list: false }, true],
    ['list mail', { list: true }, false],
    ['no automatic mail', { automatic: false }, true],
    ['no attachment', { attachment: false }, true],
    ['an attachment', { attachment: true }, false],
    ['all of them', { sender: { contains: 'ann' }, largerThan: 1, attachment: false }, true],
    ['all but one', { sender: { contains: 'ann' }, largerThan: 9999, attachment: false }, false],
  ])('%s', (_, conditions, expected) => {
    expect(takes(conditions)).toBe(expected);
  });

  test.each<[string, string, Rule['subject']]>([
    ['a Greek letter that is another one at the end', 'Οδοσήμανση', { contains: 'ΟΔΟΣ' }],
    ['a letter that is two as a capital', 'Straße 5', { contains: 'STRASSE' }],
    ['an expression of letters composed otherwise', 'Müller', pattern('^Mu\u0308ller$')],
  ])('%s', (_, subject, test) => expect(takes({ subject: test }, header({ subject }))).toBe(true));

  test('a message without a subject has an empty one', () => {
    expect(takes({ subject: pattern('^$') }, header({ subject: '' }))).toBe(true);
  });
});

describe('rules together', () => {
  const invoices = rule('invoices', { subject: { contains: 'invoice' } });
  const large = rule('large', { largerThan: 1000 });
  const withFile = rule('with-file', { attachment: true });

  test('only: one of them must match', () => {
    const only = [rule('none', { sender: { contains: 'nobody' } }), invoices];
    expect(judge(candidate({ only, except: [] }), header(), false)).toEqual({ kind: 'taken' });
    expect(judge(candidate({ only: only.slice(0, 1), except: [] }), header(), false)).toEqual({
      kind: 'filtered',
      rule: NONE_OF_ONLY,
    });
  });

  test('except: none of them may match, and the first that does is the reason', () => {
    const verdict = judge(candidate({ only: [invoices], except: [withFile, large] }), header(), true);
    expect(verdict).toEqual({ kind: 'filtered', rule: 'large' });
    expect(judge(candidate({ only: [], except: [withFile] }), header(), false)).toEqual({ kind: 'taken' });
  });

  test('what is decided without the body is, and what is not is undecided', () => {
    const filter = { only: [], except: [withFile, invoices, large] };
    expect(judge(candidate(filter), null, null)).toEqual({ kind: 'filtered', rule: 'large' });
    const without = { only: [], except: [withFile, invoices] };
    expect(judge(candidate(without), null, null)).toEqual({ kind: 'undecided' });
    expect(judge(candidate(without), header(), null)).toEqual({ kind: 'filtered', rule: 'invoices' });
    expect(judge(candidate({ only: [], except: [withFile] }), header(), null)).toEqual({ kind: 'undecided' });
    expect([large, invoices, withFile].map((one) => depthOf({ only: [], except: [one] }))).toEqual([
      'metadata',
      'header',
      'message',
    ]);
  });

  test('what is known early is never decided otherwise by the whole message', () => {
    const conditions = fc.record(
      {
        subject: fc.constantFrom({ contains: 'invoice' }, { contains: 'x' }),
        largerThan: fc.constantFrom(1, 9999),
        list: fc.boolean(),
        attachment: fc.boolean(),
        olderThan: fc.constantFrom(DAY, 100 * DAY),
      },
      { requiredKeys: [] },
    );
    const rules = (prefix: string) =>
      fc
        .array(conditions, { maxLength: 3 })
        .map((all) => all.map((each, index) => rule(`${prefix}${index}`, each)));
    fc.assert(
      fc.property(rules('o'), rules('e'), fc.boolean(), fc.boolean(), (only, except, list, attachments) => {
        const filter = { only, except };
        const facts = header({ list });
        const whole = judge(candidate(filter), facts, attachments);
        expect(whole.kind).not.toBe('undecided');
        if (whole.kind === 'filtered') expect(reasonsOf(filter)).toContain(whole.rule);
        for (const early of [judge(candidate(filter), null, null), judge(candidate(filter), facts, null)])
          if (early.kind !== 'undecided') expect(early).toEqual(whole);
      }),
    );
  });
});

test.each([
  ['(a+)+$', `${'a'.repeat(50_000)}!`],
  ['(?:a|a)*b', 'a'.repeat(50_000)],
  ['(.*)(.*)(.*)x$', 'y'.repeat(50_000)],
])('%s ends, whatever the text is', (source, subject) => {
  expect(takes({ subject: pattern(source) }, header({ subject }))).toBe(false);
});

test('an expression that has more text than it is tried on leaves nothing out, whatever it is and on either side', () => {
  const fields = Array.from({ length: 50_000 }, () => ['X-A', 'x'.repeat(100)] as const);
  const recipients = Array.from({ length: 5000 }, (_, index) => `user-${index}@lists.example.org`);
  const facts = header({ fields, recipients });
  for (const asked of [
    rule('r', { headers: [{ name: 'x-a', test: pattern('(x+x+)+y') }] }),
    rule('r', { recipient: pattern('^user-4999@') }),
    rule('r', { subject: pattern('x$') }),
  ])
    for (const filter of [
      { only: [asked], except: [] },
      { only: [], except: [asked] },
    ]) {
      const subject = 'x'.repeat(70_000);
      expect(judge(candidate(filter), { ...facts, subject }, false)).toEqual({ kind: 'undecided' });
    }
});
