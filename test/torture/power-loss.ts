/** Attack `power-loss`: records what the program does to the disk, and starts it on what a power cut may leave of that. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { seededRandom } from '../servers/random.ts';
import type { Attack, AttackOptions, Report } from './attack.ts';
import { type Cut, cutsOf, describeCut, LEVELS } from './power/cuts.ts';
import { type Disk, type Entry, isDurable, recordDisk, survivors, type Tree } from './power/disk.ts';
import type { Recording } from './power/recording.ts';
import { catchUp, hasty } from './power/scenes.ts';
import type { Call } from './power/trace.ts';
import {
  type Aftermath,
  type Finding,
  openSettler,
  type Settler,
  startAfter,
  type Taken,
} from './power/verdict.ts';

/** One in so many disks is given to the whole program, whatever the spool alone makes of it. */
const WHOLE_EVERY = 100;

/** Enough to understand what is wrong. */
const FAULTS = 20;

/** A document's path in a recording; what begins with a dot is not the consumer's. */
const DOCUMENT = /^storage\/([^.][^/]*(?:\/[^/]+)*\.json)$/;

export const powerLoss: Attack = {
  name: 'power-loss',
  description: 'power is cut after each operation on the disk, and any of what was not synced is lost',
  run: attack,
};

async function attack(options: AttackOptions): Promise<Report> {
  const { seed, budget, thorough, tell } = options;
  const ends = performance.now() + budget;
  const recordings = await Promise.all([catchUp(seed), hasty(seed)]);
  const disks = recordings.map((recording) => ({
    recording,
    disk: recordDisk(recording.initial, recording.calls),
  }));
  const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'mailwatchd-power-'));
  try {
    using settler = await openSettler(join(scratch, 'disk'));
    const trial = startTrial(settler, seed);
    const over = () => (!thorough && performance.now() > ends) || trial.report.faults.length >= FAULTS;
    for (let level = 0; level < LEVELS && !over(); level++) {
      const before = trial.report.runs;
      const cuts = disks.map(({ disk }) => cutsOf(disk, level, seededRandom(seed + level)));
      for (const [which, cut] of inTurn(cuts)) {
        if (over()) break;
        const { recording, disk } = disks[which]!;
        await trial.cut(recording, disk, cut);
      }
      tell(`level ${level}: ${trial.report.runs - before} disks`);
    }
    await trial.end();
    return trial.report;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** One of each, until all are through. */
function* inTurn<T>(all: Iterator<T>[]): Generator<[number, T]> {
  const going = new Map(all.entries());
  while (going.size > 0) {
    for (const [which, each] of going) {
      const { done, value } = each.next();
      if (done) going.delete(which);
      else yield [which, value];
    }
  }
}

/** Tries each disk once, with the spool alone, and some of them with the whole program meanwhile. */
function startTrial(settler: Settler, seed: number) {
  const report: Report = { runs: 0, faults: [] };
  const seen = new Set<string>();
  let running: Promise<void> | null = null;

  async function whole(aftermath: Aftermath, suspected: Finding[], where: string): Promise<void> {
    const found = await startAfter(aftermath);
    // The spool alone is the quick way; the program has the last word.
    const findings: Finding[] =
      found.length > 0
        ? found
        : suspected.map(({ what }) => ({ kind: 'other', what: `of the spool alone: ${what}` }));
    for (const { kind, what } of findings) report.faults.push({ kind, where, what });
  }

  return {
    report,
    async cut(recording: Recording, disk: Disk, cut: Cut): Promise<void> {
      for (const consumer of ['absent', 'hasty'] as const) {
        const { aftermath, key } = aftermathOf(recording, disk, cut, consumer, report.runs % 2 === 0);
        if (seen.has(key)) continue;
        seen.add(key);
        report.runs += 1;
        const suspected = settler.settle(aftermath);
        if (suspected.length > 0) await running;
        else if (running !== null || report.runs % WHOLE_EVERY !== 0) continue;
        const where = `seed ${seed}, ${recording.name}, consumer ${consumer}: ${describeCut(disk, cut)}`;
        running = whole(aftermath, suspected, where).finally(() => {
          running = null;
        });
      }
      // The server that the whole program speaks to is in this process.
      await setImmediate();
    },
    end: async () => running,
  };
}

/** The disk after a cut, and what everybody remembers of the time before. */
function aftermathOf(
  { messages, calls, settings }: Recording,
  disk: Disk,
  cut: Cut,
  consumer: 'absent' | 'hasty',
  rubbish: boolean,
): { aftermath: Aftermath; key: string } {
  const { tree, key } = survivors(disk, cut.at, cut.fate);
  const happened = disk.operations.filter((one): one is Entry => one.kind === 'entry' && one.at <= cut.at);
  const arrivals = new Map<string, Entry>();
  const taken = new Map<string, Taken>();
  const early = (arrival: Entry | undefined, at: number): Taken =>
    arrival === undefined || !isDurable(arrival, at) ? 'early' : 'durably';
  for (const one of happened) {
    const path = DOCUMENT.exec(nameOf(one.call))?.[1];
    if (path === undefined) continue;
    if (one.call.kind === 'rename') arrivals.set(path, one);
    if (one.call.kind === 'remove') {
      taken.set(path, tree.has(`storage/${path}`) ? 'in-vain' : early(arrivals.get(path), one.at));
    }
  }
  if (consumer === 'hasty') {
    for (const [path, arrival] of arrivals) {
      if (taken.has(path)) continue;
      taken.set(path, early(arrival, cut.at));
      takeAway(tree, path);
    }
  }
  const uids = messages.map(({ uid }) => uid);
  const setting = settings.findLast(({ from }) => from <= cut.at)!.setting;
  const sent = calls.filter((call) => call.kind === 'sent' && call.begin <= cut.at);
  const owed = setting.start === 'all' ? uids : commanded(sent, 'FETCH');
  const aftermath: Aftermath = {
    ...{ tree, setting, messages, taken, rubbish },
    owed: new Set(owed),
    expunged: new Set(commanded(sent, 'EXPUNGE')),
  };
  const memory = [[...taken], [...aftermath.owed], [...aftermath.expunged]];
  return { aftermath, key: `${key} ${JSON.stringify(memory)}` };
}

const nameOf = (call: Call): string => (call.kind === 'rename' ? call.to : 'path' in call ? call.path : '');

/** A consumer's way: the document with its attachments and source, and every directory that became empty. */
function takeAway(tree: Tree, path: string): void {
  const stem = `storage/${path.replace(/\.json$/, '')}`;
  if (!tree.has(`${stem}.json`)) return;
  for (const each of [...tree.keys()]) {
    if ([`${stem}.json`, `${stem}.eml`, stem].includes(each) || each.startsWith(`${stem}/`))
      tree.delete(each);
  }
  for (let each = dirname(stem); each !== 'storage'; each = dirname(each)) {
    if ([...tree.keys()].some((other) => other.startsWith(`${each}/`))) return;
    tree.delete(each);
  }
}

/** The UIDs that a command was sent for. */
function commanded(sent: readonly Call[], command: 'FETCH' | 'EXPUNGE'): number[] {
  const uids = new Set<number>();
  for (const call of sent) {
    if (call.kind !== 'sent') continue;
    for (const [, set = ''] of call.data
      .toString('latin1')
      .matchAll(new RegExp(`UID ${command} ([\\d:,]+)`, 'g'))) {
      for (const range of set.split(',')) {
        const [low = 0, high = low] = range.split(':').map(Number);
        for (let uid = low; uid <= high; uid++) uids.add(uid);
      }
    }
  }
  return [...uids];
}
