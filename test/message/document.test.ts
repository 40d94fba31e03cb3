/** The document's fields: identity, addresses, ids, text and HTML, attachments and their file names. */
import { describe, expect, test } from 'vitest';
import { attachmentFile } from '../../src/message/attachments.ts';
import { keywordsOf } from '../../src/message/keywords.ts';
import type { MessageIdentity } from '../../src/model.ts';
import { mail, parsed, plain, utf8 } from './helpers.ts';

const identity: MessageIdentity = {
  account: 'support',
  folder: 'Kunden/Süd',
  id: 'Kunden_Sd~0a1b2c3d-1700000000-4711',
  uid: 4711,
  uidValidity: '1700000000.2',
  internalDate: Date.UTC(2026, 10, 20, 10, 0, 2, 999),
  flags: ['\\Seen'],
};

test('keys stand in the order of the Contract', () => {
  const { contents, files, ...document } = parsed(plain([], 'text'), { identity });
  expect(Object.keys(document)).toEqual(
    (
      'version id account folder uid uidValidity subject sender body html from to cc bcc replyTo messageId ' +
      'inReplyTo references sentAt receivedAt keywords attachments headers size sha256 source warnings'
    ).split(' '),
  );
  expect([contents, files]).toEqual([[], []]);
});

test('from a mailbox: identity, receivedAt without fractions, keywords', () => {
  expect(parsed(plain([], 'text'), { identity, source: 'x.eml' })).toMatchObject({
    id: 'Kunden_Sd~0a1b2c3d-1700000000-4711',
    account: 'support',
    folder: 'Kunden/Süd',
    uid: 4711,
    uidValidity: '1700000000.2',
    receivedAt: '2026-11-20T10:00:02Z',
    keywords: ['$seen'],
    source: 'x.eml',
  });
});

test('from a mailbox with extensions: what they tell stands behind the keywords', () => {
  const gmail = { labels: ['\\Inbox', 'Entwürfe'], messageId: '1278455344230334865', threadId: null };
  const extensions = { emailId: 'M6d99', threadId: 'T64b4', gmail };
  const document = parsed(plain([], 'text'), { identity: { ...identity, extensions } });
  expect(document).toMatchObject(extensions);
  const keys = Object.keys(document);
  const at = keys.indexOf('keywords');
  expect(keys.slice(at + 1, at + 5)).toEqual(['emailId', 'threadId', 'gmail', 'attachments']);
});

test('from parse: the id is the hash, and what a mailbox knows is null', () => {
  const document = parsed(plain([], 'text'));
  expect(document.id).toBe(document.sha256.slice(0, 16));
  expect(document).toMatchObject({
    account: null,
    folder: null,
    uid: null,
    uidValidity: null,
    receivedAt: null,
    keywords: [],
    source: null,
  });
});

test('bytes of every kind give a document', () => {
  for (const bytes of [
    '',
    '\n',
    '\r',
    '\0',
    ':',
    'a',
    '--',
    '\xff\xfe',
    'From ',
    'Content-Type: multipart/mixed',
    ' x',
    '=?',
  ]) {
    expect(parsed(mail(bytes)).version).toBe(1);
  }
});

test('the zone of the machine changes nothing', () => {
  const before = process.env.TZ;
  const message = mail('Date: Fri, 20 Nov 2026 11:00:00', '', '');
  const here = parsed(message, { identity });
  try {
    for (const zone of ['Pacific/Apia', 'America/St_Johns']) {
      process.env.TZ = zone;
      expect(parsed(message, { identity })).toEqual(here);
    }
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
});

test('RFC 8621 §4.1.1: keywords', () => {
  const flags = [
    '\\Seen',
    '\\FLAGGED',
    '\\Answered',
    '\\Draft',
    '\\Recent',
    '\\Deleted',
    '$MDNSent',
    'Junk',
    'junk',
    'a b',
    '',
  ];
  expect(keywordsOf(flags)).toEqual(['$seen', '$flagged', '$answered', '$draft', '$mdnsent', 'junk']);
});

describe('addresses', () => {
  test('groups are flattened, lists of one name are joined, names decoded', () => {
    const document = parsed(
      mail(
        'From: =?iso-8859-1?Q?J=F6rg?= <joerg@example.org>',
        'To: Team: a@example.org, "B, C" <b@example.org>;, c@example.org',
        'To: d@example.org',
        'Cc: undisclosed-recipients:;',
        'Reply-To: =?utf-8?Q?Doe,_John?= <r@example.org>',
        '',
        '',
      ),
    );
    expect(document).toMatchObject({
      sender: { name: 'Jörg', address: 'joerg@example.org' },
      to: [
        { name: null, address: 'a@example.org' },
        { name: 'B, C', address: 'b@example.org' },
        { name: null, address: 'c@example.org' },
        { name: null, address: 'd@example.org' },
      ],
      cc: [],
      replyTo: [{ name: 'Doe, John', address: 'r@example.org' }],
    });
  });

  test('sender is the first From with an address, else Sender, else null', () => {
    expect(parsed(mail('From: Nobody, Ann <ann@example.org>', '', '')).sender?.address).toBe(
      'ann@example.org',
    );
    expect(parsed(mail('From: Mail System', 'Sender: s@example.org', '', ''))).toMatchObject({
      sender: { name: null, address: 's@example.org' },
      from: [{ name: 'Mail System', address: null }],
      warnings: ['address-invalid', 'date-missing'],
    });
    expect(parsed(mail('Subject: x', '', '')).sender).toBeNull();
  });
});

test.each([
  ['<a@b>', ['a@b']],
  ['a@b', ['a@b']],
  ['<a@b>\r\n <c@d>', ['a@b', 'c@d']],
  ['Your message of Friday <a@b> (was: x)', ['a@b']],
  ['a@b c@d', ['a@b', 'c@d']],
  ['', []],
])('references %j', (value, ids) => {
  expect(parsed(plain([`References: ${value}`], '')).references).toEqual(ids);
});

describe('encoded words', () => {
  test.each([
    ['=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?=', 'Grüße', 'split inside of a character'],
    ['=?utf-8?B?R3LD?=\r\n =?utf-8?B?vMOfZQ==?=', 'Grüße', 'split inside of a character, folded'],
    ['=?utf-8?B?R3LDv?=\r\n =?utf-8?B?MOfZQ==?=', 'Grüße', 'split inside of a group of four'],
    ['=?iso-8859-1?Q?a?= =?utf-8?Q?=C3=BC?=', 'aü', 'two character sets'],
    ['=?utf-8?Q?a?= b =?utf-8?Q?c?=', 'a b c', 'a word between'],
    ['=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=', 'Grüße', 'RFC 2231 language'],
    ['x=?utf-8?Q?=C3=BC?=y', 'xüy', 'no space around'],
    ['=?utf-8?Q?a b=20c?=', 'a b c', 'raw space'],
    ['=?utf-8?Q?never ended', '=?utf-8?Q?never ended', 'never ended'],
    ['=?utf-8?Q?one =?utf-8?Q?two?=', '=?utf-8?Q?one two', 'never ended, another follows'],
    ['=?utf-8?B?YWE=?=', 'aa', 'padding before the end'],
    ['=?utf-8?X?abc?=', '=?utf-8?X?abc?=', 'unknown encoding'],
    ['=?gb2312?B?gUA=?=', '丂', 'beyond the declared set'],
    ['=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= =?iso-2022-jp?B?GyRCOGwbKEI=?=', '日本語', 'shifts at the seam'],
    ['plain =41 _', 'plain =41 _', 'no word'],
  ])('%s', (subject, text) => {
    expect(parsed(plain([`Subject: ${subject}`], '')).subject).toBe(text);
  });
});

describe('text and HTML', () => {
  const part = (type: string, ...body: string[]) => ['--b', `Content-Type: ${type}`, '', ...body];
  const message = (kind: string, ...parts: string[][]) =>
    plain([`Content-Type: multipart/${kind}; boundary=b`], ...parts.flat(), '--b--', '');

  test.each([
    '<style>',
    '<script>"',
    '<!-- ',
    '<p title="',
    '<![CDATA[',
    '<title>',
  ])('HTML that leaves %s open hides nothing of the next part', (open) => {
    const pages = [part('text/html', `<p>one</p>${open}`), part('text/html', '<p>two</p>')];
    expect(parsed(message('mixed', ...pages)).body).toMatch(/^one\n.*two$/s);
  });

  test('an encoded word in the place of an address brings no NUL in', () => {
    const document = parsed(mail('From:=??q?=00?=\r\nTo: =?utf-8?q?a=00b?=@x.example\r\n\r\n'));
    expect(JSON.stringify(document)).not.toContain('\\u0000');
    expect(document.warnings).toContain('nul-removed');
  });

  test('plain parts are joined by newlines; HTML parts are html', () => {
    const document = parsed(
      message('mixed', part('text/plain', 'one'), part('text/html', '<p>x</p>'), part('text/plain', 'two')),
    );
    expect(document).toMatchObject({ body: 'one\ntwo', html: '<p>x</p>', attachments: [] });
  });

  test('a blank plain part: text is made from the HTML', () => {
    const html =
      '<head><title>t</title><style>p{}</style></head><p>Hello&nbsp;<b>Ann</b>,</p><ul><li>one<li>two</ul>a<br>b';
    const document = parsed(message('alternative', part('text/plain', ' ', ''), part('text/html', html)));
    expect(document.body).toBe('Hello Ann,\n\n* one\n* two\n\na\nb');
  });

  test('a text part that is disposed of as an attachment is one', () => {
    const document = parsed(
      message('mixed', part('text/plain', 'body'), [
        '--b',
        'Content-Type: text/plain; name=n.txt',
        'Content-Disposition: attachment',
        '',
        'note',
      ]),
    );
    expect(document).toMatchObject({
      body: 'body',
      attachments: [{ filename: 'n.txt', size: 4, disposition: 'attachment' }],
    });
  });

  test.each([
    ['no', ['one ', 'two ', 'three', 'four'], 'one two three\nfour'],
    ['yes', ['one ', 'two'], 'onetwo'],
    ['no', ['> quoted ', '> on', '>> deeper ', 'not'], '> quoted on\n>> deeper \nnot'],
    ['no', [' stuffed', ' >not a quote'], 'stuffed\n>not a quote'],
    ['no', ['text', '-- ', 'signature'], 'text\n-- \nsignature'],
  ])('format=flowed, DelSp=%s: %j', (delSp, lines, body) => {
    expect(parsed(plain([`Content-Type: text/plain; format=flowed; delsp=${delSp}`], ...lines)).body).toBe(
      body,
    );
  });

  test('in-line uuencode stays text', () => {
    expect(parsed(plain([], 'begin 644 a', '#0V%T', '`', 'end')).body).toBe('begin 644 a\n#0V%T\n`\nend');
  });

  test('NUL goes and lone surrogates are replaced, a warning each', () => {
    expect(parsed(plain([], 'a\0b'))).toMatchObject({ body: 'ab', warnings: ['nul-removed'] });
    const utf16 = Buffer.from([0x61, 0x00, 0x00, 0xd8, 0x62, 0x00]).toString('latin1');
    const { body } = parsed(plain(['Content-Type: text/plain; charset=utf-16le'], utf16));
    expect(body).toBe('a\ufffdb');
    // UTF-7's base64 carries UTF-16, and with it half a pair.
    expect(parsed(plain(['Content-Type: text/plain; charset=utf-7'], 'a+2AA-b'))).toMatchObject({
      body: 'a\ufffdb',
      warnings: ['charset-legacy', 'surrogate-replaced'],
    });
  });
});

describe('attachments', () => {
  test('signed and encrypted mail: content as usual, the rest whole', () => {
    const signed = plain(
      ['Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b'],
      '--b',
      '',
      'text',
      '--b',
      'Content-Type: application/pgp-signature',
      '',
      '-----BEGIN PGP SIGNATURE-----',
      '--b--',
      '',
    );
    expect(parsed(signed)).toMatchObject({ body: 'text', files: ['1-signature.asc'] });
    const encrypted = plain(
      ['Content-Type: multipart/encrypted; boundary=b'],
      '--b',
      'Content-Type: application/pgp-encrypted',
      '',
      'Version: 1',
      '--b',
      'Content-Type: application/octet-stream',
      '',
      'x',
      '--b--',
      '',
    );
    expect(parsed(encrypted).attachments.map(({ contentType }) => contentType)).toEqual([
      'application/pgp-encrypted',
      'application/octet-stream',
    ]);
    expect(
      parsed(
        plain(
          ['Content-Type: application/pkcs7-mime; name=smime.p7m', 'Content-Transfer-Encoding: base64'],
          'QUJD',
        ),
      ),
    ).toMatchObject({
      body: '',
      contents: [Buffer.from('ABC')],
      attachments: [{ filename: 'smime.p7m', contentType: 'application/pkcs7-mime' }],
    });
    expect(parsed(plain(['Content-Type: application/ms-tnef; name=winmail.dat'], 'x\x9f>"')).files).toEqual([
      '1-winmail.dat',
    ]);
  });

  test('size, hash, content id and disposition', () => {
    const document = parsed(
      plain(
        [
          'Content-Type: image/png',
          'Content-ID: <logo@example.org>',
          'Content-Disposition: inline; filename=l.png',
        ],
        'abc',
      ),
    );
    expect(document.attachments).toEqual([
      {
        filename: 'l.png',
        contentType: 'image/png',
        size: 3,
        sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
        disposition: 'inline',
        contentId: 'logo@example.org',
        path: `${document.id}/1-l.png`,
      },
    ]);
  });

  test.each([
    [`attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.txt; filename=x`, 'Grüße.txt'],
    [`attachment; filename*0*=utf-8''Gr%C3; filename*1*=%BC%C3%9F; filename*2=e.txt`, 'Grüße.txt'],
    ['attachment; filename*1=b.txt; filename*0=a', 'ab.txt'],
    ['attachment; filename*=Gr%C3%BC%C3%9Fe.txt', 'Grüße.txt'],
    [`attachment; filename*=iso-8859-1'de'Gr%FC%DFe.txt`, 'Grüße.txt'],
    ['attachment; filename="=?utf-8?Q?Gr=C3=BC=C3=9Fe.txt?="', 'Grüße.txt'],
    ['attachment; filename==?utf-8?Q?Gr=C3=BC=C3=9Fe.txt?=', 'Grüße.txt'],
    [`attachment; filename="${utf8('Grüße.txt')}"`, 'Grüße.txt'],
    ['attachment; filename="Gr\xfc\xdfe.txt"', 'Grüße.txt'],
    ['attachment; filename=two words.txt', 'two words.txt'],
    ['attachment; filename="a;b\\"c.txt"', 'a;b"c.txt'],
    [`attachment; filename*=utf-8''a%3D%3Futf-8%3FQ%3F%3D2Eexe%3F%3D`, 'a=?utf-8?Q?=2Eexe?='],
    [`attachment; filename*=utf-8''a%00b.txt`, 'ab.txt'],
    ['attachment; filename*=a%00b.txt', 'ab.txt'],
  ])('%s', (disposition, filename) => {
    expect(
      parsed(plain(['Content-Type: text/x; name=other', `Content-Disposition: ${disposition}`], ''))
        .attachments[0]?.filename,
    ).toBe(filename);
  });

  test.each([
    ['a.pdf', '1-a.pdf', false],
    [null, '1-attachment', false],
    ['', '1-attachment', false],
    ['...', '1-attachment', false],
    ['. .', '1-attachment', false],
    ['../../etc/passwd', '1-.._.._etc_passwd', true],
    ['C:\\a|b?.txt', '1-C__a_b_.txt', true],
    ['invoice\u202efdp.exe', '1-invoice_fdp.exe', true],
    ['a\0b\nc.txt', '1-a_b_c.txt', true],
    ['order.json', '1-order.json.attachment', true],
    ['order.JSON', '1-order.JSON.attachment', true],
    ['order.json. . ', '1-order.json.attachment', true],
    ['order.j\u200bson', '1-order.j_son', true],
    ['order.jſon', '1-order.jſon.attachment', true],
    ['order.ｊｓｏｎ', '1-order.ｊｓｏｎ.attachment', true],
    ['.json', '1-.json.attachment', true],
    ['.profile', '1-.profile', false],
    ['e\u0301.txt', '1-é.txt', false],
    ['Grüße 😀.txt', '1-Grüße 😀.txt', false],
  ])('file name of %j', (name, file, warns) => {
    const warnings: string[] = [];
    expect(attachmentFile(1, name, 'text/x', (code) => warnings.push(code))).toBe(file);
    expect(warnings).toEqual(warns ? ['filename-unsafe'] : []);
  });

  test('long names are cut to 120 bytes between characters, the extension kept, and never end in .json', () => {
    const file = (name: string) => attachmentFile(12, name, 'text/x', () => undefined);
    expect(file(`${'é'.repeat(300)}.pdf`)).toBe(`12-${'é'.repeat(56)}.pdf`);
    expect(Buffer.byteLength(file('😀'.repeat(300)))).toBeLessThanOrEqual(120);
    for (let length = 90; length < 130; length += 1) {
      for (const name of [`${'x'.repeat(length)}.json`, `${'x'.repeat(length)}.json${'y'.repeat(40)}`]) {
        expect(file(name)).not.toMatch(/\.json$/i);
        expect(Buffer.byteLength(file(name))).toBeLessThanOrEqual(120);
      }
    }
  });
});
