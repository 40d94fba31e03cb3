/** What is recorded: every way of the handoff, from the first start on. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publishedFiles } from '../../servers/published.ts';
import { type Random, seededRandom } from '../../servers/random.ts';
import { until } from '../../servers/until.ts';
import { type Disk, isDurable, survivors, type Tree } from './disk.ts';
import {
  ACCOUNT,
  deliver,
  HIGH_LIMIT,
  idOf,
  LOW_LIMIT,
  makeMessages,
  type Setting,
  STRANGER,
} from './mailbox.ts';
import { command, cutAt, killedAt, live, newPast, type Recording, record, type Stage } from './recording.ts';
import type { Call } from './trace.ts';

const LOW: Setting = { start: 'all', after: { delete: false }, messageBytes: LOW_LIMIT };
const HIGH: Setting = { ...LOW, messageBytes: HIGH_LIMIT };
const DELETING: Setting = { ...HIGH, start: 'new', after: { delete: true } };

/** The default of the configuration, less nothing: the usual umask takes none of it. */
const FILE_MODE = 0o640;

const published = (stage: Stage, count: number) =>
  until(`${count} documents`, () => publishedFiles(stage.place.storage).length === count);

const quarantined = (stage: Stage, uid: number) =>
  existsSync(join(stage.place.storage, '.quarantine', ACCOUNT, `${idOf(uid)}.error`));

const CATCH_UP = 'catch-up';

/** A first start with mail, quarantine among it, then mail in IDLE, a stop, a second copy, and a higher limit. */
export function catchUp(seed: number): Promise<Recording> {
  const messages = makeMessages(seededRandom(seed));
  return record(CATCH_UP, newPast(messages), async (stage) => {
    const [last, ...first] = messages.toReversed();
    for (const message of first.toReversed()) deliver(stage.server, message);
    await live(stage, LOW, async () => {
      await published(stage, 3);
      await until('the quarantine', () => quarantined(stage, 3));
      await stage.server.idle();
      deliver(stage.server, last!);
      await published(stage, 4);
    });
    await command(stage, LOW, ['replay', '--again', idOf(2)]);
    await live(stage, HIGH, async () => {
      await published(stage, 6);
      await until('the quarantine to be empty', () => !quarantined(stage, 3));
    });
  });
}

/** A first start with so much mail that it is synced by the batch. */
export function many(seed: number): Promise<Recording> {
  const messages = makeMessages(seededRandom(seed), 12);
  return record('many', newPast(messages), (stage) => {
    for (const message of messages) deliver(stage.server, message);
    return command(stage, HIGH, ['once']);
  });
}

/** Mail that comes one by one, is deleted on the server, and taken by a consumer that tidies up. */
export function hasty(seed: number): Promise<Recording> {
  const messages = makeMessages(seededRandom(seed));
  return record('hasty', newPast(messages), async (stage) => {
    const { server, place } = stage;
    const handled = () =>
      until('all to be taken', () => {
        return (
          server.folders.get('INBOX')!.messages.length === 0 && publishedFiles(place.storage).length === 0
        );
      });
    await live(
      stage,
      DELETING,
      async () => {
        await server.idle();
        deliver(server, messages[0]!);
        await handled();
        await server.idle();
        for (const message of messages.slice(1)) deliver(server, message);
        await handled();
      },
      'hasty',
    );
  });
}

/** Another start after a kill at `at`. */
export function killed(before: Recording, at: number): Promise<Recording> {
  const name = `${before.name}, killed`;
  return record(name, killedAt(before, at), (stage) => command(stage, settingAt(before, at), ['once']));
}

/** The start after a power cut, of which only `survived` is left: it may be cut short itself. */
export function recovering(before: Recording, at: number, survived: Tree): Promise<Recording> {
  const name = `${before.name}, recovering`;
  return record(name, cutAt(before, at, survived), (stage) =>
    command(stage, settingAt(before, at), ['once']),
  );
}

/** Another start after a kill at `at`, when a stranger's file lies at `path`, where a document was to come. */
export function obstructed(before: Recording, at: number, path: string): Promise<Recording> {
  return record(`${before.name}, obstructed`, killedAt(before, at), async (stage) => {
    const { place, recording } = stage;
    writeFileSync(join(place.directory, path), STRANGER, { mode: FILE_MODE });
    const open = { path, create: FILE_MODE, truncate: false, append: false, synchronous: true };
    recording.calls.push({ kind: 'open', begin: at, end: at, ...open });
    recording.calls.push({ kind: 'write', begin: at, end: at, path, offset: 0, data: STRANGER });
    await live(stage, settingAt(before, at), async () => {
      await until('the mailbox to hold', () =>
        place.mailboxes()?.some(({ reason }) => reason?.includes('FILE_EXISTS')),
      );
    });
  });
}

const settingAt = ({ settings }: Recording, at: number): Setting =>
  settings.findLast(({ from }) => from <= at)!.setting;

/** What may go on where a recording was interrupted at `from`. */
export interface Sequel {
  from: number;
  make(): Promise<Recording>;
}

/** All of them, or with `thorough` false one of each kind that the seed chooses. */
export function* sequelsOf(
  recorded: { recording: Recording; disk: Disk }[],
  random: Random,
  thorough: boolean,
): Generator<Sequel> {
  const some = <T>(list: T[]): T[] => (thorough || list.length === 0 ? list : [random.pick(list)]);
  const steps = recorded.flatMap(({ recording, disk }) =>
    disk.operations
      .filter(({ at }) => at > 0)
      .map((step) => ({
        recording,
        disk,
        at: step.at,
        call: step.kind === 'write' ? null : step.call,
        step,
      })),
  );
  const pending = steps.filter(({ step }) => !isDurable(step, step.at));
  /** Killed after such a call, before what it did was durable. */
  const killedAfter = (wanted: (call: Call) => boolean): Sequel[] =>
    some(pending.filter(({ call }) => call !== null && wanted(call))).map(({ recording, at }) => ({
      ...{ from: at, make: () => killed(recording, at) },
    }));
  yield* killedAfter(({ kind, ...call }) => kind === 'mode' && 'path' in call && CONSUMERS.test(call.path));
  for (const { recording, at, call } of some(steps.filter(({ call }) => call !== null && isEarly(call)))) {
    yield { from: at, make: () => obstructed(recording, at, documentOf(call as Call)) };
  }
  // In a recording that begins after a cut nobody remembers what a consumer took before it.
  const untaken = steps.filter(({ recording, call }) => recording.name === CATCH_UP && call !== null);
  for (const { recording, disk, at } of some(untaken)) {
    const { tree } = survivors(disk, at, () => 'lost');
    yield { from: 0, make: () => recovering(recording, at, tree) };
  }
  for (const kind of ['rename', 'make-directory', 'remove', 'link', 'open']) {
    yield* killedAfter((call) => call.kind === kind);
  }
}

/** What begins with a dot is ours alone. */
const CONSUMERS = /^storage\/[^.]/;

const documentOf = (call: Call): string =>
  call.kind === 'rename' ? `${call.to.replace(/\.eml$/, '')}.json` : '';

/** A move before the document's own; a second copy holds no mailbox up. */
const isEarly = (call: Call): boolean =>
  call.kind === 'rename' && CONSUMERS.test(call.to) && !/\.json$|~2/.test(call.to);
