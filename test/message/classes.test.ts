/** Each class of broken mail that mailparser alone gets wrong (DESIGN, Parsing) is mended, and says so. */
import { describe, expect, test } from 'vitest';
import type { WarningCode } from '../../src/message/warnings.ts';
import { mail, type Parsed, parsed, plain, utf8 } from './helpers.ts';

interface Case {
  name: string;
  message: Buffer;
  /** What the document must hold. */
  holds: Partial<Parsed>;
  warns: WarningCode[];
}

const PDF = Buffer.from('%PDF-1.4 content').toString('base64');
const multipart = (type = 'mixed', boundary = 'b') => [
  `Content-Type: multipart/${type}; boundary="${boundary}"`,
];
const pdf = ['Content-Type: application/pdf; name=a.pdf', 'Content-Transfer-Encoding: base64', '', PDF];
const summary = (...filenames: (string | null)[]) =>
  filenames.map((filename) => expect.objectContaining({ filename })) as never;

const cases: Record<string, Case[]> = {
  'white space after a boundary line': [' ', '\t', ' \t  '].map((space) => ({
    name: JSON.stringify(space),
    message: plain(
      multipart(),
      `--b${space}`,
      '',
      'text',
      `--b${space}`,
      ...pdf,
      `--b--${space}`,
      'epilogue',
    ),
    holds: { body: 'text', attachments: summary('a.pdf') },
    warns: ['boundary-padding'],
  })),
  'inner multipart never closed': [
    {
      name: 'an outer part follows',
      message: plain(
        multipart('mixed', 'outer'),
        '--outer',
        ...multipart('alternative', 'inner'),
        '',
        '--inner',
        'Content-Type: text/plain',
        '',
        'text',
        '--outer',
        ...pdf,
        '--outer--',
      ),
      holds: { body: 'text', attachments: summary('a.pdf') },
      warns: ['multipart-unclosed'],
    },
    {
      name: 'the outer one closes',
      message: plain(
        multipart('mixed', 'outer'),
        '--outer',
        ...multipart('related', 'inner'),
        '',
        '--inner',
        'Content-Type: text/html',
        '',
        '<p>text</p>',
        '--inner',
        ...pdf,
        '--outer--',
        'epilogue',
      ),
      holds: { html: '<p>text</p>', body: 'text', attachments: summary('a.pdf') },
      warns: ['multipart-unclosed'],
    },
    {
      name: 'the inner boundary is content once the outer one has ended it',
      message: plain(
        multipart('mixed', 'outer'),
        '--outer',
        ...multipart('alternative', 'inner'),
        '',
        '--inner',
        '',
        'text',
        '--outer',
        '',
        'quoted:',
        '--inner',
        'end',
        '--outer--',
      ),
      holds: { body: 'text\nquoted:\n--inner\nend' },
      warns: ['multipart-unclosed'],
    },
    {
      name: 'nothing is closed',
      message: plain(multipart(), '--b', '', 'text', '--b', ...pdf),
      holds: { body: 'text', attachments: summary('a.pdf') },
      warns: ['multipart-unclosed'],
    },
  ],
  'last boundary without line end at end of file': ['--b--', '--b'].map((last) => ({
    name: last,
    message: plain(multipart(), '--b', 'Content-Type: application/octet-stream', '', 'bytes', last),
    holds: { contents: [Buffer.from('bytes')].concat(last === '--b' ? [] : []) },
    warns: ['boundary-at-end'],
  })),
  'multipart/digest': [
    {
      name: 'no header at all',
      message: plain(multipart('digest'), '--b', '', 'Subject: inner', '', 'text', '--b--', ''),
      holds: { body: '', contents: [mail('Subject: inner', '', 'text')] },
      warns: ['digest-default', 'message-attached'],
    },
    {
      name: 'a header without a type, in a multipart/mixed',
      message: plain(
        multipart('mixed', 'o'),
        '--o',
        ...multipart('digest', 'i'),
        '',
        '--i',
        'Content-Description: first',
        '',
        'Subject: one',
        '',
        '--i',
        '',
        'Subject: two',
        '',
        '--i--',
        '--o--',
        '',
      ),
      holds: {
        attachments: [
          expect.objectContaining({ contentType: 'message/rfc822' }),
          expect.objectContaining({ contentType: 'message/rfc822' }),
        ] as never,
      },
      warns: ['digest-default'],
    },
  ],
  'unparsable or missing Date': [
    {
      name: 'missing',
      message: mail('From: a@b.example', '', ''),
      holds: { sentAt: null },
      warns: ['date-missing'],
    },
    ...[
      'yesterday',
      '',
      'Fri, 31 Feb 2026 11:00:00 +0100',
      '20 Nov 2026 25:00:00 +0000',
      'Tue, 7 Apr 2026 10:00:t <a@b>',
    ].map(
      (date): Case => ({
        name: date,
        message: mail('From: a@b.example', `Date: ${date}`, '', ''),
        holds: { sentAt: null },
        warns: ['date-invalid'],
      }),
    ),
    ...(
      [
        ['20 Nov 26 11:00 EST', '2026-11-20T11:00:00-05:00'],
        ['Fri, 20 Nov 2026 11:00:00 (noon (almost)) CET (Berlin)', '2026-11-20T11:00:00+01:00'],
        ['2026-11-20T11:00:00+01:00', '2026-11-20T11:00:00+01:00'],
        ['2026-11-20 11:00:00.123Z', '2026-11-20T11:00:00+00:00'],
        ['Fri Nov 20 11:00:00 2026', '2026-11-20T11:00:00Z'],
        ['November 20, 2026 11:00 PM +0200', '2026-11-20T23:00:00+02:00'],
        // Both reference parsers give up on these two; RFC 5322 §4.3 and appendix A.6.3 allow them.
        ['Fri, 21 Nov 1997 09(comment):   55  :  06 -0600', '1997-11-21T09:55:06-06:00'],
        ['16 May 2016 at 09:30:32  GMT+1', '2016-05-16T09:30:32+01:00'],
      ] as const
    ).map(
      ([date, sentAt]): Case => ({
        name: date,
        message: mail('From: a@b.example', `Date: ${date}`, '', ''),
        holds: { sentAt },
        warns: ['date-repaired'],
      }),
    ),
    ...['Fri, 20 Nov 2026 11:00:00', 'Fri, 20 Nov 2026 11:00:00 XYZ', 'Fri, 20 Nov 2026 11:00:00 +9999'].map(
      (date): Case => ({
        name: date,
        message: mail('From: a@b.example', `Date: ${date}`, '', ''),
        holds: { sentAt: '2026-11-20T11:00:00Z' },
        warns: ['date-zone-missing'],
      }),
    ),
  ],
  'duplicate From, Subject, Date, Message-ID': [
    {
      name: 'From',
      message: plain(['From: Mallory <m@evil.example>', 'FROM: x@evil.example'], ''),
      holds: { sender: { name: 'Ann', address: 'ann@example.org' } },
      warns: ['from-duplicate'],
    },
    {
      name: 'Subject',
      message: plain(['Subject: first', 'subject: second'], ''),
      holds: { subject: 'first' },
      warns: ['header-duplicate'],
    },
    {
      name: 'Date',
      message: plain(['Date: Sat, 21 Nov 2026 11:00:00 +0100'], ''),
      holds: { sentAt: '2026-11-20T11:00:00+01:00' },
      warns: ['header-duplicate'],
    },
    {
      name: 'Message-ID',
      message: plain(['Message-ID: <one@example.org>', 'Message-Id: <two@example.org>'], ''),
      holds: { messageId: 'one@example.org' },
      warns: ['header-duplicate'],
    },
  ],
  'obsolete and damaged beginnings': [
    {
      name: 'From :',
      message: mail('From : Ann <ann@example.org>', 'Subject\t: hello', '', 'text'),
      holds: { sender: { name: 'Ann', address: 'ann@example.org' }, subject: 'hello', body: 'text' },
      warns: ['header-name-space'],
    },
    {
      name: 'byte order mark',
      message: mail('\xef\xbb\xbfFrom: ann@example.org', 'Subject: hello', '', 'text'),
      holds: { subject: 'hello', sender: { name: null, address: 'ann@example.org' } },
      warns: ['bom'],
    },
    ...['\r\n\r\n', '\n', ' \r\n\t\r\n'].map(
      (blank): Case => ({
        name: `blank lines ${JSON.stringify(blank)}`,
        message: Buffer.concat([Buffer.from(blank), plain(['Subject: hello'], 'text')]),
        holds: { subject: 'hello', body: 'text' },
        warns: ['leading-blank-lines'],
      }),
    ),
    {
      name: 'CR only',
      message: Buffer.from(
        plain(['Subject: hello', ...multipart()], '--b', '', 'text', '--b--')
          .toString('latin1')
          .replaceAll('\r\n', '\r'),
      ),
      holds: { subject: 'hello', body: 'text' },
      warns: ['line-endings-cr'],
    },
    ...[
      'From ann@example.org Fri Nov 20 11:00:00 2026',
      '>From ann@example.org Fri Nov 20 11:00:00 2026',
    ].map(
      (line): Case => ({
        name: line,
        message: Buffer.concat([mail(line, ''), plain(['Subject: hello'], 'text')]),
        holds: { subject: 'hello', sender: { name: 'Ann', address: 'ann@example.org' } },
        warns: ['mbox-from-line'],
      }),
    ),
    {
      name: 'a line that is no field',
      message: mail('From: ann@example.org', 'garbage', 'Subject: hello', '', 'text'),
      holds: { subject: 'hello', body: 'text' },
      warns: ['header-malformed'],
    },
    {
      name: 'no blank line before the body',
      message: mail('Subject: hello', 'the text begins', 'and goes on'),
      holds: { subject: 'hello', body: 'the text begins\nand goes on' },
      warns: ['header-unended'],
    },
  ],
  'unquoted comma in a display name': [
    ['Doe, John <john@example.org>', 'Doe, John'],
    ['Doe, John, PhD <john@example.org>', 'Doe, John, PhD'],
  ].map(([from, name]) => ({
    name: from as string,
    message: mail(`From: ${from}`, '', ''),
    holds: { sender: { name: name as string, address: 'john@example.org' } },
    warns: ['address-comma'] as WarningCode[],
  })),
  'undeclared or mislabelled 8-bit text': [
    {
      name: 'UTF-8 without a charset',
      message: plain([`Subject: ${utf8('grüß')}`], utf8('schön')),
      holds: { subject: 'grüß', body: 'schön' },
      warns: ['charset-missing'],
    },
    {
      name: 'Windows-1252 without a charset',
      message: plain(['Subject: gr\xfc\xdf'], 'sch\xf6n \x80'),
      holds: { subject: 'grüß', body: 'schön €' },
      warns: ['charset-missing'],
    },
    {
      name: 'Windows-1252 called UTF-8',
      message: plain(['Content-Type: text/plain; charset=utf-8'], 'sch\xf6n'),
      holds: { body: 'schön' },
      warns: ['charset-wrong'],
    },
    {
      name: 'UTF-8 called ASCII',
      message: plain(['Content-Type: text/plain; charset=us-ascii'], utf8('schön')),
      holds: { body: 'schön' },
      warns: ['charset-wrong'],
    },
    {
      name: 'UTF-8 called EUC-KR',
      message: plain(['Content-Type: text/plain; charset=euc-kr'], utf8('日本語')),
      holds: { body: '日本語' },
      warns: ['charset-wrong'],
    },
    {
      name: 'unknown charset',
      message: plain(['Content-Type: text/plain; charset=x-klingon'], utf8('schön')),
      holds: { body: 'schön' },
      warns: ['charset-unknown'],
    },
    {
      name: 'KOI8-R without a charset, which the subject names',
      message: plain(['Subject: =?koi8-r?B?8NLJ18XU?='], '\xf0\xd2\xc9\xd7\xc5\xd4'),
      holds: { subject: 'Привет', body: 'Привет' },
      warns: ['charset-missing'],
    },
    {
      name: 'meta charset',
      message: plain(['Content-Type: text/html'], '<meta charset="windows-1251"><p>\xcf\xf0\xe8</p>'),
      holds: { body: 'При' },
      warns: ['charset-meta'],
    },
    {
      name: 'meta charset that says nothing',
      message: plain(['Content-Type: text/html'], '<meta charset="us-ascii">', utf8('<p>Grüße</p>')),
      holds: { body: 'Grüße' },
      warns: ['charset-missing'],
    },
    {
      name: 'meta http-equiv',
      message: plain(
        ['Content-Type: text/html'],
        '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-2"><p>\xb1</p>',
      ),
      holds: { body: 'ą' },
      warns: ['charset-meta'],
    },
    {
      name: 'ISO-2022-JP without a charset',
      message: plain([], '\x1b$B$3$s\x1b(B'),
      holds: { body: 'こん' },
      warns: ['charset-missing'],
    },
    {
      name: 'broken UTF-8 stays UTF-8',
      message: plain(['Content-Type: text/plain; charset=utf-8'], `${utf8('schön grüß')}\xff`),
      holds: { body: 'schön grüß\ufffd' },
      warns: ['charset-damaged'],
    },
    ...(
      [
        ['hz-gb-2312', '~{<:Ky2;S{~}a~~', '己所不欲a~'],
        ['iso-2022-kr', '\x1b$)C\x0e>H3g\x0f ok', '안녕 ok'],
        ['utf-7', 'Hi Mom -+Jjo--! +ZeVnLIqe-', 'Hi Mom -☺-! 日本語'],
        ['unicode-1-1-utf-7', '1 +- 1', '1 + 1'],
        ['utf-32be', '\0\0\0h\0\0\0i', 'hi'],
        ['utf-32le', 'h\0\0\0i\0\0\0', 'hi'],
      ] as const
    ).map(
      ([charset, bytes, body]): Case => ({
        name: charset,
        message: plain([`Content-Type: text/plain; charset=${charset}`], bytes),
        holds: { body },
        warns: ['charset-legacy'],
      }),
    ),
  ],
  'labels as the WHATWG reads them': (
    [
      ['iso-8859-1', '\x93quoted\x94 \x80', '“quoted” €'],
      ['latin1', '\x85', '…'],
      ['gb2312', '\x81\x40', '丂'],
    ] as const
  ).map(([charset, bytes, body]) => ({
    name: charset,
    message: plain([`Content-Type: text/plain; charset=${charset}`], bytes),
    holds: { body },
    warns: ['charset-superset'],
  })),
  'nested messages': [
    ...['', 'Content-Disposition: inline', 'Content-Disposition: attachment; filename=m.eml'].map(
      (disposition): Case => ({
        name: `message/rfc822 ${disposition}`,
        message: plain(
          multipart(),
          '--b',
          '',
          'outer',
          '--b',
          'Content-Type: message/rfc822',
          ...(disposition ? [disposition] : []),
          '',
          'Subject: inner',
          'Content-Type: multipart/mixed; boundary=c',
          '',
          '--c',
          '',
          'inner text',
          '--c--',
          '--b--',
          '',
        ),
        holds: {
          body: 'outer',
          attachments: [expect.objectContaining({ contentType: 'message/rfc822' })] as never,
          contents: [
            mail(
              'Subject: inner',
              'Content-Type: multipart/mixed; boundary=c',
              '',
              '--c',
              '',
              'inner text',
              '--c--',
            ),
          ],
        },
        warns: ['message-attached'],
      }),
    ),
    {
      name: 'delivery status',
      message: plain(
        multipart('report'),
        '--b',
        '',
        'It failed.',
        '--b',
        'Content-Type: message/delivery-status',
        '',
        'Reporting-MTA: dns; mx.example.org',
        '--b',
        'Content-Type: text/rfc822-headers',
        '',
        'Subject: yours',
        '--b--',
        '',
      ),
      holds: {
        body: 'It failed.',
        attachments: [
          expect.objectContaining({ contentType: 'message/delivery-status' }),
          expect.objectContaining({ contentType: 'text/rfc822-headers' }),
        ] as never,
        files: ['1-delivery-status.txt', '2-attachment'],
      },
      warns: ['message-attached'],
    },
  ],
  'application/octet-stream': ['report.pdf', 'PICTURE.JPG'].map((name) => ({
    name,
    message: plain([`Content-Type: application/octet-stream; name="${name}"`], 'bytes'),
    holds: {
      attachments: [
        expect.objectContaining({ contentType: 'application/octet-stream', filename: name }),
      ] as never,
    },
    warns: ['type-generic'],
  })),
  'uuencode as transfer encoding': ['x-uuencode', 'uuencode', 'X-UUE'].map((encoding) => ({
    name: encoding,
    message: plain(
      [
        'Content-Type: text/plain; name=cat.txt',
        'Content-Disposition: attachment',
        `Content-Transfer-Encoding: ${encoding}`,
      ],
      'begin 644 cat.txt',
      '#0V%T',
      '`',
      'end',
    ),
    holds: { contents: [Buffer.from('Cat')] },
    warns: ['encoding-uuencode'],
  })),
  'line breaks in decoded headers': [
    '=?utf-8?Q?one=0D=0Atwo?=',
    '=?utf-8?B?b25lCnR3bw==?=',
    '=?utf-8?q?one=0A_two?=',
  ].map((subject) => ({
    name: subject,
    message: plain([`Subject: ${subject}`], ''),
    holds: { subject: 'one two' },
    warns: ['header-line-break'],
  })),
  'a transfer encoding on a multipart': ['base64', 'quoted-printable'].map((encoding) => ({
    name: encoding,
    message: plain(
      [...multipart(), `Content-Transfer-Encoding: ${encoding}`],
      '--b',
      'Content-Transfer-Encoding: quoted-printable',
      '',
      'a =3D b',
      '--b--',
      '',
    ),
    holds: { body: 'a = b' },
    warns: ['encoding-ignored'],
  })),
  'non-ASCII addresses': ['grüße@exämple.org', '用户@例え.jp'].map((address) => ({
    name: address,
    message: mail(utf8(`From: ${address}`), '', ''),
    holds: { sender: { name: null, address } },
    warns: ['address-non-ascii'],
  })),
  'address comments and quoted local parts': [
    {
      name: 'comment in a domain',
      // The comment is white space: the domain is evil.example's (RFC 5322 §3.4.1, §4.4).
      message: mail('From: user@bank.com(x).evil.example', '', ''),
      holds: { sender: { name: 'x', address: 'user@bank.com.evil.example' } },
      warns: ['address-comment'],
    },
    {
      name: 'address in a comment',
      message: mail('From: Bank <user@evil.example> (ceo@bank.com)', '', ''),
      holds: { sender: { name: 'Bank', address: 'user@evil.example' } },
      warns: ['address-comment'],
    },
    {
      name: 'quoted local part',
      message: mail('From: "ceo@bank.com"@evil.example', '', ''),
      holds: { sender: { name: null, address: '"ceo@bank.com"@evil.example' } },
      warns: ['address-quoted-local'],
    },
    {
      name: 'encoded word that holds an address',
      message: mail('From: =?utf-8?Q?ceo=40bank.com_=3Cceo=40bank.com=3E?= <user@evil.example>', '', ''),
      holds: { sender: { name: 'ceo@bank.com <ceo@bank.com>', address: 'user@evil.example' } },
      warns: [],
    },
  ],
};

describe.each(Object.entries(cases))('%s', (_, list) => {
  test.each(list.map((one) => [one.name, one] as const))('%s', (_name, { message, holds, warns }) => {
    const document = parsed(message);
    expect(document).toMatchObject(holds);
    expect(document.warnings).toEqual(expect.arrayContaining(warns));
  });
});

test('a multipart inside of one with the same boundary ends itself only', () => {
  const inner = ['--b', ...multipart('alternative'), '', '--b', '', 'inner', '--b--'];
  const document = parsed(plain(multipart(), ...inner, '--b', ...pdf, '--b--', ''));
  expect(document).toMatchObject({ body: 'inner', attachments: summary('a.pdf'), warnings: [] });
});

test('well-formed mail warns of nothing', () => {
  const document = parsed(
    plain(
      [
        'To: "Doe, John" <john@example.org>',
        'Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=',
        'MIME-Version: 1.0',
        ...multipart(),
      ],
      '--b',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: quoted-printable',
      '',
      'Gr=C3=BC=C3=9Fe',
      '--b',
      ...pdf,
      '--b--',
      '',
    ),
  );
  expect(document).toMatchObject({
    warnings: [],
    subject: 'Grüße',
    body: 'Grüße',
    attachments: summary('a.pdf'),
  });
});
