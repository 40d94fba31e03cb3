/** Runs of the program with a canary as password: what they print, write and show of themselves holds it nowhere. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { accountOn, createWorkplace, PROGRAM, type Workplace } from '../dovecot/workplace.ts';
import { familyOf } from '../servers/processes.ts';
import type { Random } from '../servers/random.ts';
import { type Command, type ScriptedServer, startScriptedServer } from '../servers/scripted.ts';
import { until } from '../servers/until.ts';
import type { Fault } from './attack.ts';
import { formsOf } from './secrets-canaries.ts';
import type { Configuration } from './secrets-configurations.ts';

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

/** The n-th echo, on a server of some kind, with a password configured in some way: the daemon and its commands. */
export async function exposure(random: Random, number: number): Promise<Fault[]> {
  const canary = random.pick(SHAPES).replaceAll('$', `canary${random.bytes(5).toString('hex')}`);
  const kind = random.pick(SOURCES);
  await using server = await startScriptedServer({
    password: canary,
    capabilities: random.pick(CAPABILITIES),
  });
  const echo = number % ECHOES.length;
  ECHOES[echo]?.(server);
  await using place = createWorkplace({ accounts: [] });
  const account = accountOn({ host: '127.0.0.1', imapPort: server.port }, 'a', 'ann@example.org', canary, {
    password: sourceOf(kind, canary, place.directory),
  });
  const format = random.pick(['text', 'json']);
  const log = { directory: join(place.directory, 'log'), console: true, level: 'debug', format };
  place.configure({ log, accounts: [account] });
  server.deliver('INBOX', 'Subject: ordinary\r\n\r\nHello\r\n');

  const where = `${JSON.stringify(canary)} by ${kind}, echo ${echo}, ${format}, ${server.capabilities.join(' ')}`;
  const faults: Fault[] = [];
  const look = (what: string, seen: string | Buffer) => {
    for (const form of formsOf(canary)) {
      const at = seen.indexOf(form);
      if (at < 0) continue;
      const near = seen.toString('latin1').slice(Math.max(0, at - 100), at + 200);
      faults.push({ kind: 'other', where, what: `the password is in ${what}: ${JSON.stringify(near)}` });
      return;
    }
  };
  const environment = kind === 'env' ? { CANARY: canary } : {};
  const program = (...parameters: string[]) => runProgram(place, parameters, environment);
  for (const command of ['check', 'plan', 'once', 'describe']) look(command, await program(command));

  const daemon = startProgram(place, ['run'], environment);
  let said = '';
  for (const stream of [daemon.stdout, daemon.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  try {
    await until(
      'the daemon to have tried',
      () => server.commands.filter((line) => /^(LOGIN|AUTH)/.test(line)).length > 3,
    );
    await until('its status', () => statusIsTold(place), 20_000);
    for (const { pid, command } of familyOf(daemon.pid!)) {
      look(`the command line of ${command}`, shown(pid, 'cmdline'));
      // Where it comes from a variable, the daemon has that.
      if (kind !== 'env' || pid !== daemon.pid) look(`the environment of ${command}`, shown(pid, 'environ'));
    }
    for (const parameters of [['status'], ['status', '--json'], ['status', '--check'], ['list', '--json']])
      look(parameters.join(' '), await program(...parameters));
  } finally {
    const ended = once(daemon, 'close');
    daemon.kill('SIGTERM');
    await ended;
  }
  look('what the daemon said', said);
  for (const file of filesOf(place)) look(file, readFileSync(file));
  return faults;
}

function sourceOf(kind: (typeof SOURCES)[number], canary: string, directory: string): unknown {
  const file = join(directory, 'secret');
  if (kind === 'plain') return canary;
  if (kind === 'env') return { env: 'CANARY' };
  writeFileSync(file, `${canary}\n`, { mode: 0o600 });
  return kind === 'file' ? { file } : { command: ['/bin/cat', file] };
}

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

const statusIsTold = (place: Workplace): boolean =>
  (place.mailboxes() ?? []).some(({ state }) => state !== 'connecting');

/** Empty where it is gone. */
function shown(pid: number, what: 'cmdline' | 'environ'): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'utf8');
  } catch {
    return '';
  }
}

/** All that lies in the workplace but what holds the password by order. */
function filesOf(place: Workplace): string[] {
  const ordered = [place.configuration, join(place.directory, 'secret')];
  return readdirSync(place.directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(place.directory, name))
    .filter((file) => statSync(file).isFile() && !ordered.includes(file));
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
