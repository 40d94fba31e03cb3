/** Servers that speak wrongly: in their answers, their numbers, their folders and their refusals. */
import type { ScriptedFolder, ScriptedServer, ScriptedSession } from '../../servers/scripted.ts';
import { pick, row } from '../../servers/scripted.ts';
import {
  type Behaviour,
  BODIES,
  before,
  dribble,
  instead,
  PARTS,
  refuses,
  rewritten,
  SIZES,
  STARTS,
} from './behaviour.ts';

const selected = (session: ScriptedSession): boolean => session.folder !== null;

/** Every command that is answered once the client is logged in, the moment in which a server may strike. */
const MOMENTS: [name: string, pattern: RegExp][] = [
  ['CAPABILITY', /^CAPABILITY/],
  ['LOGIN', /^LOGIN/],
  ['SELECT', /^SELECT/],
  ['SEARCH', /^UID SEARCH/],
  ['sizes', SIZES],
  ['bodies', BODIES],
  ['IDLE', /^IDLE/],
];

/** The mail is published, but not marked as seen. */
const UNMARKED = { goesOn: true, after: { seen: true } };

const goodbyes: Behaviour[] = [
  {
    name: 'BYE as greeting',
    says: ['SERVER_UNAVAILABLE'],
    spoil: (server) => {
      server.greeting = '* BYE go away';
    },
  },
  ...MOMENTS.map(([name, pattern]) => ({
    name: `BYE instead of an answer to ${name}`,
    says: ['SERVER_UNAVAILABLE' as const],
    spoil: instead(pattern, ({ session }) => session.end('* BYE overloaded, come back later')),
  })),
  {
    ...UNMARKED,
    name: 'BYE instead of an answer to STORE',
    says: ['SERVER_UNAVAILABLE'],
    spoil: instead('UID STORE', ({ session }) => session.end('* BYE overloaded, come back later')),
  },
  {
    name: 'tagged BYE instead of OK to LOGIN',
    says: ['SERVER_UNAVAILABLE', 'CONNECTION_LOST'],
    spoil: refuses(/^LOGIN/, 'BYE no'),
  },
];

const silences: Behaviour[] = [
  {
    name: 'no greeting',
    says: ['OPERATION_TIMED_OUT'],
    spoil: (server) => {
      server.greeting = null;
    },
  },
  ...MOMENTS.map(([name, pattern]) => ({
    name: `silence instead of an answer to ${name}`,
    says: ['OPERATION_TIMED_OUT' as const],
    spoil: instead(pattern, () => undefined),
  })),
  {
    ...UNMARKED,
    name: 'silence instead of an answer to STORE',
    says: ['OPERATION_TIMED_OUT'],
    spoil: instead('UID STORE', () => undefined),
  },
  {
    name: 'half-open in IDLE',
    says: ['OPERATION_TIMED_OUT'],
    spoil: instead(/^DONE/, () => undefined),
  },
  {
    name: 'a byte a second from the greeting on',
    says: ['OPERATION_TIMED_OUT'],
    spoil: (server) => {
      server.transmit = dribble(1000, () => true);
    },
  },
  {
    name: 'a byte a second once a folder is open',
    says: ['OPERATION_TIMED_OUT'],
    spoil: (server) => {
      server.transmit = dribble(1000, selected);
    },
  },
  {
    name: 'a line a second, for ever, instead of an answer to SEARCH',
    says: ['OPERATION_TIMED_OUT'],
    spoil: instead(/^UID SEARCH/, ({ session }) => {
      const timer = setInterval(() => {
        if (session.alive()) session.send('* OK still searching');
        else clearInterval(timer);
      }, 1000);
      timer.unref();
    }),
  },
];

const LINE = Buffer.alloc(64 * 1024, 'a');
const many = (line: string): Buffer =>
  Buffer.from(`${line}\r\n`.repeat(Math.ceil((64 * 1024) / line.length)), 'latin1');

/** Streams that never end, one after the other as fast as the client takes them. */
const floods: Behaviour[] = [
  {
    name: 'never-ending greeting',
    says: ['SERVER_PROTOCOL', 'OPERATION_TIMED_OUT'],
    spoil: (server) => {
      server.accept = (socket) => {
        const pour = () => {
          let more = true;
          while (more && !socket.destroyed) more = socket.write(LINE);
        };
        socket.on('drain', () => setImmediate(pour));
        pour();
        return true;
      };
    },
  },
  {
    name: 'never-ending line instead of an answer to SELECT',
    says: ['SERVER_PROTOCOL'],
    because: /LineTooLarge/,
    spoil: instead('SELECT', ({ session }) => {
      session.write('* OK ');
      session.pour(() => LINE);
    }),
  },
  ...(
    [
      ['untagged OK', 'SELECT', '* OK and another thing'],
      ['EXISTS', 'SELECT', '* 7 EXISTS'],
      ['LIST', 'SELECT', '* LIST () "/" "folder of no end"'],
      ['SEARCH', 'UID SEARCH', '* SEARCH 5 6 7 8 9 10 11 12'],
      [
        'FETCH',
        'UID FETCH',
        '* 9 FETCH (UID 4000000 FLAGS () RFC822.SIZE 9 INTERNALDATE "20-Nov-2026 10:00:00 +0000")',
      ],
      ['tagged', 'UID SEARCH', 'X123 OK whose is this'],
      ['garbage', 'UID SEARCH', '* (((("{]'],
      ['continuation', 'UID SEARCH', '+ go on'],
      ['BAD', 'UID SEARCH', '* BAD what?'],
    ] as const
  ).map(
    ([name, command, line]): Behaviour => ({
      name: `never-ending stream of ${name} lines`,
      says: ['SERVER_PROTOCOL', 'CONNECTION_LOST', 'OPERATION_TIMED_OUT'],
      because: /more than 5000 responses/,
      spoil: instead(command, ({ session }) => session.pour(() => many(line))),
    }),
  ),
  {
    name: 'never-ending stream of long lines',
    says: ['SERVER_PROTOCOL'],
    because: /more than \d+ bytes/,
    spoil: instead('SELECT', ({ session }) => session.pour(() => `* OK ${'words '.repeat(50_000)}\r\n`)),
  },
  {
    name: 'never-ending LIST of different folders',
    says: ['SERVER_PROTOCOL', 'OPERATION_TIMED_OUT'],
    spoil(server) {
      let next = 0;
      server.script = ({ name, tag, session }) => {
        if (name === 'SELECT') session.send(`${tag} NO no such folder`);
        else if (name === 'LIST') session.pour(() => many(`* LIST () "/" "folder ${next++}"`));
        else return false;
        return true;
      };
    },
  },
  {
    name: 'never-ending stream in IDLE',
    says: ['SERVER_PROTOCOL', 'CONNECTION_LOST', 'OPERATION_TIMED_OUT'],
    spoil: instead('IDLE', ({ session }) => {
      session.send('+ idling');
      session.pour(() => many('* OK still here'));
    }),
  },
  {
    name: 'never-ending EXISTS in IDLE, each another',
    says: ['SERVER_PROTOCOL', 'CONNECTION_LOST', 'OPERATION_TIMED_OUT'],
    goesOn: true,
    spoil(server) {
      let next = 0;
      const idle = server.script;
      server.script = (command) => {
        if (command.name !== 'IDLE') return idle?.(command);
        command.session.answer(command);
        const timer = setInterval(() => {
          if (command.session.alive() && command.session.idling)
            command.session.send(`* ${1000 + (next++ % 7)} EXISTS`);
          else clearInterval(timer);
        }, 1);
        timer.unref();
        return true;
      };
    },
  },
  {
    name: 'never-ending parts of a body',
    says: ['SERVER_PROTOCOL', 'OPERATION_TIMED_OUT'],
    large: true,
    spoil: instead(PARTS, ({ session }) => {
      const part = Buffer.from(`* 4 FETCH (UID 4 BODY[]<0> {${LINE.length}}\r\n${LINE})\r\n`);
      session.pour(() => part);
    }),
  },
  {
    name: 'never-ending beginnings of bodies',
    says: ['SERVER_PROTOCOL', 'OPERATION_TIMED_OUT'],
    spoil: instead(STARTS, ({ session }) => {
      const start = Buffer.from(`* 4 FETCH (UID 4 BODY[]<0> {${LINE.length}}\r\n${LINE})\r\n`);
      session.pour(() => start);
    }),
  },
];

const literals: Behaviour[] = [
  ...(
    [
      ['bodies', BODIES, '* 1 FETCH (UID 1 BODY[] {4294967296}'],
      ['sizes', SIZES, '* 1 FETCH (UID 1 RFC822.SIZE {4294967296}'],
      ['SELECT', /^SELECT/, '* OK {4294967296}'],
      ['LOGIN', /^LOGIN/, '* OK {4294967296}'],
    ] as const
  ).map(
    ([name, pattern, line]): Behaviour => ({
      name: `a literal of 4 GB announced in the answer to ${name}`,
      says: ['SERVER_PROTOCOL'],
      because: /LiteralTooLarge/,
      spoil: instead(pattern, ({ session }) => {
        session.send(line);
        session.pour(() => LINE);
      }),
    }),
  ),
  {
    name: 'a literal of 4 GB announced as greeting',
    says: ['SERVER_PROTOCOL'],
    because: /LiteralTooLarge/,
    spoil: (server) => {
      server.greeting = '* OK {4294967296}';
    },
  },
  {
    name: 'a literal larger than any number',
    says: ['SERVER_PROTOCOL'],
    spoil: instead(BODIES, ({ session }) => session.send(`* 1 FETCH (UID 1 BODY[] {${'9'.repeat(400)}}`)),
  },
  {
    name: 'a literal of negative length',
    says: [
      'SERVER_PROTOCOL',
      'OPERATION_TIMED_OUT',
      'FETCH_INCOMPLETE',
      'MESSAGE_UNFETCHABLE',
      'CONNECTION_LOST',
    ],
    spoil: rewritten(BODIES, (line) => line.replace(/\{\d+\}/, '{-5}')),
  },
  {
    name: 'a literal that is announced and never sent',
    says: ['OPERATION_TIMED_OUT'],
    spoil: instead(BODIES, ({ session }) => session.send('* 1 FETCH (UID 1 BODY[] {100000}')),
  },
  {
    name: 'literals that never end in one response',
    says: ['SERVER_PROTOCOL'],
    because: /ResponseTooLarge/,
    spoil: instead(BODIES, ({ session }) => {
      session.write('* 1 FETCH (UID 1 BODY[] ');
      session.pour(() => `{65536}\r\n${LINE} `);
    }),
  },
];

const SELECT_NUMBERS: [name: string, from: RegExp, to: string, goesOn: boolean][] = [
  ['EXISTS negative', /^\* \d+ EXISTS/, '* -5 EXISTS', true],
  ['EXISTS above 2^32', /^\* \d+ EXISTS/, '* 99999999999999999999 EXISTS', true],
  ['EXISTS of four thousand million', /^\* \d+ EXISTS/, '* 4294967295 EXISTS', true],
  ['UIDNEXT negative', /UIDNEXT \d+/, 'UIDNEXT -1', true],
  ['UIDNEXT zero', /UIDNEXT \d+/, 'UIDNEXT 0', true],
  ['UIDNEXT above 2^32', /UIDNEXT \d+/, 'UIDNEXT 99999999999999999999', true],
  ['UIDVALIDITY zero', /UIDVALIDITY \d+/, 'UIDVALIDITY 0', false],
  ['UIDVALIDITY negative', /UIDVALIDITY \d+/, 'UIDVALIDITY -1', false],
  ['UIDVALIDITY above 2^64', /UIDVALIDITY \d+/, 'UIDVALIDITY 99999999999999999999', false],
  ['UIDVALIDITY of four thousand digits', /UIDVALIDITY \d+/, `UIDVALIDITY ${'7'.repeat(4000)}`, false],
  ['UIDVALIDITY that is a path', /UIDVALIDITY \d+/, 'UIDVALIDITY ../../etc', false],
  ['UIDVALIDITY absent', /^\* OK \[UIDVALIDITY.*/, '* OK no validity', false],
];

const numbers: Behaviour[] = [
  ...SELECT_NUMBERS.map(
    ([name, from, to, goesOn]): Behaviour => ({
      name,
      says: ['SERVER_PROTOCOL'],
      goesOn,
      spoil: rewritten('SELECT', (line) => line.replace(from, to)),
    }),
  ),
  {
    name: 'UIDVALIDITY another at each SELECT',
    says: [],
    goesOn: true,
    spoil(server) {
      const folder = server.folders.get('INBOX')!;
      server.script = ({ name }) => {
        if (name === 'SELECT') folder.uidValidity++;
        return false;
      };
    },
  },
  {
    name: 'UIDVALIDITY another at each SELECT, and the UIDs given the other way round',
    says: ['CONNECTION_LOST'],
    goesOn: true,
    spoil(server) {
      const folder = server.folders.get('INBOX')!;
      server.script = ({ name, session }) => {
        // What comes meanwhile is seen by the next connection only, under the UID of something else.
        if (name === 'DONE') session.end();
        if (name === 'SELECT') {
          folder.uidValidity++;
          folder.messages.reverse();
          for (const [index, message] of folder.messages.entries()) message.uid = index + 1;
          folder.uidNext = folder.messages.length + 1;
        }
        return name === 'DONE';
      };
    },
  },
  {
    name: 'UIDNEXT lower at each SELECT',
    says: [],
    goesOn: true,
    spoil(server) {
      let next = 1_000_000;
      rewritten('SELECT', (line) => line.replace(/UIDNEXT \d+/, () => `UIDNEXT ${next--}`))(server);
    },
  },
  ...(
    [
      ['RFC822.SIZE negative', 'RFC822.SIZE -1'],
      ['RFC822.SIZE zero', 'RFC822.SIZE 0'],
      ['RFC822.SIZE of 10^30', `RFC822.SIZE 1${'0'.repeat(30)}`],
      ['RFC822.SIZE absent', ''],
      ['RFC822.SIZE of 7 MB', 'RFC822.SIZE 7340032'],
    ] as const
  ).map(
    ([name, to]): Behaviour => ({
      name,
      says: ['SERVER_PROTOCOL'],
      goesOn: true,
      spoil: rewritten(SIZES, (line) => line.replace(/RFC822\.SIZE \d+ ?/, `${to} `).replace(' )', ')')),
    }),
  ),
  {
    name: 'INTERNALDATE that is no date',
    says: [],
    goesOn: true,
    spoil: rewritten(SIZES, (line) =>
      line.replace(/INTERNALDATE "[^"]*"/, 'INTERNALDATE "99-Foo-99999 99:99:99 +9999"'),
    ),
  },
];

/** SEARCH answers that are not the truth: what they leave out or invent must neither lose nor hold up anything. */
const searches: Behaviour[] = [
  ...(
    [
      ['UIDs repeated', (uids: string[]) => uids.flatMap((uid) => [uid, uid, uid])],
      ['UIDs out of order', (uids: string[]) => uids.toReversed()],
      ['UIDs above 2^32', (uids: string[]) => [...uids, '4294967297', '99999999999999999999']],
      ['UIDs that do not exist', (uids: string[]) => [...uids, '3000000000', '4294967295']],
      ['UIDs negative, zero and no numbers', (uids: string[]) => ['-3', '0', 'x', '1e3', '2.5', ...uids]],
    ] as const
  ).map(
    ([name, change]): Behaviour => ({
      name,
      // What is not there, although it is listed each time, cannot be fetched.
      says: ['MESSAGE_UNFETCHABLE'],
      goesOn: true,
      spoil: rewritten('UID SEARCH', (line) =>
        line.startsWith('* SEARCH')
          ? `* SEARCH ${change(line.split(' ').slice(2)).join(' ')}`.trimEnd()
          : line,
      ),
    }),
  ),
  {
    name: 'UIDs that SEARCH leaves out',
    says: [],
    spoil: rewritten('UID SEARCH', (line) => (line.startsWith('* SEARCH') ? '* SEARCH' : line)),
  },
  {
    name: 'SEARCH answered OK without a result',
    says: [],
    spoil: rewritten('UID SEARCH', (line) => (line.startsWith('* SEARCH') ? null : line)),
  },
];

/** A row of a folder that is not the one that was asked about. */
const foreign: ScriptedFolder = {
  name: 'INBOX',
  uidValidity: 1_700_000_000,
  uidNext: 903,
  attributes: [],
  messages: [901, 902].map((uid) => ({
    uid,
    source: Buffer.from(
      `From: eve@evil.example\r\nSubject: foreign ${uid}\r\nMessage-ID: <foreign-${uid}@evil.example>\r\n\r\nnot yours\r\n`,
    ),
    internalDate: new Date(Date.UTC(2026, 10, 20, 11)),
    flags: new Set<string>(),
  })),
};

const rows: Behaviour[] = [
  {
    name: 'FETCH answered with messages never asked for',
    says: [],
    goesOn: true,
    spoil: before('UID FETCH', ({ rest }) => foreign.messages.map((message) => row(foreign, message, rest))),
  },
  {
    name: "FETCH answered with another mailbox's messages only",
    says: ['MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE'],
    spoil: instead('UID FETCH', ({ tag, rest, session }) =>
      session.send(...foreign.messages.map((message) => row(foreign, message, rest)), `${tag} OK there`),
    ),
  },
  {
    name: "parts of a body answered with another message's",
    says: ['MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE'],
    large: true,
    spoil: instead(PARTS, ({ tag, rest, session }) => {
      const [asked] = pick(session.folder!, rest.split(' ')[0]!, true);
      const source = Buffer.alloc(asked!.source.length, 'not yours ');
      session.send(row(foreign, { ...foreign.messages[0]!, source }, rest), `${tag} OK there`);
    }),
  },
  {
    name: 'rows twice and backwards',
    says: [],
    goesOn: true,
    spoil(server) {
      instead('UID FETCH', (command) => {
        const { tag, rest, session } = command;
        const folder = session.folder!;
        const all = folder.messages.toReversed().map((message) => row(folder, message, rest));
        session.send(...all, ...all, `${tag} OK twice`);
      })(server);
    },
  },
  {
    name: 'rows without a UID',
    says: ['MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE', 'SERVER_PROTOCOL'],
    spoil: rewritten('UID FETCH', (line) => line.replace(/UID \d+ /, '')),
  },
  {
    name: 'rows with a UID above 2^32',
    says: ['MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE', 'SERVER_PROTOCOL'],
    spoil: rewritten('UID FETCH', (line) => line.replace(/UID \d+/, 'UID 4294967297')),
  },
  {
    name: 'bodies that are NIL',
    says: ['MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE'],
    spoil: rewritten(BODIES, (line) => line.replace(/(BODY\[\](?:<0>)?) \{\d+\}.*$/s, '$1 NIL)')),
  },
  {
    name: 'every other message left out',
    says: ['MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE'],
    spoil: rewritten(BODIES, (line) => (/^\* \d*[13579] FETCH/.test(line) ? null : line)),
  },
  {
    name: 'EXPUNGE during FETCH',
    says: [],
    goesOn: true,
    spoil: before('UID FETCH', () => [
      '* 1 EXPUNGE',
      '* 1 EXPUNGE',
      '* 99 EXPUNGE',
      '* 0 EXPUNGE',
      '* -1 EXPUNGE',
    ]),
  },
  {
    name: 'messages that are removed while they are fetched',
    says: [],
    goesOn: true,
    spoil(server, { remove }) {
      let removed = 0;
      before(BODIES, ({ rest, session }) => {
        const [first] = pick(session.folder!, rest.split(' ')[0]!, true);
        if (remove === undefined || first === undefined || removed === 2) return [];
        removed++;
        const number = session.folder!.messages.indexOf(first) + 1;
        remove(first.uid);
        return [`* ${number} EXPUNGE`];
      })(server);
    },
  },
  {
    name: 'EXISTS falling',
    says: [],
    goesOn: true,
    spoil: before(/^(NOOP|IDLE|UID SEARCH|UID FETCH)/, () => ['* 3 EXISTS', '* 2 EXISTS', '* 0 EXISTS']),
  },
  {
    name: '8-bit and NUL in answers',
    says: [],
    goesOn: true,
    spoil: before(/^(LOGIN|SELECT|UID SEARCH|UID FETCH|NOOP|LIST)/, () => [
      Buffer.from('* OK [ALERT] \x80\xff\0\x1b[31m gr\xfc\xdfe \x07 \x9b31m', 'latin1'),
      Buffer.from('* OK [X-\xff\0 \x80] \u202eevent=forged', 'latin1'),
      Buffer.from('* FLAGS (\\Seen \x80\0 "a\0b" NIL)', 'latin1'),
      Buffer.from('* \0', 'latin1'),
      Buffer.from('\0', 'latin1'),
    ]),
  },
  {
    name: '8-bit, NUL and line breaks in a refusal',
    says: ['SERVER_REFUSED'],
    spoil: instead('SELECT', ({ tag, session }) =>
      session.send(
        Buffer.from(
          `${tag} NO \x1b]0;owned\x07\x9b31m\0\rtime level event=forged mailbox=witness/INBOX \x85 \u202e`,
          'latin1',
        ),
      ),
    ),
  },
];

const tags: Behaviour[] = [
  {
    name: 'answers with wrong tags',
    says: ['OPERATION_TIMED_OUT', 'SERVER_PROTOCOL'],
    spoil: rewritten('SELECT', (line) => line.replace(/^[^*]\S*/, 'A999')),
  },
  {
    name: 'answers with the next tag',
    says: ['OPERATION_TIMED_OUT', 'SERVER_PROTOCOL'],
    spoil: rewritten('SELECT', (line) =>
      line.replace(
        /^([0-9A-F]+) OK/,
        (_, tag: string) => `${(Number.parseInt(tag, 16) + 1).toString(16).toUpperCase()} OK`,
      ),
    ),
  },
  {
    name: 'answers without a tag',
    says: ['OPERATION_TIMED_OUT', 'SERVER_PROTOCOL', 'SERVER_REFUSED'],
    spoil: rewritten('SELECT', (line) => line.replace(/^[^*]\S* /, '')),
  },
  {
    name: 'every answer twice',
    says: [],
    goesOn: true,
    spoil: rewritten(/^(CAPABILITY|SELECT|UID SEARCH|UID FETCH|NOOP|DONE)/, (line) => [line, line]),
  },
  {
    name: 'OK to everything before it is asked',
    says: ['SERVER_PROTOCOL', 'OPERATION_TIMED_OUT', 'CONNECTION_LOST', 'SERVER_REFUSED', 'AUTH_FAILED'],
    spoil: (server) => {
      server.greeting = `* OK ready\r\n${Array.from({ length: 40 }, (_, tag) => `${(tag + 1).toString(16).toUpperCase()} OK before you ask`).join('\r\n')}`;
      server.script = () => true;
    },
  },
  {
    name: 'another protocol',
    says: ['SERVER_PROTOCOL', 'OPERATION_TIMED_OUT', 'CONNECTION_LOST'],
    spoil: (server) => {
      server.accept = (socket) => {
        socket.end('HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<h1>400</h1>');
        return true;
      };
    },
  },
  {
    name: 'nesting of a million parentheses',
    says: ['SERVER_PROTOCOL', 'MESSAGE_UNFETCHABLE', 'FETCH_INCOMPLETE', 'SERVER_REFUSED'],
    spoil: instead(SIZES, ({ tag, session }) =>
      session.send(`* 1 FETCH (UID 1 FLAGS ${'('.repeat(1_000_000)})`, `${tag} OK deep`),
    ),
  },
  {
    name: 'capabilities that change after login',
    says: [],
    goesOn: true,
    spoil(server: ScriptedServer) {
      server.script = (command) => {
        const { name, session } = command;
        if (name === 'IDLE') {
          session.send(`${command.tag} BAD what is IDLE?`);
          return true;
        }
        if (name !== 'SELECT' && name !== 'NOOP') return false;
        session.send(
          name === 'SELECT'
            ? '* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL- LOGINDISABLED COMPRESS=DEFLATE ESEARCH CONDSTORE QRESYNC BINARY OBJECTID X-GM-EXT-1'
            : '* CAPABILITY IMAP4rev1',
        );
        return false;
      };
    },
  },
];

/** `NO` in its many forms: which code each is, and so how soon it is tried again. */
const refusals: Behaviour[] = [
  ...(
    [
      ['LOGIN', 'NO [ALERT] account locked, call us', 'AUTH_FAILED'],
      ['LOGIN', 'NO [UNAVAILABLE] directory down', 'SERVER_UNAVAILABLE'],
      ['LOGIN', 'NO [LIMIT] too many connections', 'SERVER_UNAVAILABLE'],
      ['LOGIN', 'NO [THROTTLED] slow down', 'SERVER_UNAVAILABLE'],
      ['LOGIN', 'NO [EXPIRED] your password has expired', 'AUTH_FAILED'],
      ['LOGIN', 'NO [AUTHENTICATIONFAILED] no', 'AUTH_FAILED'],
      ['LOGIN', 'NO [CONTACTADMIN] no', 'AUTH_FAILED'],
      ['LOGIN', 'BAD', 'AUTH_FAILED'],
      ['SELECT', 'NO [ALERT] mailbox is being moved', 'SERVER_REFUSED'],
      ['SELECT', 'NO [UNAVAILABLE] storage down', 'SERVER_UNAVAILABLE'],
      ['SELECT', 'NO [LIMIT] too much', 'SERVER_UNAVAILABLE'],
      ['SELECT', 'NO [THROTTLED] slow down', 'SERVER_UNAVAILABLE'],
      [
        'SELECT',
        'BAD Request is throttled. Suggested Backoff Time: 300000 milliseconds',
        'SERVER_UNAVAILABLE',
      ],
      ['UID SEARCH', 'NO [ALERT] index is being rebuilt', 'SERVER_REFUSED'],
      ['UID SEARCH', 'NO [UNAVAILABLE] not now', 'SERVER_UNAVAILABLE'],
      [
        'UID SEARCH',
        'BAD Request is throttled. Suggested Backoff Time: 300000 milliseconds',
        'SERVER_UNAVAILABLE',
      ],
    ] as const
  ).map(
    ([command, words, code]): Behaviour => ({
      name: `${command} answered ${words.slice(0, 40)}`,
      says: [code],
      spoil: refuses(command, words),
    }),
  ),
  {
    name: 'UID FETCH refused',
    says: ['SERVER_REFUSED', 'MESSAGE_UNFETCHABLE'],
    spoil: refuses('UID FETCH', 'NO [ALERT] some messages are on tape'),
  },
  {
    ...UNMARKED,
    name: 'UID STORE refused',
    says: ['AFTER_FAILED'],
    spoil: refuses('UID STORE', 'NO [ALERT] this folder is read-only'),
  },
  {
    name: 'UID FETCH throttled',
    says: ['SERVER_UNAVAILABLE'],
    spoil: refuses('UID FETCH', 'BAD Request is throttled. Suggested Backoff Time: 300000 milliseconds'),
  },
  {
    name: 'the folder vanishes',
    says: ['FOLDER_MISSING'],
    spoil(server) {
      server.script = ({ name, tag, session }) => {
        if (name === 'SELECT') session.send(`${tag} NO [NONEXISTENT] no such folder`);
        else if (name === 'LIST') session.send('* LIST () "/" "INBOX2"', `${tag} OK that is all`);
        else return false;
        return true;
      };
    },
  },
  {
    name: 'LOGINDISABLED',
    says: ['AUTH_LOGIN_DISABLED'],
    distrusted: true,
    spoil: (server) => {
      server.capabilities = [...server.capabilities, 'LOGINDISABLED'];
    },
  },
  {
    name: 'PREAUTH without protection that was asked for none',
    says: [
      'SERVER_PROTOCOL',
      'CONNECTION_LOST',
      'SERVER_REFUSED',
      'OPERATION_TIMED_OUT',
      'SERVER_UNAVAILABLE',
    ],
    spoil: (server) => {
      server.greeting = '* PREAUTH you are somebody else';
    },
  },
];

export const SPEECH: Behaviour[] = [
  ...goodbyes,
  ...silences,
  ...floods,
  ...literals,
  ...numbers,
  ...searches,
  ...rows,
  ...tags,
  ...refusals,
];
