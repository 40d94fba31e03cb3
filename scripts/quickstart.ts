/** The quickstart: an embedded IMAP server, the built daemon against it, three messages, their documents. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { styleText } from 'node:util';
import { type EmbeddedServer, startEmbeddedServer } from '../test/servers/embedded.ts';
import { connectImap } from '../test/servers/imap-client.ts';
import { publishedFiles } from '../test/servers/published.ts';
import { until } from '../test/servers/until.ts';

const ACCOUNT = { user: 'demo@example.org', password: 'demo' };

/** Far more than a slow machine needs: a newcomer should see what is wrong, not wait for it. */
const READY_WITHIN = 30_000;
const PUBLISHED_WITHIN = 20_000;

/** How often we look for the document, ms: the error of the milliseconds that we show. */
const LOOK_EVERY = 2;

/** A daemon that has not stopped by then never will: its own limit is 5 s. */
const STOPPED_WITHIN = 10_000;

/** Exit status after SIGINT, as shells have it. */
const INTERRUPTED = 130;

/** Columns of a field's line where the terminal does not say. */
const COLUMNS = 100;

/** What a newcomer wants to see first, in the document's order. */
const SHOWN = [
  'id',
  'subject',
  'sender',
  'body',
  'html',
  'to',
  'receivedAt',
  'attachments',
  'size',
  'warnings',
];

const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

/** RFC 5322 §3.3 has no "GMT". */
const DATE = `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`;

const MESSAGES = [
  {
    title: 'A plain message',
    lines: [
      'From: Ann Example <ann@example.org>',
      'To: support@example.net',
      'Subject: Invoice 42',
      DATE,
      'Message-ID: <invoice-42@example.org>',
      '',
      'Hello,',
      '',
      'please find the amount of 17.50 below.',
      '',
      'Ann',
    ],
  },
  {
    title: 'HTML, with accents and an emoji in the subject',
    lines: [
      'From: =?UTF-8?Q?Zo=C3=AB_M=C3=BCller?= <zoe@example.org>',
      'To: support@example.net',
      'Subject: =?UTF-8?B?R3LDvMOfZSBhdXMgWsO8cmljaCDwn46J?=',
      DATE,
      'Message-ID: <zuerich@example.org>',
      'MIME-Version: 1.0',
      'Content-Type: text/html; charset=utf-8',
      'Content-Transfer-Encoding: quoted-printable',
      '',
      '<html><body><h1>Gr=C3=BC=C3=9Fe!</h1><p>Das <b>Fondue</b> war gro=C3=9Fartig.</p></body></html>',
    ],
  },
  {
    title: 'With an attachment',
    lines: [
      'From: scanner@example.org',
      'To: support@example.net',
      'Subject: Scan of today',
      DATE,
      'Message-ID: <scan-1@example.org>',
      'MIME-Version: 1.0',
      'Content-Type: multipart/mixed; boundary=scan',
      '',
      '--scan',
      'Content-Type: text/plain; charset=utf-8',
      '',
      'One page.',
      '--scan',
      'Content-Type: image/png; name="scan.png"',
      'Content-Disposition: attachment; filename="scan.png"',
      'Content-Transfer-Encoding: base64',
      '',
      PIXEL,
      '--scan--',
    ],
  },
];

interface Document {
  [field: string]: unknown;
  uid: number;
}

const project = resolve(import.meta.dirname, '..');
const { stdout } = process;
const say = (line = ''): boolean => stdout.write(`${line}\n`);
const styled = (style: Parameters<typeof styleText>[0], words: string): string =>
  stdout.isTTY ? styleText(style, words, { stream: stdout }) : words;

/** Started by `quickstart`, in the order in which `cleanUp` ends it. */
const started: { daemon?: ChildProcess; server?: EmbeddedServer; directory?: string } = {};
let daemonOutput = '';

async function quickstart(keep: boolean): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-quickstart-'));
  started.directory = directory;
  const deliveredAt = new Map<number, number>();
  const server = await startEmbeddedServer({
    ...ACCOUNT,
    onDelivered: (uid) => deliveredAt.set(uid, performance.now()),
  });
  started.server = server;
  const configuration = writeConfiguration(directory, server);
  const storage = join(directory, 'storage');

  say(styled('bold', 'mailwatchd: mail in, JSON out'));
  say();
  say(`  IMAP server     ${server.host}:${server.port}, embedded, mail in memory`);
  say(`  configuration   ${configuration}`);
  say(`  documents       ${storage}`);
  say();

  started.daemon = startDaemon(configuration);
  await whileDaemonRuns('the daemon to watch its mailbox', READY_WITHIN, () => isWatching(directory));

  const shown = new Set<string>();
  const nextDocument = () => publishedFiles(storage).find((file) => !shown.has(file));
  const show = (file: string, title: string) => {
    const seenAt = performance.now();
    shown.add(file);
    const document = JSON.parse(readFileSync(file, 'utf8')) as Document;
    const milliseconds = Math.round(seenAt - (deliveredAt.get(document.uid) ?? seenAt));
    say(`${styled('bold', title)}: JSON after ${styled('green', `${milliseconds} ms`)}`);
    say(file);
    say(render(document));
    say();
  };

  for (const [index, message] of MESSAGES.entries()) {
    server.deliver(Buffer.from(`${message.lines.join('\r\n')}\r\n`));
    const file = await whileDaemonRuns('the document', PUBLISHED_WITHIN, nextDocument);
    show(file, `${index + 1}. ${message.title}`);
  }

  if (!keep) return sayWhatNext();
  sayHowToSend(server, directory);
  for (let number = MESSAGES.length + 1; ; number++) {
    const file = await whileDaemonRuns('a message', Number.POSITIVE_INFINITY, nextDocument);
    show(file, `${number}. Another message`);
  }
}

function writeConfiguration(directory: string, server: EmbeddedServer): string {
  const file = join(directory, 'mailwatchd.yaml');
  writeFileSync(join(directory, 'password'), ACCOUNT.password, { mode: 0o600 });
  writeFileSync(
    file,
    `accounts:
  - name: demo
    host: ${server.host}
    port: ${server.port}
    security: none            # allowed on loopback only
    user: ${ACCOUNT.user}
    password: { file: ${directory}/password }
    folders: [INBOX]
    start: all
storage: { directory: ${directory}/storage }
state: { directory: ${directory}/state }
log: { directory: ${directory}/log, console: true }
`,
  );
  for (const name of ['storage', 'state', 'log']) mkdirSync(join(directory, name));
  return file;
}

/** The built daemon, without a configuration that the caller's environment may hold; it dies with us. */
function startDaemon(configuration: string): ChildProcess {
  const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('MAILWATCHD_'));
  const command = [process.execPath, join(project, 'dist/main.js'), 'run', '--config', configuration];
  // util-linux's; elsewhere than on Linux there is none, and only a SIGKILL to us would leave the daemon.
  const bind = spawnSync('setpriv', ['--version']).status === 0 ? ['setpriv', '--pdeathsig', 'TERM'] : [];
  const [program, ...parameters] = [...bind, ...command] as [string, ...string[]];
  const daemon = spawn(program, parameters, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: Object.fromEntries(environment),
  });
  for (const stream of [daemon.stdout, daemon.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      daemonOutput = (daemonOutput + chunk.toString()).slice(-10_000);
    });
  }
  return daemon;
}

/** `until`, but ends as soon as the daemon does. */
function whileDaemonRuns<T>(what: string, within: number, condition: () => T) {
  return until(
    what,
    () => {
      const { daemon } = started;
      if (daemon && daemon.exitCode === null && daemon.signalCode === null) return condition();
      throw new Error('the daemon ended');
    },
    within,
    LOOK_EVERY,
  );
}

/** Whether the daemon waits for mail: its first catch-up is done. */
function isWatching(directory: string): boolean {
  try {
    const status = JSON.parse(readFileSync(join(directory, 'state/status.json'), 'utf8')) as {
      mailboxes: { state: string }[];
    };
    return (
      status.mailboxes.length > 0 &&
      status.mailboxes.every(({ state }) => ['idle', 'polling'].includes(state))
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** A line a field, cut to the terminal's width; how many were left out. */
function render(document: Document): string {
  const columns = stdout.columns ?? COLUMNS;
  const isEmpty = (value: unknown) => value === null || (Array.isArray(value) && value.length === 0);
  const fields = SHOWN.filter((field) => !isEmpty(document[field]));
  const lines = fields.map((field) => {
    const line = `  ${JSON.stringify(field)}: ${JSON.stringify(document[field])},`;
    return line.length > columns ? `${line.slice(0, columns - 2)}…,` : line;
  });
  return ['{', ...lines, `  … and ${Object.keys(document).length - fields.length} more fields`, '}'].join(
    '\n',
  );
}

function sayWhatNext(): void {
  say(styled('bold', 'What next'));
  say('  ./scripts/quickstart --keep                    stay up, and send mail yourself');
  say('  cp config/mailwatchd.yaml my.yaml              then name your own mailbox in it');
  say('  npx node dist/main.js check --config my.yaml   what is wrong, and what to do');
  say('  npx node dist/main.js run --config my.yaml     the daemon');
  say('README.md tells the rest. Everything of this run is removed again.');
}

function sayHowToSend(server: EmbeddedServer, directory: string): void {
  say(styled('bold', 'It stays up. Ctrl-C ends it and removes everything.'));
  say(
    `  account   ${ACCOUNT.user}, password ${ACCOUNT.password}, IMAP ${server.host}:${server.port} without TLS`,
  );
  say(`  log       ${join(directory, 'log')}`);
  say('  send a message from another shell:');
  say(
    `  printf 'From: me@example.org\\nSubject: Hello\\n\\nIt works.\\n' | ${join(project, 'scripts/quickstart')} --send ${server.port}`,
  );
  say();
}

/** Appends the message on standard input to the INBOX of a quickstart that stays up. */
async function send(port: number): Promise<void> {
  const raw = Buffer.from((await text(process.stdin)).replace(/\r?\n/g, '\r\n'));
  await using client = await connectImap({ host: '127.0.0.1', port, ...ACCOUNT });
  await client.command('APPEND INBOX ', raw);
  say('sent');
}

let cleaning: Promise<void> | null = null;

/** Ends what was started and removes what was made, once, however often it is called. */
function cleanUp(): Promise<void> {
  cleaning ??= endAndRemove();
  return cleaning;
}

async function endAndRemove(): Promise<void> {
  const { daemon, server, directory } = started;
  if (daemon && daemon.exitCode === null && daemon.signalCode === null) {
    const ended = once(daemon, 'exit');
    daemon.kill('SIGTERM');
    const impatience = setTimeout(() => daemon.kill('SIGKILL'), STOPPED_WITHIN);
    await ended;
    clearTimeout(impatience);
  }
  await server?.stop();
  if (directory) rmSync(directory, { recursive: true, force: true });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, async () => {
    say();
    await cleanUp();
    process.exit(INTERRUPTED);
  });
}

const [option, port] = process.argv.slice(2);
try {
  if (option === '--send') await send(Number(port));
  else await quickstart(option === '--keep');
} catch (error) {
  // Being interrupted is no failure: the handler above ends the process.
  if (!cleaning) {
    process.stderr.write(
      `quickstart: ${error instanceof Error ? error.message : String(error)}\n${daemonOutput}`,
    );
    process.exitCode = 1;
  }
}
await cleanUp();
