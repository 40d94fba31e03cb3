/** From inside of a parser process: nothing can be read or written but what it needs, and no secret is there. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { accountOn, createWorkplace } from '../../dovecot/workplace.ts';
import { descendantsOf } from '../../servers/processes.ts';
import { startScriptedServer } from '../../servers/scripted.ts';
import { until } from '../../servers/until.ts';
import type { Fault, Report } from '../attack.ts';
import { takeOver } from '../taken-over.ts';
import { formsOf } from './canaries.ts';

interface Outcome {
  environment: string[];
  inherited: Record<string, string>;
  denied: Record<string, string>;
  allowed: Record<string, string>;
}

/** Whatever else an attempt ends with is no refusal, and proves nothing. */
const REFUSALS = [
  ...['ERR_ACCESS_DENIED', 'ERR_DLOPEN_DISABLED', 'ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED', 'ERR_NO_SQLITE'],
];

/** Its name among the cases. */
export const INTRUSION = 'a parser taken over';

/** `canary` is the password of the daemon whose parser is taken over. */
export async function intrude(canary: string): Promise<Report> {
  await using server = await startScriptedServer({ password: canary });
  await using place = createWorkplace({
    accounts: [accountOn({ host: '127.0.0.1', imapPort: server.port }, 'a', 'ann@example.org', canary)],
  });
  const program = await takeOver(place.directory, 'secrets/intruder.mjs');
  for (const name of ['secret', 'secret.json'])
    writeFileSync(join(place.directory, name), `{"SECRET":"${canary}"}`);
  mkdirSync(join(place.directory, 'traces'));
  const faults: Fault[] = [];
  const add = (where: string, what: string) => void faults.push({ kind: 'other', where, what });

  // A descriptor that whoever starts the daemon left open.
  const left = openSync(join(place.directory, 'secret'), 'r');
  const daemon = spawn(
    'setpriv',
    [...['--pdeathsig', 'KILL', process.execPath, program], ...['run', '--config', place.configuration]],
    { stdio: ['ignore', 'pipe', 'pipe', left], env: { PATH: process.env.PATH } },
  );
  closeSync(left);
  let said = '';
  for (const stream of [daemon.stdout, daemon.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  try {
    const orders = { place: place.directory, program: dirname(dirname(program)) };
    await until('IDLE', () => [...server.sessions].some(({ idling }) => idling));
    server.deliver('INBOX', `X-Intruder: all ${JSON.stringify(orders)}\r\n\r\nbody\r\n`);
    const outcome = await outcomeIn(place.storage, daemon);
    for (const [name, result] of Object.entries(outcome.denied))
      if (!REFUSALS.includes(result)) add(INTRUSION, `could ${name} (${result})`);
    for (const [name, result] of Object.entries(outcome.allowed))
      if (result !== 'allowed') add('the attack itself', `could not ${name}: ${result}`);
    if (outcome.environment.length > 0) add('environment', outcome.environment.join(' '));
    for (const [fd, text] of Object.entries(outcome.inherited))
      if (text.includes(canary)) add('descriptors', `${fd} is a secret's`);
    for (const { pid, command } of descendantsOf(daemon.pid!))
      faults.push(...looksInto(pid, command, canary));

    await until('IDLE', () => [...server.sessions].some(({ idling }) => idling));
    server.deliver('INBOX', `X-Intruder: trace ${JSON.stringify(orders)}\r\n\r\nbody\r\n`);
    await until('the second message', () => handled(place.storage, 2), 120_000);
    const traces = readdirSync(join(place.directory, 'traces'));
    if (traces.length > 0) add(INTRUSION, `executed, or had V8 write: ${traces.join(' ')}`);
    if (/debugger|inspector/i.test(said)) add('SIGUSR1', `opened the debugger: ${said}`);
    faults.push(...misleads(place.directory, program));
    return { runs: Object.keys(outcome.denied).length + 5, faults };
  } catch (error) {
    add('the attack itself', `${error}\n${said.slice(-2000)}`);
    return { runs: 0, faults };
  } finally {
    await end(daemon);
  }
}

/** A document's id names the directory that `parse` moves its attachments to. */
function misleads(directory: string, program: string): Fault[] {
  const [message, mine] = [join(directory, 'forged.eml'), join(directory, 'mine')];
  mkdirSync(mine);
  writeFileSync(join(mine, 'file'), '');
  const forge = `X-Intruder: forge ${JSON.stringify({ id: '../mine' })}`;
  writeFileSync(message, `${forge}\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n`);
  const parse = ['parse', '--attachments', join(directory, 'attachments'), message];
  const { stdout } = spawnSync(process.execPath, [program, ...parse], { encoding: 'utf8' });
  const what = !existsSync(join(mine, 'file'))
    ? 'had `parse` move a directory that was not its own'
    : !stdout.includes('PARSE_FAILED') && `was not refused: ${stdout}`;
  return what === false ? [] : [{ kind: 'other', where: INTRUSION, what }];
}

async function end(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const ended = once(daemon, 'exit');
  daemon.kill('SIGKILL');
  await ended;
}

async function outcomeIn(storage: string, daemon: ChildProcess): Promise<Outcome> {
  const staging = join(storage, '.staging');
  const file = await until(
    'the outcome',
    () => {
      if (daemon.exitCode !== null || daemon.signalCode !== null) throw new Error('the daemon ended');
      return readdirSync(staging)
        .map((run) => join(staging, run, 'outcome'))
        .find((path) => existsSync(path));
    },
    60_000,
  );
  return JSON.parse(readFileSync(file, 'utf8')) as Outcome;
}

/** Published or quarantined. */
function handled(storage: string, uid: number): boolean {
  const names = readdirSync(storage, { recursive: true, encoding: 'utf8' });
  return names.some((name) => name.endsWith(`-${uid}.json`) || name.endsWith(`-${uid}.error`));
}

/** What of a process everybody of its user can see, and its memory. */
function looksInto(pid: number, command: string, canary: string): Fault[] {
  const seen: [string, Buffer][] = [
    ['command line', readFileSync(`/proc/${pid}/cmdline`)],
    ['environment', readFileSync(`/proc/${pid}/environ`)],
    ...memoryOf(pid),
  ];
  return seen.flatMap(([what, bytes]) =>
    formsOf(canary)
      .filter((form) => bytes.includes(form))
      .map(() => ({
        kind: 'other' as const,
        where: `${command} ${pid}`,
        what: `the password is in its ${what}`,
      })),
  );
}

/** Of one piece of memory, bytes: larger ones are read in part, and hold no more than what is reserved. */
const MOST_PIECE = 64 * 1024 * 1024;

function* memoryOf(pid: number): Generator<[string, Buffer]> {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
      const [, from, to, mode] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
      if (from === undefined || to === undefined || !mode?.startsWith('rw')) continue;
      const start = Number.parseInt(from, 16);
      const piece = Buffer.alloc(Math.min(Number.parseInt(to, 16) - start, MOST_PIECE));
      try {
        yield ['memory', piece.subarray(0, readSync(memory, piece, 0, piece.length, start))];
      } catch (error) {
        // A mapping without pages behind it.
        if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
      }
    }
  } finally {
    closeSync(memory);
  }
}
