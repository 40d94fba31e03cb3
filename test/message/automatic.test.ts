/** `automatic`: bounces, receipts, vacation notices and other mail of programs, in the forms that they come in. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { automaticKind } from '../../src/message/automatic.ts';
import { mail, parsed, plain, utf8 } from './helpers.ts';

const automaticOf = (...fields: string[]) => parsed(plain(fields, 'text')).automatic;
const kindOf = (...fields: string[]) => automaticOf(...fields)?.kind;

/** A report of one part for people, and one for programs. */
function report(type: string, fields: string[], ...status: string[]): Buffer {
  return mail(
    ...fields,
    'Date: Fri, 20 Nov 2026 11:00:00 +0100',
    `Content-Type: multipart/report; report-type=${type};`,
    '\tboundary="b/relay.example.org"',
    '',
    '--b/relay.example.org',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    'for people',
    '--b/relay.example.org',
    `Content-Type: message/${type}`,
    '',
    ...status,
    '',
    '--b/relay.example.org--',
    '',
  );
}

const NOTHING = {
  finalRecipient: null,
  originalRecipient: null,
  action: null,
  status: null,
  diagnosticCode: null,
  remoteMta: null,
};

describe('bounces', () => {
  test('of Postfix: two recipients, folded diagnostics', () => {
    const message = report(
      'delivery-status',
      [
        'Return-Path: <>',
        'From: MAILER-DAEMON@relay.example.org (Mail Delivery System)',
        'Subject: Undelivered Mail Returned to Sender',
        'Auto-Submitted: auto-replied',
      ],
      'Reporting-MTA: dns; relay.example.org',
      'X-Postfix-Queue-ID: C06EAE01B0',
      'X-Postfix-Sender: rfc822; ann@example.org',
      'Arrival-Date: Fri, 20 Nov 2026 10:59:58 +0100 (CET)',
      '',
      'Final-Recipient: rfc822; bob@example.net',
      'Original-Recipient: rfc822;bob@example.com',
      'Action: failed',
      'Status: 5.2.2',
      'Remote-MTA: dns; mx.example.net',
      'Diagnostic-Code: smtp; 552 5.2.2 <bob@example.net>: Recipient address rejected:',
      '    Mailbox quota exceeded',
      '',
      'Final-Recipient: rfc822; carl@nowhere.example',
      'Action: failed',
      'Status: 5.4.4',
      'Diagnostic-Code: X-Postfix; Host or domain name not found. Name service error for',
      '    name=nowhere.example type=AAAA: Host not found',
    );
    const document = parsed(message);
    expect(document.automatic).toEqual({
      kind: 'bounce',
      recipients: [
        {
          finalRecipient: 'bob@example.net',
          originalRecipient: 'bob@example.com',
          action: 'failed',
          status: '5.2.2',
          diagnosticCode: '552 5.2.2 <bob@example.net>: Recipient address rejected: Mailbox quota exceeded',
          remoteMta: 'mx.example.net',
        },
        {
          ...NOTHING,
          finalRecipient: 'carl@nowhere.example',
          action: 'failed',
          status: '5.4.4',
          diagnosticCode:
            'Host or domain name not found. Name service error for name=nowhere.example type=AAAA: Host not found',
        },
      ],
    });
    expect(document.attachments.map(({ contentType }) => contentType)).toEqual(['message/delivery-status']);
  });

  test('of Exchange: no fields but the needed ones, blank lines more than one', () => {
    const message = report(
      'delivery-status',
      [
        'From: <postmaster@example.org>',
        'Subject: Undeliverable: offer',
        'Auto-Submitted: auto-replied',
        'X-MS-Exchange-Message-Is-Ndr:',
      ],
      'Reporting-MTA: dns;AM0PR01MB0001.prod.example.org',
      'Received-From-MTA: dns;AM0PR01MB0002.prod.example.org',
      'Arrival-Date: Fri, 20 Nov 2026 10:00:00 +0000',
      '',
      '',
      'Final-Recipient: rfc822;nobody@example.org',
      'Action: failed',
      'Status: 5.1.10',
      'Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient nobody@example.org not found by SMTP address lookup',
      'X-Display-Name: Nobody',
    );
    expect(parsed(message).automatic?.recipients).toEqual([
      {
        ...NOTHING,
        finalRecipient: 'nobody@example.org',
        action: 'failed',
        status: '5.1.10',
        diagnosticCode:
          '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient nobody@example.org not found by SMTP address lookup',
      },
    ]);
  });

  test('of Gmail: a delay, the fields after the part for people in HTML', () => {
    const message = report(
      'delivery-status',
      [
        'Return-Path: <>',
        'From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>',
        'X-Failed-Recipients: bob@example.net',
        'Subject: Delivery Status Notification (Delay)',
        'Auto-Submitted: auto-replied',
      ],
      'Reporting-MTA: dns; googlemail.com',
      '',
      'Final-Recipient: rfc822; bob@example.net',
      'Action: delayed',
      'Status: 4.4.1',
      'Diagnostic-Code: smtp; The recipient server did not accept our requests to connect.',
      'Last-Attempt-Date: Fri, 20 Nov 2026 02:00:00 -0800 (PST)',
      'Will-Retry-Until: Sun, 22 Nov 2026 02:00:00 -0800 (PST)',
    );
    expect(parsed(message).automatic?.recipients).toMatchObject([{ action: 'delayed', status: '4.4.1' }]);
  });

  test('of Exim before 4.83: free text, recipients in the header', () => {
    expect(
      automaticOf(
        'Return-path: <>',
        'X-Failed-Recipients: bob@example.net,',
        '  carl@example.net',
        'Auto-Submitted: auto-replied',
        'From: Mail Delivery System <Mailer-Daemon@mx.example.org>',
        'Subject: Mail delivery failed: returning message to sender',
      ),
    ).toEqual({
      kind: 'bounce',
      recipients: [
        { ...NOTHING, finalRecipient: 'bob@example.net', action: 'failed' },
        { ...NOTHING, finalRecipient: 'carl@example.net', action: 'failed' },
      ],
    });
  });

  test('of qmail: free text for people only', () => {
    const message = mail(
      'Return-Path: <>',
      'Received: (qmail 1234 invoked for bounce); 20 Nov 2026 10:00:00 -0000',
      'Date: 20 Nov 2026 10:00:00 -0000',
      'From: MAILER-DAEMON@mx.example.org',
      'To: ann@example.org',
      'Subject: failure notice',
      '',
      'Hi. This is the qmail-send program at mx.example.org.',
      "I'm afraid I wasn't able to deliver your message to the following addresses.",
      '',
      '<bob@example.net>:',
      "Sorry, I couldn't find any host named example.net. (#5.1.2)",
      '',
    );
    expect(parsed(message).automatic).toEqual({ kind: 'bounce', recipients: [] });
  });

  test('RFC 6533: of an address that is not ASCII', () => {
    const message = report(
      'delivery-status',
      ['From: MAILER-DAEMON@example.org'],
      'Reporting-MTA: dns; example.org',
      '',
      utf8('Final-Recipient: utf-8; jörg@exämple.example'),
      'Action: failed',
      'Status: 5.1.1 (unknown user)',
    );
    expect(parsed(message).automatic?.recipients).toEqual([
      { ...NOTHING, finalRecipient: 'jörg@exämple.example', action: 'failed', status: '5.1.1' },
    ]);
  });

  test('fields in base64, a line between that is none, and text under the type of the report', () => {
    const status = Buffer.from(
      'Reporting-MTA: dns; a\n\nFinal-Recipient: RFC822; <b@c>\nno field\n\nAction: failed\n\nOriginal-Recipient: d@e\n',
    );
    const message = plain(
      ['Content-Type: multipart/report; boundary=b; report-type="delivery-status"'],
      '--b',
      'Content-Type: message/delivery-status',
      '',
      'This message was undeliverable due to the following reason:',
      '',
      '--b',
      'Content-Type: message/delivery-status',
      'Content-Transfer-Encoding: base64',
      '',
      status.toString('base64'),
      '--b--',
      '',
    );
    expect(parsed(message).automatic?.recipients).toEqual([
      { ...NOTHING, finalRecipient: 'b@c' },
      { ...NOTHING, originalRecipient: 'd@e' },
    ]);
  });

  test('one that was forwarded is an attachment, not a bounce', () => {
    const inner = report(
      'delivery-status',
      ['From: MAILER-DAEMON@a.example'],
      'Final-Recipient: rfc822; b@c',
    );
    const document = parsed(plain(['Content-Type: message/rfc822'], inner.toString('latin1')));
    expect(document).not.toHaveProperty('automatic');
  });

  test('of many recipients 1,000 are given, of a long diagnostic its beginning', () => {
    const groups = Array.from({ length: 1001 }, (_, n) => ['', `Final-Recipient: rfc822; ${n}@example.org`]);
    const many = parsed(report('delivery-status', [], 'Reporting-MTA: dns; a', ...groups.flat()));
    expect(many.automatic?.recipients).toHaveLength(1000);
    expect(many.warnings).toContain('report-cut');

    const long = ['Final-Recipient: rfc822; a@b', `Diagnostic-Code: smtp; ${'x'.repeat(10_000)}`];
    const cut = parsed(report('delivery-status', [], ...long));
    expect(cut.automatic?.recipients?.[0]?.diagnosticCode?.length).toBeLessThan(4097);
    expect(cut.warnings).toContain('report-cut');

    const large = parsed(report('delivery-status', [], 'x: y\r\n\r\n'.repeat(200_000)));
    expect(large.automatic).toEqual({ kind: 'bounce', recipients: [] });
    expect(large.warnings).toContain('report-cut');
  });
});

describe('disposition notifications', () => {
  test('of Thunderbird', () => {
    const message = report(
      'disposition-notification',
      ['From: Bob <bob@example.net>', 'Subject: Return Receipt (displayed) - offer'],
      'Reporting-UA: bob.example.net; Thunderbird 140.0',
      'Final-Recipient: rfc822;bob@example.net',
      'Original-Message-ID: <a@example.org>',
      'Disposition: manual-action/MDN-sent-manually; displayed',
    );
    expect(parsed(message).automatic).toEqual({
      kind: 'disposition-notification',
      disposition: {
        finalRecipient: 'bob@example.net',
        originalRecipient: null,
        originalMessageId: 'a@example.org',
        type: 'displayed',
        mode: 'manual-action/mdn-sent-manually',
      },
    });
  });

  test('of Exchange: deleted unread', () => {
    const message = report(
      'disposition-notification',
      ['From: bob@example.net', 'Subject: Not read: offer', 'Return-Path: <>'],
      'Final-recipient: RFC822; bob@example.net',
      'Disposition: automatic-action/MDN-sent-automatically; deleted',
      'X-MSExch-Correlation-Key: Z3Q=',
      'Original-Message-ID: <a@example.org>',
    );
    expect(parsed(message).automatic?.disposition).toMatchObject({
      type: 'deleted',
      originalMessageId: 'a@example.org',
    });
  });

  test('that is for people only', () => {
    expect(automaticOf('Content-Type: multipart/report; report-type=disposition-notification')).toEqual({
      kind: 'disposition-notification',
      disposition: null,
    });
  });
});

const EXCHANGE_RULE = 'X-MS-Exchange-Inbox-Rules-Loop: bob@example.net';

test.each<[string, string | undefined, string[]]>([
  [
    'a vacation notice of Sieve (RFC 5230)',
    'auto-reply',
    ['Return-Path: <>', 'Auto-Submitted: auto-replied (vacation)'],
  ],
  [
    'one of a postmaster who is away',
    'auto-reply',
    ['Return-Path: <>', 'From: postmaster@a.b', 'Auto-Submitted: auto-replied'],
  ],
  ['one of Gmail', 'auto-reply', ['Precedence: bulk', 'X-Autoreply: yes', 'Auto-Submitted: auto-replied']],
  [
    'one of Exchange',
    'auto-reply',
    [
      'X-Auto-Response-Suppress: All',
      EXCHANGE_RULE,
      'auto-submitted: auto-generated',
      'x-ms-exchange-generated-message-source: Mailbox Rules Agent',
    ],
  ],
  ['one of Exchange 2010', 'auto-reply', ['X-Auto-Response-Suppress: All', EXCHANGE_RULE]],
  [
    'one of cPanel',
    'auto-reply',
    ['X-Autorespond: offer', 'X-Precedence: auto_reply', 'Precedence: auto_reply'],
  ],
  ['what Exchange only redirected', undefined, [EXCHANGE_RULE]],
  ['what wants no answer', undefined, ['X-Auto-Response-Suppress: DR, OOF, AutoReply']],
  ['what says that it is not automatic', undefined, ['Auto-Submitted: no', 'X-Autoreply: no']],
  ['a journal report', 'auto-generated', ['Auto-Submitted: auto-generated']],
  [
    'a notification of Sieve (RFC 5436)',
    'auto-generated',
    ['Auto-Submitted: auto-notified; owner-email="a@b"'],
  ],
  [
    'an abuse report (RFC 5965)',
    'auto-generated',
    ['Content-Type: multipart/report; report-type=feedback-report; boundary=b'],
  ],
  ['a notification without a reverse path', 'auto-generated', ['Return-Path: <>']],
  [
    'a ticket system that posts to a list',
    'auto-generated',
    ['List-Id: <a.b>', 'Auto-Submitted: auto-generated'],
  ],
  ['a newsletter', 'list', ['Precedence: bulk', 'List-Unsubscribe: <mailto:a@b>']],
  ['a mailing list', 'list', ['Precedence: list']],
  ['bulk mail', 'bulk', ['Precedence: junk']],
  [
    'a person',
    undefined,
    ['Return-Path: <ann@example.org>', 'Subject: out of office', 'Precedence: first-class'],
  ],
  [
    'who calls herself a daemon',
    undefined,
    ['Return-Path: <ann@example.org>', 'Sender: mailer-daemon@example.org'],
  ],
])('%s: %s', (_, kind, fields) => {
  expect(kindOf(...fields)).toBe(kind);
});

test('From alone makes a bounce only where the reverse path does not speak against it', () => {
  const from = 'From: "Mail Delivery" <MAILER-DAEMON@example.org>';
  const date = 'Date: Fri, 20 Nov 2026 11:00:00 +0100';
  const kind = (...fields: string[]) => parsed(mail(...fields, date, '', '')).automatic?.kind;
  expect(kind(from)).toBe('bounce');
  expect(kind(from, 'Return-Path: <MAILER-DAEMON>')).toBe('bounce');
  expect(kind(from, 'Return-Path: <ann@example.org>')).toBeUndefined();
  expect(kind('From: postmaster@example.org')).toBeUndefined();
  expect(kind('From: postmaster@example.org', 'Return-Path: <>')).toBe('bounce');
});

test('is told by the header alone, as filters do', () => {
  expect(automaticKind((key) => (key === 'auto-submitted' ? ['auto-replied'] : []))).toBe('auto-reply');
  expect(automaticKind(() => [])).toBeNull();
});

test('any bytes in a report give a valid document', () => {
  const line = fc.oneof(
    fc.constantFrom(
      '',
      ' ',
      'Final-Recipient: ',
      'Action: failed',
      'Status: 5',
      'Disposition:;;',
      '--b',
      'x',
      ':',
      ';',
    ),
    fc.string(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('latin1')),
  );
  const type = fc.constantFrom('delivery-status', 'disposition-notification');
  fc.assert(
    fc.property(type, fc.array(line.map((text) => text.replaceAll(/[^\0-\xff]/g, '?'))), (kind, lines) => {
      expect(parsed(report(kind, [], ...lines)).automatic).toBeDefined();
    }),
  );
});
