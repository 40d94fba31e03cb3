/** What hostile senders write in fields, names and texts, and what a reader must see of it. */
import fc from 'fast-check';
import iconv from 'iconv-lite';

export interface Address {
  name: string | null;
  address: string;
}

/** Text in a character set that is declared or not. */
export interface Wording {
  /** `null`: none is declared. */
  charset: string | null;
  /** The bytes of an ASCII word and the text. */
  write(word: string): Buffer;
  text: string;
  /** Lines end in more than a byte, so that it does not stand in a message as it is. */
  wide?: boolean;
}

export interface Words {
  names: readonly string[];
  texts: readonly Wording[];
  /** As written, and the date that it is; a field that is null is left out. */
  dates: readonly [string | null, string | null][];
  senders: readonly [string, Address][];
  subjects: readonly [string, string][];
}

/** Of each kind that fast-check makes. */
const GENERATED = 400;

/** The known ones, and as many that fast-check makes: always the same for a seed. */
export function hostileWords(seed: number): Words {
  const sample = <T>(arbitrary: fc.Arbitrary<T>): T[] => fc.sample(arbitrary, { seed, numRuns: GENERATED });
  return {
    ...KNOWN_WORDS,
    names: [...KNOWN_WORDS.names, ...sample(misleadingName)],
    texts: [...KNOWN_WORDS.texts, ...sample(readable).map(inUtf8)],
    subjects: [
      ...KNOWN_WORDS.subjects,
      ...sample(readable)
        .filter((text) => text !== '')
        .map((text): [string, string] => [inWord(text), text]),
    ],
  };
}

const latin1 = (bytes: Buffer) => bytes.toString('latin1');
const utf8 = (text: string) => latin1(Buffer.from(text));
const inWord = (text: string) => `=?utf-8?b?${Buffer.from(text).toString('base64')}?=`;

/** What misleads a file system or a reader: put together to names, and before and behind of any text. */
const MISLEADING = [
  ...[
    '../',
    '..\\',
    '/',
    '\\',
    '..',
    '.',
    ' ',
    '~',
    '-',
    '\0',
    '\n',
    '\r\n',
    '\t',
    '\x1b[2J',
    '\x7f',
    '\u0085',
  ],
  ...['\u202e', '\u2066', '\u2069', '\u200b', '\u200d', '\ufeff', '\u2028', '\u00a0', '\u3164', '\ue000'],
  ...['.json', '.JSON', '.j\u017fon', '.\uff4a\uff53\uff4f\uff4e', '.attachment', '.pdf', '.exe', '.eml'],
  ...[
    'CON',
    'NUL',
    'LPT1',
    'A\u0308',
    'Ä',
    'ﬁ',
    'ß',
    'İ',
    '😀',
    '%2e%2e%2f',
    '%00',
    '$(id)',
    "''",
    '*',
    '"',
    ';',
    ':',
  ],
];
const piece = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...MISLEADING) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 5 }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('x', 'ä', '😀', '. '), fc.nat(300))
      .map(([one, times]) => one.repeat(times)),
  },
);
/** Anything that is printed, but what HTML has a meaning for. */
const readable = fc
  .string({ unit: 'grapheme', maxLength: 60 })
  .map((text) => text.replace(/[\s<&]+/gu, ' ').trim());
const misleadingName = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''));

/** Files whose names are to mislead a file system or a reader. */
const NAMES = [
  ...[
    '../../../etc/passwd',
    '/etc/passwd',
    '..',
    '.',
    '...',
    '',
    ' ',
    '. .',
    '~',
    '-rf',
    'C:\\windows\\a.exe',
    '\\\\host\\share',
  ],
  ...[
    'a\0b.txt',
    'a\nb.txt',
    'a\r\nX-Injected: y',
    'a\x1b[2Jb',
    'a\u202egpj.exe',
    'a\u200b.txt',
    '\u2066a\u2069',
    'a\u2028b',
    '\ufeffa',
  ],
  ...[
    'CON',
    'con.txt',
    'NUL',
    'LPT1.pdf',
    'aux',
    'a.json',
    'a.JSON',
    'a.json.',
    'a.json ',
    'a.j\u017fon',
    'a.\uff4a\uff53\uff4f\uff4e',
    '.json',
  ],
  ...[
    'x'.repeat(300),
    `${'ä'.repeat(300)}.pdf`,
    `a.${'x'.repeat(300)}`,
    `${'x'.repeat(250)}.json`,
    '😀'.repeat(100),
    `${'. '.repeat(100)}a`,
  ],
  ...[
    'File.txt',
    'file.TXT',
    'FILE.txt',
    'Ä.txt',
    'A\u0308.txt',
    'ﬁle.txt',
    'ß.txt',
    'SS.txt',
    'İ.txt',
    'a.txt',
    'a.txt',
  ],
  ...[
    '..%2f..%2fa',
    '%00',
    '$(id)',
    '`id`',
    ';rm',
    '"quoted".txt',
    "o'neil",
    'a;b=c.txt',
    'a*b?.txt',
    '=?utf-8?q?=2e=2e=2fa?=',
  ],
];

const inSet = (charset: string | null, written: string, text: string): Wording => ({
  charset,
  write: (word) => Buffer.from(`${word} ${written}`, 'latin1'),
  text,
});
const inUtf8 = (text: string) => inSet('utf-8', utf8(text), text);
const inWide = (charset: string, text: string): Wording => ({
  charset,
  write: (word) => iconv.encode(`${word} ${text}`, charset),
  text: text.toWellFormed(),
  wide: true,
});

const TEXTS: Wording[] = [
  inUtf8('Grüße 日本 😀'),
  inSet(null, utf8('Grüße'), 'Grüße'),
  inSet('us-ascii', utf8('Grüße'), 'Grüße'),
  inSet('x-unheard-of', utf8('Grüße'), 'Grüße'),
  inSet('iso-8859-1', 'Gr\xfc\xdfe \x80', 'Grüße €'),
  inSet('windows-1252', '\x93so\x94', '“so”'),
  // What it is read as depends on the other texts.
  inSet('us-ascii', 'Gr\xfc\xdfe', ''),
  inSet('utf-7', 'Gr+APwA3w-e', 'Grüße'),
  inSet('utf-7', 'lone+2AA-surrogate', 'lone\ufffdsurrogate'),
  inSet('gb2312', '\xe9\x46', '镕'),
  inSet('hz-gb-2312', '~{Dc:C~}', '你好'),
  inSet('iso-2022-jp', '\x1b$B$3$s\x1b(B', 'こん'),
  inSet('iso-2022-kr', '\x1b$)C\x0e>H3g\x0f', '안녕'),
  inSet('koi8-r', '\xf0\xd2\xc9\xd7\xc5\xd4', 'Привет'),
  inUtf8('‮reversed and ​hidden'),
  inSet('utf-8', 'a\0b', 'ab'),
  inWide('utf-16le', 'Grüße 日本 😀'),
  inWide('utf-32le', 'Grüße 日本 😀'),
  inWide('utf-32le', 'lone \ud800 surrogate'),
];

const DATES: Words['dates'] = [
  ['Fri, 20 Nov 2026 11:00:00 +0100', '2026-11-20T11:00:00+01:00'],
  ['20 Nov 26 11:00 EST', '2026-11-20T11:00:00-05:00'],
  ['Fri, 20 Nov 2026 11:00:00 (comment (nested)) GMT', '2026-11-20T11:00:00+00:00'],
  ['2026-11-20T11:00:00+01:00', '2026-11-20T11:00:00+01:00'],
  ['Fri, 31 Feb 2026 11:00:00 +0000', null],
  ['yesterday', null],
  ['', null],
  [null, null],
  ['Fri, 20 Nov 2026 11:00:00', '2026-11-20T11:00:00Z'],
];

const SENDERS: Words['senders'] = [
  ['Ann <ann@example.org>', { name: 'Ann', address: 'ann@example.org' }],
  ['Doe, John <john@example.org>', { name: 'Doe, John', address: 'john@example.org' }],
  ['"Doe, John" <john@example.org>', { name: 'Doe, John', address: 'john@example.org' }],
  ['=?utf-8?q?M=C3=BCller=2C?= Bo <bo@example.org>', { name: 'Müller, Bo', address: 'bo@example.org' }],
  [utf8('Jörg <jörg@exämple.org>'), { name: 'Jörg', address: 'jörg@exämple.org' }],
  ['user@bank.example(x).evil.example', { name: 'x', address: 'user@bank.example.evil.example' }],
  ['"user@bank.example"@evil.example', { name: null, address: '"user@bank.example"@evil.example' }],
];

const SUBJECTS: Words['subjects'] = [
  ['plain', 'plain'],
  ['=?utf-8?q?a=0Ab=0D=0AX-Injected:_y?=', 'a b X-Injected: y'],
  ['=?utf-8?b?w6Q=?=\r\n =?utf-8?b?w7Y=?=', 'äö'],
  // Cut within a character.
  ['=?utf-8?b?w6TD?=\r\n =?utf-8?b?tg==?=', 'äö'],
  ['=?utf-8?q?a=00b?=', 'ab'],
  ['=?utf-7?q?a+2AA-b?=', 'a\ufffdb'],
  [utf8('ungeniert grüßend'), 'ungeniert grüßend'],
  ['=?iso-8859-1?q?=80?=', '€'],
  ['folded\r\n\tsubject', 'folded subject'],
];

export const KNOWN_WORDS: Words = {
  ...{ names: NAMES, texts: TEXTS, dates: DATES, senders: SENDERS, subjects: SUBJECTS },
};
