/** Who fetches a whole mailbox: ours, the programs that machines have, and a bare reader as the limit of the wire. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { accountOn, createWorkplace, type Outcome } from '../../test/dovecot/workplace.ts';
import type { Dovecot } from '../../test/servers/dovecot.ts';
import { publishedFiles } from '../../test/servers/published.ts';
import { type MailSet, sha256 } from './mail.ts';

export interface Login {
  server: Dovecot;
  user: string;
  password: string;
  /** The command that the program's command line is given to; empty for none. */
  within: string[];
}

/** One time that the mailbox is fetched, into an empty directory of its own. */
export interface Fetching extends AsyncDisposable {
  launch(): { pid: number; finished: Promise<Outcome> };
  /** Throws where not every message is there as it was sent. */
  check(set: MailSet, outcome: Outcome): Promise<void> | void;
}

export interface Contestant {
  name: string;
  /** Null where it is not installed. */
  version(): string | null;
  /** Why it runs only where it is asked for (`--with`). */
  unusual?: string;
  prepare(login: Login): Fetching;
}

export const OURS: Contestant = {
  name: 'mailwatchd once',
  version: () => 'this tree',
  prepare({ server, user, password, within }) {
    const place = createWorkplace(
      {
        accounts: [accountOn(server, user, user, password)],
        log: { directory: null, level: 'warn' },
      },
      { within },
    );
    return {
      launch: () => place.launch(['once']),
      async check(set) {
        const listed = await place.list('--state', 'published', '--limit', String(set.messages.length + 1));
        compare(
          'in the ledger',
          listed.map((row) => row.sha256),
          set.messages,
        );
        const documents = publishedFiles(place.storage).map((file) => ({
          directory: dirname(file),
          ...(JSON.parse(readFileSync(file, 'utf8')) as { sha256: string; attachments: { path: string }[] }),
        }));
        compare(
          'documents',
          documents.map((document) => document.sha256),
          set.messages,
        );
        const files = documents.flatMap(({ directory, attachments }) =>
          attachments.map(({ path }) => sha256(readFileSync(join(directory, path)))),
        );
        compare('attachments', files, set.attachments);
      },
      [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
    };
  },
};

const mbsync = (sync: 'yes' | 'no'): Contestant => ({
  name: `mbsync, FSync ${sync}`,
  version: () => firstLine('mbsync', '--version'),
  prepare: ({ server, user, password, within }) =>
    elsewhere(within, (directory) => {
      const file = join(directory, 'mbsyncrc');
      writeFileSync(
        file,
        `FSync ${sync}

IMAPStore far
Host ${server.host}
Port ${server.imapPort}
User ${user}
Pass ${password}
SSLType None
AuthMechs LOGIN

MaildirStore near
Path ${directory}/mail/
Inbox ${directory}/mail/INBOX

Channel all
Far :far:
Near :near:
Pattern INBOX
Sync Pull
Create Near
SyncState *
`,
      );
      mkdirSync(join(directory, 'mail'));
      return {
        command: ['mbsync', '-q', '-c', file, 'all'],
        stored: () => maildir(join(directory, 'mail', 'INBOX')),
      };
    }),
});

const getmail: Contestant = {
  name: 'getmail6',
  version: () => firstLine('getmail', '--version'),
  // 6.18.11: a child that ends before its parent begins to wait is not noticed, and the parent gives up a minute later.
  unusual:
    'takes minutes, since it forks for each message, and fails when such a child ends sooner than it expects',
  prepare: ({ server, user, password, within }) =>
    elsewhere(within, (directory) => {
      for (const part of ['cur', 'new', 'tmp']) mkdirSync(join(directory, 'mail', part), { recursive: true });
      writeFileSync(
        join(directory, 'getmailrc'),
        `[retriever]
type = SimpleIMAPRetriever
server = ${server.host}
port = ${server.imapPort}
username = ${user}
password = ${password}
mailboxes = ("INBOX",)
[destination]
type = Maildir
path = ${directory}/mail/
[options]
verbose = 0
read_all = true
delivered_to = false
received = false
`,
      );
      return {
        command: [...asNobody(directory), 'getmail', '--quiet', '--getmaildir', directory],
        stored: () => maildir(join(directory, 'mail')),
        // It folds header fields anew.
        altered: true,
      };
    }),
};

const fetchmail: Contestant = {
  name: 'fetchmail',
  version: () => firstLine('fetchmail', '--version'),
  prepare: ({ server, user, password, within }) =>
    elsewhere(within, (directory) => {
      const file = join(directory, 'fetchmailrc');
      const output = join(directory, 'mail.bsmtp');
      writeFileSync(
        file,
        `set invisible
poll ${server.host} protocol imap port ${server.imapPort} auth password
  user "${user}" password "${password}" is "${user}" here
  sslproto "" bsmtp "${output}" keep fetchall no rewrite
`,
        { mode: 0o600 },
      );
      return {
        command: ['fetchmail', '--silent', '--fetchmailrc', file, '--pidfile', join(directory, 'pid')],
        stored: () => readBatch(output),
      };
    }),
};

/** Reads all bodies and keeps nothing. */
const wire: Contestant = {
  name: 'UID FETCH, not stored',
  version: () => 'bench/backfill/wire.ts',
  prepare({ server, user, password, within }) {
    const script = resolve(import.meta.dirname, 'wire.ts');
    return {
      launch: () =>
        start([...within, process.execPath, script, server.host, String(server.imapPort), user, password]),
      check(set, { stdout }) {
        const [messages, bytes] = stdout.split(' ').map(Number);
        if (messages !== set.messages.length || bytes !== set.bytes)
          throw new Error(`${messages} messages and ${bytes} bytes`);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};

export const CONTESTANTS: readonly Contestant[] = [
  OURS,
  mbsync('yes'),
  mbsync('no'),
  fetchmail,
  getmail,
  wire,
];

/** A program that stores messages as they are, in a temporary directory. */
function elsewhere(
  within: readonly string[],
  prepare: (directory: string) => { command: string[]; stored(): Iterable<Buffer>; altered?: boolean },
): Fetching {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-bench-'));
  const { command, stored, altered = false } = prepare(directory);
  return {
    launch: () => start([...within, ...command]),
    check(set) {
      const found = Array.from(stored(), sha256);
      if (altered) compare('number', [String(found.length)], [String(set.messages.length)]);
      else compare('messages', found, set.messages);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(rmSync(directory, { recursive: true, force: true })),
  };
}

/** getmail delivers for anybody but root. */
function asNobody(directory: string): string[] {
  if (process.getuid!() !== 0) return [];
  execFileSync('chown', ['-R', 'nobody', directory]);
  return ['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups'];
}

function start(command: string[]): { pid: number; finished: Promise<Outcome> } {
  const child: ChildProcess = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
  const finished = said.then(([stdout, stderr]) => ({ status: child.exitCode, stdout, stderr }));
  return { pid: child.pid!, finished };
}

function firstLine(program: string, option: string): string | null {
  const { stdout, error } = spawnSync(program, [option], { encoding: 'utf8' });
  return error === undefined ? (stdout.split('\n')[0] ?? '') : null;
}

/** The messages of a Maildir, as they were on the wire. */
function* maildir(directory: string): Iterable<Buffer> {
  for (const part of ['new', 'cur']) {
    for (const name of readdirSync(join(directory, part))) {
      yield onTheWire(readFileSync(join(directory, part, name)));
    }
  }
}

/** With CRLF, and without the field that mbsync finds its own copies by. */
function onTheWire(stored: Buffer): Buffer {
  const message = stored.toString('latin1').replace(/^X-TUID: .*\n/m, '');
  return Buffer.from(message.replace(/\r?\n/g, '\r\n'), 'latin1');
}

/** The messages in a batch of SMTP commands (RFC 2442), which is larger than a string can be. */
function* readBatch(file: string): Iterable<Buffer> {
  const batch = readFileSync(file);
  const lineEnd = batch.includes('DATA\r\n') ? '\r\n' : '\n';
  const begin = `${lineEnd}DATA${lineEnd}`;
  const end = `${lineEnd}.${lineEnd}`;
  for (let at = batch.indexOf(begin); at >= 0; ) {
    const to = batch.indexOf(end, at + begin.length - lineEnd.length);
    if (to < 0) return;
    const message = batch.toString('latin1', at + begin.length, to + lineEnd.length);
    yield onTheWire(Buffer.from(message.replace(/^\.\./gm, '.'), 'latin1'));
    at = batch.indexOf(begin, to);
  }
}

function compare(what: string, found: string[], expected: readonly string[]): void {
  const sorted = found.toSorted();
  const wrong = sorted.findIndex((hash, index) => hash !== expected[index]);
  if (sorted.length !== expected.length || wrong >= 0)
    throw new Error(`${what}: ${sorted.length} of ${expected.length}, the first that differs is ${wrong}`);
}
