/** Labels and ids that extensions tell: taken where a server has them, in each way a message comes, and nowhere asked for else. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { extensionsOf } from '../../src/mailbox/extensions.ts';
import { MANNERS } from '../servers/providers.ts';
import { createHarness, mail } from './harness.ts';

/** Too large for the beginnings that are asked for unseen, and for one literal. */
const LARGE = `${mail('large')}${'x'.repeat(76)}\r\n`.padEnd(200_000, 'y');
const HUGE = `${mail('huge')}`.padEnd(5 * 1024 * 1024, 'z');

const GMAIL = {
  'X-GM-MSGID': '1278455344230334865',
  'X-GM-THRID': '1266894439832287888',
  'X-GM-LABELS': '("\\\\Inbox" Invoices "Entw&APw-rfe" "a \\"b\\"")',
};
const GMAIL_TOLD = {
  gmail: {
    labels: ['\\Inbox', 'Invoices', 'Entwürfe', 'a "b"'],
    messageId: '1278455344230334865',
    threadId: '1266894439832287888',
  },
};

test('Gmail: labels and ids of small, large and huge messages', async () => {
  await using harness = await createHarness({ capabilities: MANNERS.gmail!.capabilities });
  const { server, intake } = harness;
  const plain = { ...GMAIL, 'X-GM-LABELS': '("\\\\Inbox" Invoices)' };
  server.deliver('INBOX', mail('small'), { items: GMAIL });
  server.deliver('INBOX', mail('fast'), { items: plain });
  server.deliver('INBOX', LARGE, { items: GMAIL });
  server.deliver('INBOX', HUGE, { items: GMAIL });
  await harness.watch();
  await server.idle();
  const told = new Map(intake.published.map(({ uid, extensions }) => [uid, extensions]));
  for (const uid of [1, 3, 4]) expect(told.get(uid)).toEqual(GMAIL_TOLD);
  expect(told.get(2)).toEqual({ gmail: { ...GMAIL_TOLD.gmail, labels: ['\\Inbox', 'Invoices'] } });
});

test('OBJECTID: ids of small and large messages, and none where there is none', async () => {
  await using harness = await createHarness({ capabilities: MANNERS.yahoo!.capabilities });
  const { server, intake } = harness;
  const items = { EMAILID: '(M6d99ac3275bb4e)', THREADID: '(T64b478a75b7ea9)' };
  server.deliver('INBOX', mail('small'), { items });
  server.deliver('INBOX', mail('without'), { items: { ...items, THREADID: 'NIL' } });
  server.deliver('INBOX', LARGE, { items });
  await harness.watch();
  await server.idle();
  const told = new Map(intake.published.map(({ uid, extensions }) => [uid, extensions]));
  for (const uid of [1, 3])
    expect(told.get(uid)).toEqual({ emailId: 'M6d99ac3275bb4e', threadId: 'T64b478a75b7ea9' });
  expect(told.get(2)).toEqual({ emailId: 'M6d99ac3275bb4e' });
});

test('a server without either is asked for what it always was, and nothing is told', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('small'), { items: { ...GMAIL, EMAILID: '(M1)' } });
  server.deliver('INBOX', LARGE);
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ extensions }) => extensions)).toEqual([undefined, undefined]);
  const fetches = server.commands.filter((command) => command.startsWith('UID FETCH'));
  expect(fetches.length).toBeGreaterThan(0);
  for (const fetch of fetches) expect(fetch).not.toMatch(/X-GM|EMAILID|THREADID/);
});

describe('what a server tells is taken as far as its document promises it', () => {
  test.each([
    ['an empty id', { emailId: '' }],
    ['an id that is too long', { emailId: 'M'.repeat(256) }],
    ['an id with a path in it', { emailId: '../x', threadId: 'a b' }],
  ])('%s', (_, row) => {
    expect(extensionsOf({ uid: 1, ...row }, true)).toEqual({});
  });

  test('Gmail ids that are no numbers, and those of OBJECTID, are no ids of Gmail', () => {
    const labels = new Set(['a']);
    const none = { gmail: { labels: ['a'], messageId: null, threadId: null } };
    expect(
      extensionsOf({ uid: 1, labels, emailId: '-1', threadId: '9'.repeat(21) }, false).extensions,
    ).toEqual(none);
    expect(extensionsOf({ uid: 1, labels, emailId: '12' }, true).extensions).toEqual({
      emailId: '12',
      ...none,
    });
  });

  test('labels are bounded in number and length, and text', () => {
    const property = fc.property(
      fc.array(fc.string({ unit: 'binary', maxLength: 400 }), { maxLength: 400 }),
      (labels) => {
        const told =
          extensionsOf({ uid: 1, labels: new Set([...labels, '\ud800\0x']) }, false).extensions?.gmail
            ?.labels ?? [];
        expect(told.length).toBeLessThanOrEqual(200);
        for (const label of told) {
          expect(label.length).toBeLessThanOrEqual(255);
          expect(label.isWellFormed() && !label.includes('\0') && label !== '').toBe(true);
        }
      },
    );
    fc.assert(property);
  });
});
