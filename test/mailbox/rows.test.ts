/** Rows that are read without imapflow: what servers usually send is, and whatever is read is what imapflow reads. */
import fc from 'fast-check';
import parser from 'imapflow/lib/handler/imap-parser.js';
import { formatMessageResponse } from 'imapflow/lib/tools.js';
import { expect, test } from 'vitest';
import { type Row, readRow } from '../../src/mailbox/rows.ts';

/** As imapflow's stream gives a response: its text, and the bytes of its literals apart. */
interface Response {
  payload: Buffer;
  literals: Buffer[];
}

async function byImapflow({ payload, literals }: Response): Promise<Row> {
  const mailbox = { path: 'INBOX', uidNext: 1 } as Parameters<typeof formatMessageResponse>[1];
  const row: Row = await formatMessageResponse(await parser(payload, { literals }), mailbox);
  const { uid, size, internalDate, flags, source, headers, partialOrigins, emailId, threadId, labels } = row;
  return { uid, size, internalDate, flags, source, headers, partialOrigins, emailId, threadId, labels };
}

const response = (text: string, ...literals: Buffer[]): Response => ({
  payload: Buffer.from(text, 'latin1'),
  literals,
});
const read = ({ payload, literals }: Response) => readRow(payload, literals);

const source = Buffer.from('Subject: x\r\n\r\ny) {3}\r\n');
const DATE = 'INTERNALDATE "20-Nov-2026 10:00:02 +0000"';

test.each([
  ['Dovecot', `UID 5 FLAGS (\\Seen $Forwarded) ${DATE} RFC822.SIZE 22 BODY[]<0> {22}\r\n`],
  ['Cyrus', `FLAGS () UID 5 ${DATE} RFC822.SIZE 22 BODY[]<0> {22}\r\n`],
  ['Gmail', `X-GM-MSGID 1278455344230334865 UID 5 RFC822.SIZE 22 ${DATE} FLAGS (\\Seen) BODY[]<0> {22}\r\n`],
  [
    'Gmail with labels',
    `X-GM-THRID 1266894439832287888 X-GM-MSGID 1278455344230334865 X-GM-LABELS ("\\\\Inbox" "\\\\Sent" Important "Muy \\"I\\"") UID 5 RFC822.SIZE 22 ${DATE} FLAGS (\\Seen) BODY[]<0> {22}\r\n`,
  ],
  ['Gmail without any', `X-GM-LABELS () UID 5 FLAGS () ${DATE} BODY[]<0> {22}\r\n`],
  ['one with threads', `UID 5 EMAILID (M6d99) THREADID (T64b4) FLAGS () ${DATE} BODY[] {22}\r\n`],
  ['one without', `UID 5 EMAILID (M6d99) THREADID NIL FLAGS () ${DATE} BODY[] {22}\r\n`],
  ['one with OBJECTID', `EMAILID (M6d99ac3275bb4e) UID 5 FLAGS () ${DATE} BODY[] {22}\r\n`],
  ['the body first', `BODY[] {22}\r\n UID 5 FLAGS (NonJunk) ${DATE} RFC822.SIZE 22`],
  ['the body alone', 'UID 4294967295 BODY[] {22}\r\n'],
])('a row of %s', async (_, items) => {
  const row = response(`* 1 FETCH (${items})`, source);
  expect(read(row)).toEqual(await byImapflow(row));
});

test.each([
  ['a body that is NIL', 'UID 5 BODY[] NIL'],
  ['a quoted body', 'UID 5 BODY[] "x"'],
  ['a header', 'UID 5 BODY[HEADER] {22}\r\n'],
  ['a later part', 'UID 5 BODY[]<1024> {22}\r\n'],
  ['no UID', 'FLAGS () BODY[] {22}\r\n'],
  ['no date', 'UID 5 INTERNALDATE "20-Xyz-2026 10:00:02 +0000" BODY[] {22}\r\n'],
  ['an item that nobody asked for', 'UID 5 MODSEQ (7) BODY[] {22}\r\n'],
  ['a label in modified UTF-7', 'X-GM-LABELS ("Entw&APw-rfe") UID 5 BODY[] {22}\r\n'],
  ['a label that may be NIL', 'X-GM-LABELS (NIL) UID 5 BODY[] {22}\r\n'],
  ['a label in a list', 'X-GM-LABELS (("Work")) UID 5 BODY[] {22}\r\n'],
  ['no end', 'UID 5 BODY[] {22}\r\n '],
  ['something behind its end', 'UID 5 BODY[] {22}\r\n) ('],
])('%s is left to imapflow', (_, items) => {
  expect(read(response(`* 1 FETCH (${items})`, source))).toBeNull();
});

test('two literals, or none, are left to imapflow', () => {
  const text = '* 1 FETCH (UID 5 BODY[] {22}\r\n)';
  expect(read(response(text))).toBeNull();
  expect(read(response(text, source, source))).toBeNull();
});

const number = fc.oneof(fc.nat(5), fc.integer({ min: 0, max: 2 ** 33 }));
const date = fc.stringMatching(
  /^[ 0-3]\d-(Jan|Feb|Dec|Mai)-[12]\d{3} [012][0-4]:[0-5]\d:[0-6]\d [+-][01]\d{3}$/,
);
const flag = fc.oneof(
  fc.constantFrom('\\Seen', '$Forwarded', 'Junk', 'nil', '1234'),
  fc.stringMatching(/^[\w$.-]{3,6}$/),
);
const odd = fc.constantFrom(
  'X-GM-MSGID 12784553442303',
  'X-GM-THRID 12668944398322',
  'X-GM-LABELS ("\\\\Inbox" Work "a b" "NIL" "")',
  'X-GM-LABELS (Work \\Inbox "a\\"b" "a\\\\b")',
  'X-GM-LABELS ()',
  'EMAILID (M6d99)',
  'EMAILID (12345)',
  'THREADID (T64b-_4)',
  'THREADID NIL',
  'MODSEQ (7)',
  'ENVELOPE NIL',
  'BODY[] ""',
  'uid 7',
);
const body = fc.constantFrom(
  'BODY[]',
  'BODY[]',
  'BODY[]<0>',
  'BODY[]<0>',
  'BODY[]<7>',
  'BODY[1]',
  'BODY[HEADER]',
  'body[]',
);
/** Items as they are asked for, in any order, and sometimes one that is not. */
const items = fc
  .tuple(
    number.map((uid) => `UID ${uid}`),
    number.map((size) => `RFC822.SIZE ${size}`),
    date.map((text) => `INTERNALDATE "${text}"`),
    fc.array(flag).map((flags) => `FLAGS (${flags.join(' ')})`),
    body.map((name) => `${name} {22}\r\n`),
    odd,
  )
  .chain((all) => fc.shuffledSubarray(all, { minLength: 2 }));
const damage = fc.option(fc.tuple(fc.nat(), fc.constantFrom(...'* ()[]{}<>"\\\r\n%7aé\0', '')), { freq: 1 });

test('what is read is what imapflow reads', async () => {
  let taken = 0;
  const property = fc.asyncProperty(items, damage, async (some, hit) => {
    const whole = `* 1 FETCH (${some.join(' ')})`;
    const at = hit === null ? whole.length : hit[0] % whole.length;
    const row = response(whole.slice(0, at) + (hit?.[1] ?? '') + whole.slice(at + 1), source);
    const mine = read(row);
    if (mine === null) return;
    taken += 1;
    expect(mine).toEqual(await byImapflow(row));
  });
  await fc.assert(property, { numRuns: 10_000 });
  // Some 450, by chance.
  expect(taken).toBeGreaterThan(200);
});
