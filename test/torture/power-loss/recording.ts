/** Records what lives of the built program do to the disk, system call by system call. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { createWorkplace, PROGRAM, type Workplace } from '../../dovecot/workplace.ts';
import type { ScriptedServer } from '../../servers/scripted.ts';
import { until } from '../../servers/until.ts';
import { recordDisk, survivors, type Tree } from './disk.ts';
import { commanded, configure, type Sent, type Setting, startServer } from './mailbox.ts';
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
  ['state', { content: null, mode: 0o750 }],
  ['storage', { content: null, mode: 0o2770 }],
]);

/** Where a recording goes on. */
export type Past = Pick<Recording, 'messages' | 'initial' | 'calls' | 'settings'> & {
  /** What the server holds. */
  present: Sent[];
  uidNext: number;
};

/** Before the first start, with an empty server. */
export const newPast = (messages: Sent[]): Past => ({
  ...{ messages, present: [], uidNext: 1, initial: NEW, calls: [], settings: [] },
});

/** The program was killed at `at`, with the power on: what was not durable is there, and still is not. */
export function killedAt({ messages, initial, calls, settings }: Recording, at: number): Past {
  const before = calls.filter(({ end }) => end <= at);
  const expunged = commanded(before, 'EXPUNGE');
  return {
    ...{ messages, initial, calls: before, settings: settings.filter(({ from }) => from <= at) },
    present: messages.filter(({ uid }) => !expunged.has(uid)),
    uidNext: messages.length + 1,
  };
}

/** Power was cut: `initial` is what survived, and all there is. */
export function cutAt(recording: Recording, at: number, initial: Tree): Past {
  const { settings, ...past } = killedAt(recording, at);
  const last = settings.slice(-1).map(({ setting }) => ({ from: 0, setting }));
  return { ...past, initial, calls: [], settings: last };
}

/** Records `act`, done to what a past left. */
export async function record(
  name: string,
  past: Past,
  act: (stage: Stage) => Promise<void>,
): Promise<Recording> {
  const { messages, present, uidNext, initial } = past;
  await using place = createWorkplace({ accounts: [] });
  await using server = await startServer(present, uidNext);
  const [calls, settings] = [[...past.calls], [...past.settings]];
  const recording: Recording = { name, messages, initial, calls, settings };
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
  const status = join(stage.place.state, 'status.json');
  // The last daemon's word is not this one's.
  rmSync(status, { force: true });
  const both = ['sh', '-c', 'setpriv --pdeathsig KILL "$0" "$1" "$2" & shift 2 && exec "$@"'];
  const beside = [...both, process.execPath, script, stage.place.storage, ...daemon];
  await trace(stage, consumer === null ? daemon : beside, async () => {
    await during();
    await until('the daemon to tell its pid', () => existsSync(status));
    process.kill((JSON.parse(readFileSync(status, 'utf8')) as { pid: number }).pid, 'SIGTERM');
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
    if (status !== 0) throw new Error(`${recording.name}: it ended with ${status}: ${stderr.slice(-2000)}`);
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
  for (const [path, { content, mode }] of tree) {
    if (content === null) mkdirSync(join(directory, path), { recursive: true });
    else writeFileSync(join(directory, path), content);
    chmodSync(join(directory, path), mode);
  }
}

export function readTree(directory: string): Tree {
  const tree: Tree = new Map();
  const walk = (below: string) => {
    for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (NOISE.test(path) || !/^(state|storage)(\/|$)/.test(path)) continue;
      const at = join(directory, path);
      const content = entry.isDirectory() ? null : readFileSync(at);
      tree.set(path, { content, mode: statSync(at).mode & 0o7777 });
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
    if (one === undefined || other === undefined || one.mode !== other.mode) return true;
    return !(one.content ?? Buffer.alloc(0)).equals(other.content ?? Buffer.alloc(0));
  });
  if (wrong.length > 0) throw new Error(`the model and the disk differ in ${wrong.slice(0, 10).join(', ')}`);
}
