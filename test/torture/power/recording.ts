/** Records what lives of the built program do to the disk, system call by system call. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createWorkplace, PROGRAM, type Workplace } from '../../dovecot/workplace.ts';
import type { ScriptedServer } from '../../servers/scripted.ts';
import { recordDisk, survivors, type Tree } from './disk.ts';
import { configure, type Sent, type Setting, startServer } from './mailbox.ts';
import { type Call, readCalls, startTraced } from './trace.ts';

export interface Recording {
  name: string;
  /** All that is delivered at any time. */
  messages: Sent[];
  /** What the disk held before, durably. */
  initial: Tree;
  calls: Call[];
  /** From when on which configuration was in force. */
  settings: { from: number; setting: Setting }[];
}

/** A recording that is being made. */
export interface Stage {
  place: Workplace;
  server: ScriptedServer;
  recording: Recording;
}

/** What no start relies on, and what SQLite makes anew. It is not recorded; anything may be found in it. */
const NOISE = /^state\/(heartbeat|status\.json|mailboxes|lock\.db|ledger\.db-shm)/;

/** A workplace before the first start. */
const NEW: Tree = new Map([
  ['state', null],
  ['storage', null],
]);

/** Records `act` on a new workplace, or on what `before` left: its disk, and what was not durable on it. */
export async function record(
  name: string,
  messages: Sent[],
  act: (stage: Stage) => Promise<void>,
  before: Pick<Recording, 'initial' | 'calls' | 'settings'> = { initial: NEW, calls: [], settings: [] },
): Promise<Recording> {
  await using place = createWorkplace({ accounts: [] });
  await using server = await startServer([], 1);
  const recording = { name, messages, ...before, calls: [...before.calls], settings: [...before.settings] };
  writeTree(place.directory, visible(recording));
  await act({ place, server, recording });
  demandSame(readTree(place.directory), visible(recording));
  return recording;
}

/** Runs the daemon under `setting` until `during` is over; a consumer beside it takes what is published. */
export async function live(
  stage: Stage,
  setting: Setting,
  during: () => Promise<void>,
  consumer: 'hasty' | null = null,
): Promise<void> {
  const daemon = programOn(stage, setting, ['run']);
  const script = resolve(import.meta.dirname, 'consumer.ts');
  // It ends with the daemon, whose child it is.
  const both = ['sh', '-c', 'setpriv --pdeathsig KILL "$0" "$1" "$2" & shift 2 && exec "$@"'];
  const beside = [...both, process.execPath, script, stage.place.storage, ...daemon];
  await trace(stage, consumer === null ? daemon : beside, async () => {
    await during();
    const status = readFileSync(join(stage.place.state, 'status.json'), 'utf8');
    process.kill((JSON.parse(status) as { pid: number }).pid, 'SIGTERM');
  });
}

/** Runs a command to its end. */
export const command = (stage: Stage, setting: Setting, parameters: string[]): Promise<void> =>
  trace(stage, programOn(stage, setting, parameters), () => Promise.resolve());

function programOn({ place, server, recording }: Stage, setting: Setting, parameters: string[]): string[] {
  configure(place, server, setting);
  recording.settings.push({ from: recording.calls.at(-1)?.end ?? 0, setting });
  return [process.execPath, PROGRAM, ...parameters, '--config', place.configuration];
}

async function trace(
  { place, recording }: Stage,
  parameters: string[],
  during: () => Promise<void>,
): Promise<void> {
  const output = join(place.directory, 'trace');
  const traced = startTraced(parameters, output);
  const finished = traced.finished.then(({ status, stderr }) => {
    if (status !== 0) throw new Error(`${recording.name}: ended with ${status}: ${stderr.slice(-2000)}`);
  });
  try {
    await Promise.all([during(), finished]);
  } finally {
    // Ends what it traces, where something failed.
    traced.kill();
  }
  const from = recording.calls.at(-1)?.end ?? 0;
  for (const call of await readCalls(output, place.directory)) {
    if (!isNoise(call)) recording.calls.push({ ...call, begin: call.begin + from, end: call.end + from });
  }
  recording.calls.sort((one, other) => one.end - other.end);
  rmSync(output);
}

function isNoise(call: Call): boolean {
  if (call.kind === 'sent') return false;
  const path = call.kind === 'rename' || call.kind === 'link' ? call.to : call.path;
  return NOISE.test(path) || !/^(state|storage)(\/|$)/.test(path);
}

/** What a program sees that goes on where these calls ended, with the power on. */
const visible = ({ initial, calls }: Pick<Recording, 'initial' | 'calls'>): Tree =>
  survivors(recordDisk(initial, calls), Number.POSITIVE_INFINITY, () => 'kept').tree;

export function writeTree(directory: string, tree: Tree): void {
  for (const [path, content] of tree) {
    if (content === null) mkdirSync(join(directory, path), { recursive: true });
    else writeFileSync(join(directory, path), content);
  }
}

export function readTree(directory: string): Tree {
  const tree: Tree = new Map();
  const walk = (below: string) => {
    for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (NOISE.test(path) || !/^(state|storage)(\/|$)/.test(path)) continue;
      tree.set(path, entry.isDirectory() ? null : readFileSync(join(directory, path)));
      if (entry.isDirectory()) walk(path);
    }
  };
  walk('');
  return tree;
}

/** A model that is wrong about what there is knows nothing of what there might be. */
function demandSame(real: Tree, modelled: Tree): void {
  const wrong = [...new Set([...real.keys(), ...modelled.keys()])].filter((path) => {
    const [one, other] = [real.get(path), modelled.get(path)];
    return one instanceof Buffer && other instanceof Buffer ? !one.equals(other) : one !== other;
  });
  if (wrong.length > 0) throw new Error(`the model and the disk differ in ${wrong.slice(0, 10).join(', ')}`);
}
