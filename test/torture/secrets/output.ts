/** Terminal escapes and forged lines, from server and mail: none reaches log or terminal as it is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { accountOn, createWorkplace, PROGRAM, type Workplace } from '../../dovecot/workplace.ts';
import type { Random } from '../../servers/random.ts';
import { type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import { until } from '../../servers/until.ts';
import type { Fault } from '../attack.ts';

/** util-linux; runs a command on a terminal of its own. */
const SCRIPT = '/usr/bin/script';

/** Throws where script is missing. */
export function demandScript(): void {
  if (!existsSync(SCRIPT)) throw new Error(`${SCRIPT} is missing: apt-get install bsdutils`);
}

/** Clears the screen, names the window, turns what follows around, goes back; and a line of ours. */
const EVIL =
  'x\x1b[2J\x1b]0;title\x07\u009b31m\u0085\u202edesrever\u2066\u200b\ufeff\x08\x7f\t<b>&amp;"\\,=1+1|`id`';
const FORGED = 'forged';
const LINES = `${EVIL}\r\n${FORGED}\u2028${FORGED}\n2026-01-01T00:00:00.000Z error ${FORGED} a=b`;
const word = (content: string) => `=?utf-8?b?${Buffer.from(content).toString('base64')}?=`;

const MESSAGE = [
  `From: ${word(LINES)} <a@x>`,
  `Subject: ${word(LINES)}`,
  `Message-ID: <${word(LINES)}@x>`,
  `X-Raw: ${EVIL}`,
  'Content-Type: multipart/mixed; boundary=b',
  '',
  '--b',
  '',
  LINES,
  '--b',
  `Content-Type: image/png; name="${word(LINES)}"`,
  '',
  'PNG',
  '--b--',
  '',
].join('\r\n');

type Trouble = [name: string, prepare: (server: ScriptedServer) => void];

const refuse = (command: RegExp, answer: (tag: string) => string[]) => (server: ScriptedServer) => {
  server.script = ({ name, tag, session }) => {
    if (!command.test(name)) return;
    session.send(...answer(tag));
    return true;
  };
};

const greeting = (line: string) => (server: ScriptedServer) => {
  server.greeting = line;
};

const TROUBLES: Trouble[] = [
  ['a greeting', greeting(`* OK [${EVIL}] ${EVIL}`)],
  ['a goodbye instead of a greeting', greeting(`* BYE ${EVIL}`)],
  ['no greeting at all', greeting(`${EVIL} ${FORGED}`)],
  ['a capability', (server) => void server.capabilities.push(`X-${EVIL.replace(/[\s"\\]/g, '')}`)],
  [
    'a refused login',
    refuse(/^LOGIN$/, (tag) => [`* NO [ALERT] ${EVIL}`, `${tag} NO [${EVIL.slice(0, 20)}] ${EVIL}`]),
  ],
  ['a refused folder', refuse(/^(SELECT|EXAMINE)$/, (tag) => [`${tag} NO ${EVIL}`])],
  ['a goodbye at the folder', refuse(/^(SELECT|EXAMINE)$/, () => [`* BYE ${EVIL}`])],
  [
    'folders that are nearly the one',
    (server) => {
      server.folders.delete('INBOX');
      const name = `INBOX${EVIL}\n${FORGED}`;
      refuse(/^(LIST|LSUB)$/, (tag) => [
        `* LIST () "/" {${Buffer.byteLength(name)}}\r\n${name}`,
        '* LIST () "/" "INBO&AAoAGw-"',
        `${tag} OK done`,
      ])(server);
    },
  ],
  ['a refused search', refuse(/^UID SEARCH$/, (tag) => [`${tag} BAD ${EVIL}`])],
  ['a refused fetch', refuse(/^UID FETCH$/, (tag) => [`${tag} NO [UNAVAILABLE] ${EVIL}`])],
  ['what is no answer', refuse(/^UID FETCH$/, () => [`${EVIL}`, `* ${EVIL}`])],
  ['nothing', () => undefined],
];

/** What no line may hold: controls, what turns or hides text, line ends that JSON knows not. */
const RAW = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
/** Whatever servers say, it is told as what it is. */
const DEFECT = 'mailwatchd: INTERNAL:';
const FORGED_EVENT = new RegExp(`^\\S+ error ${FORGED}`);
/** A whole one: what comes from outside stands in quotes, and does not end them. */
const LOG_LINE =
  /^\d{4}-\d\d-\d\dT[\d:.]+Z (?:error|warn|info|debug) [a-z_]+(?: [\w.]+=(?:[^\s"\\]*|"(?:[^"\\]|\\.)*"))*$/;
/** Of the file for checks: a line a mailbox, nobody else's tabs. */
const MAILBOX_LINE = /^[^\t]+\t(?:ok|failing)\t[^\t]*$/;

export const OUTPUT_CASES = TROUBLES.length;

/** The n-th kind of server, and all that the program says of it and of its mail. */
export async function output(random: Random, number: number): Promise<Fault[]> {
  const [trouble, prepare] = TROUBLES[number % TROUBLES.length]!;
  // Next time the other one.
  const format = (number + Math.floor(number / TROUBLES.length)) % 2 === 0 ? 'text' : 'json';
  const folder = random.pick(['INBOX', `Ent${'\u009b2J\u202e\u2028\u200b'}`]);
  await using server = await startScriptedServer();
  server.createFolder(folder);
  server.deliver(folder, MESSAGE);
  prepare(server);
  await using place = createWorkplace({ accounts: [] });
  place.configure({
    accounts: [
      accountOn({ host: '127.0.0.1', imapPort: server.port }, 'a', 'ann@example.org', server.password, {
        folders: [folder],
      }),
    ],
    log: { directory: join(place.directory, 'log'), console: true, level: 'debug', format },
    limits: { operationSeconds: 2 },
  });
  const faults: Fault[] = [];
  const look = (what: string, said: string, isLog = false) => {
    const wrong = said
      .split('\n')
      .find(
        (line) =>
          RAW.test(line) ||
          line.startsWith(FORGED) ||
          line.startsWith(DEFECT) ||
          (isLog && !isEvent(line, format)),
      );
    if (wrong !== undefined)
      faults.push({
        kind: 'other',
        where: `${trouble}, ${format}, ${JSON.stringify(folder)}`,
        what: `${what}: ${JSON.stringify(wrong.slice(0, 500))}`,
      });
  };
  const file = join(place.directory, 'evil.eml');
  writeFileSync(file, MESSAGE);

  for (const command of ['check', 'plan'])
    look(`${command} on a terminal`, await onTerminal(place, [command]));
  for (const parameters of [['check'], ['once'], ...WRONG])
    look(parameters.join(' '), await piped(place, parameters));
  const daemon = spawn('setpriv', ['--pdeathsig', 'KILL', ...programOf(place, ['run'])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said = text(daemon.stderr);
  const ended = once(daemon, 'close');
  try {
    await until(
      'the mailbox to be told of',
      () => (place.mailboxes() ?? []).some(({ state, reason }) => reason !== null || state === 'idle'),
      60_000,
    );
    for (const parameters of [['status'], ['status', '--check'], ['list']])
      look(parameters.join(' '), await piped(place, parameters));
    for (const parameters of [
      ['status'],
      ['status', '--json'],
      ['status', '--check', '--json'],
      ['list'],
      ['list', '--json'],
      ['parse', file, `/nonexistent/${LINES}`],
    ])
      look(`${parameters.join(' ')} on a terminal`, await onTerminal(place, parameters));
  } finally {
    daemon.kill('SIGTERM');
    await ended;
  }
  look('what the daemon said', await said, true);
  for (const name of readdirSync(join(place.directory, 'log')).filter((one) => one.endsWith('.log')))
    look('the log', readFileSync(join(place.directory, 'log', name), 'utf8'), true);
  const mailboxes = readFileSync(join(place.state, 'mailboxes'), 'utf8');
  look('mailboxes', mailboxes.replaceAll('\t', ' '));
  if (
    !/\n$/.test(mailboxes) ||
    !mailboxes
      .slice(0, -1)
      .split('\n')
      .every((line) => MAILBOX_LINE.test(line))
  )
    faults.push({ kind: 'other', where: trouble, what: `mailboxes: ${JSON.stringify(mailboxes)}` });
  return faults;
}

/** Told back in errors. */
const WRONG = [
  ['list', '--account', LINES],
  ['list', '--state', LINES],
  ['replay', LINES],
  ['adopt', `a/${LINES}`, '--skip', '--yes'],
  ['parse', '--attachments', `/proc/${LINES}`, '-'],
  ['check', '--config', `/nonexistent/${LINES}`],
  [LINES],
  [`--${LINES}`],
];

function isEvent(line: string, format: string): boolean {
  if (line === '') return true;
  if (format === 'text') return LOG_LINE.test(line) && !FORGED_EVENT.test(line);
  try {
    return typeof (JSON.parse(line) as { event: unknown }).event === 'string';
  } catch {
    return false;
  }
}

const programOf = (place: Workplace, parameters: string[]): string[] => [
  process.execPath,
  PROGRAM,
  ...parameters,
  '--config',
  place.configuration,
];

async function piped(place: Workplace, parameters: string[]): Promise<string> {
  const { stdout, stderr } = await place.command(parameters);
  return stdout + stderr;
}

/** What stands on the terminal, without the colours that are ours and the line ends that are its own. */
async function onTerminal(place: Workplace, parameters: string[]): Promise<string> {
  const command = programOf(place, parameters)
    .map((one) => `'${one}'`)
    .join(' ');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', SCRIPT, '-qec', command, '/dev/null'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, TERM: 'xterm', SHELL: '/bin/sh' },
  });
  const said = await text(child.stdout);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control sequences
  return said.replaceAll('\r\n', '\n').replace(/\x1b\[(?:0|1|22|3[0-9]|39)m/g, '');
}
