/** Runs of the program with a canary as password: what they print, write and show of themselves holds it nowhere. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { accountOn, createWorkplace, PROGRAM, type Workplace } from '../../dovecot/workplace.ts';
import { familyOf } from '../../servers/processes.ts';
import type { Random } from '../../servers/random.ts';
import { type Command, type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import { until } from '../../servers/until.ts';
import type { Fault } from '../attack.ts';
import { filesOf, formsOf, readIfThere } from './canaries.ts';
import type { Configuration } from './configurations.ts';

/** What a password may be made of. All of it stands in a quoted string or a literal. */
const SHAPES = ['$', 'pa"ss\\$', '$ with spaces ', 'Grüße-$', "'$'", '$%3d&?#', '{$}', '$$$$$$$$'];

/** How servers repeat what they were told. */
const ECHOES: ((server: ScriptedServer) => void)[] = [
  () => undefined,
  refusing((tag, line) => [`${tag} NO [AUTHENTICATIONFAILED] cannot understand: ${line}`]),
  refusing((tag, line) => [`${tag} BAD ${line}`]),
  refusing((tag, line) => [`* BAD ${line}`, `* NO [ALERT] ${line}`, `${tag} NO [UNAVAILABLE] later`]),
  refusing((_, line) => [`* BYE ${line}`]),
  // At the first command after the login.
  (server) => {
    let line = '';
    server.script = (command) => {
      if (/^(LOGIN|AUTHENTICATE)$/.test(command.name)) line = lineOf(command);
      if (command.name !== 'SELECT' && command.name !== 'EXAMINE') return;
      command.session.send(`${command.tag} NO you said ${line}`);
      return true;
    };
  },
];

function refusing(answer: (tag: string, line: string) => string[]): (server: ScriptedServer) => void {
  return (server) => {
    server.script = (command) => {
      if (!/^(LOGIN|AUTHENTICATE)$/.test(command.name)) return;
      command.session.send(...answer(command.tag, lineOf(command)));
      return true;
    };
  };
}

const lineOf = ({ tag, name, rest }: Command): string => `${tag} ${name} ${rest}`;

const CAPABILITIES = [
  ['IDLE', 'UIDPLUS'],
  ['IDLE', 'UIDPLUS', 'AUTH=PLAIN', 'SASL-IR'],
  ['IDLE', 'UIDPLUS', 'AUTH=LOGIN', 'AUTH=PLAIN', 'SASL-IR'],
  ['IDLE', 'LITERAL+'],
];

const SOURCES = ['plain', 'file', 'env', 'command'] as const;

/** What a command of ours is told that prints a secret: it shows first what everybody can see of it. */
const SHOWS_ITSELF = 'cat /proc/$$/environ /proc/$$/cmdline >> "$1"; cat "$2"';

/**
 * The n-th echo, on a server of some kind: the daemon and its commands, with accounts whose passwords come from
 * each source there is. Whoever finds one elsewhere than there has found a fault.
 */
export async function exposure(random: Random, number: number): Promise<Fault[]> {
  const secrets = SOURCES.map((source) => {
    const canary = makeCanary(random);
    return { source, canary, password: random.pick(SHAPES).replaceAll('$', canary) };
  });
  // The server refuses the others.
  const right = random.pick(secrets);
  await using server = await startScriptedServer({
    password: right.password,
    capabilities: random.pick(CAPABILITIES),
  });
  const echo = number % ECHOES.length;
  ECHOES[echo]?.(server);
  await using place = createWorkplace({ accounts: [] });
  const environment: Record<string, string> = {};
  const format = random.pick(['text', 'json']);
  place.configure({
    log: { directory: join(place.directory, 'log'), console: true, level: 'debug', format },
    accounts: secrets.map(({ source, password }) =>
      accountOn({ host: '127.0.0.1', imapPort: server.port }, source, 'ann@example.org', '', {
        password: configured(source, password, place.directory, environment),
      }),
    ),
  });
  server.deliver('INBOX', 'Subject: ordinary\r\n\r\nHello\r\n');

  const faults: Fault[] = [];
  const look = (what: string, seen: string | Buffer, allowed?: Source) => {
    const bytes = Buffer.from(seen);
    for (const { source, canary, password } of secrets) {
      const found = formsOf(canary)
        .map((form) => bytes.indexOf(form))
        .find((at) => at >= 0);
      if (found === undefined || source === allowed) continue;
      const near = bytes.toString('latin1', Math.max(0, found - 100), found + 200);
      const which = `${JSON.stringify(password)} by ${source}${source === right.source ? '' : ', which is wrong'}`;
      faults.push({
        kind: 'other',
        where: `password ${which}, echo ${echo}, ${format}, ${server.capabilities.join(' ')}`,
        what: `it is in ${what}: ${JSON.stringify(near)}`,
      });
    }
  };
  const lookAtFiles = () => {
    for (const file of [...filesOf(place), join(place.directory, SEEN)]) look(file, readIfThere(file));
  };
  const program = (...parameters: string[]) => runProgram(place, parameters, environment);
  for (const command of ['check', 'plan', 'once', 'describe']) look(command, await program(command));

  const daemon = startProgram(place, ['run'], environment);
  let said = '';
  for (const stream of [daemon.stdout, daemon.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  try {
    await until('the daemon to have tried', () => hasTried(place, daemon.pid!), 60_000);
    for (const { pid, command } of familyOf(daemon.pid!)) {
      look(`the command line of ${command}`, shown(pid, 'cmdline'));
      // It has what it was started with.
      const own = pid === daemon.pid ? 'env' : undefined;
      look(`the environment of ${command}`, shown(pid, 'environ'), own);
    }
    for (const parameters of [
      ['status'],
      ['status', '--json'],
      ['status', '--check'],
      ['list', '--json'],
      ['replay', 'INBOX-1700000000-1'],
    ])
      look(parameters.join(' '), await program(...parameters));
    // The ledger's journal is gone at the end.
    lookAtFiles();
  } finally {
    const ended = once(daemon, 'close');
    daemon.kill('SIGTERM');
    await ended;
  }
  look('what the daemon said', said);
  lookAtFiles();
  return faults;
}

type Source = (typeof SOURCES)[number];

/** Of letters and digits: no escaping changes it. */
const makeCanary = (random: Random): string => `canary${random.bytes(5).toString('hex')}`;

/** Puts it where the source wants it, and gives what the configuration says of that. */
function configured(
  source: Source,
  password: string,
  directory: string,
  environment: Record<string, string>,
): unknown {
  if (source === 'plain') return password;
  if (source === 'env') {
    environment.CANARY = password;
    return { env: 'CANARY' };
  }
  const file = join(directory, `${source}.secret`);
  writeFileSync(file, `${password}\n`, { mode: 0o600 });
  if (source === 'file') return { file };
  return { command: ['/bin/sh', '-c', SHOWS_ITSELF, 'sh', join(directory, SEEN), file] };
}

/** Where a command writes what it sees of itself. */
const SEEN = 'command';

function startProgram(place: Workplace, parameters: string[], environment: Record<string, string>) {
  return spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', process.execPath, PROGRAM, ...parameters, '--config', place.configuration],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, ...environment } },
  );
}

/** Its standard output and error. */
async function runProgram(
  place: Workplace,
  parameters: string[],
  environment: Record<string, string>,
): Promise<string> {
  const child = startProgram(place, parameters, environment);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return output + errors;
}

/** Each mailbox has had its first outcome. */
function hasTried(place: Workplace, pid: number): boolean {
  const file = join(place.state, 'status.json');
  if (!existsSync(file)) return false;
  const status = JSON.parse(readFileSync(file, 'utf8')) as {
    pid: number;
    mailboxes: { state: string; reason: string | null }[];
  };
  // Until then it is that of an earlier process.
  if (status.pid !== pid || status.mailboxes.length !== SOURCES.length) return false;
  return status.mailboxes.every(({ state, reason }) => state === 'idle' || reason !== null);
}

/** Empty where it is gone. */
function shown(pid: number, what: 'cmdline' | 'environ'): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'utf8');
  } catch {
    return '';
  }
}

/** Configurations that are wrong: `check` says so without the password. */
export async function faultyExposure(
  configurations: readonly Configuration[],
  canary: string,
): Promise<Fault[]> {
  await using place = createWorkplace({ accounts: [] });
  const faults: Fault[] = [];
  for (const { name, text: content, environment } of configurations) {
    writeFileSync(place.configuration, content, { mode: 0o600 });
    const said = await runProgram(place, ['check', '--offline'], environment);
    const what = said.includes(canary) ? said : said === '' ? 'it says nothing' : null;
    if (what !== null) faults.push({ kind: 'other', where: `configuration ${JSON.stringify(name)}`, what });
  }
  return faults;
}
