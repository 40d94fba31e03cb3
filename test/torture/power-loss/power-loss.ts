/** Attack `power-loss`: records what the program does to the disk, and starts it on what a power cut may leave of that. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { seededRandom } from '../../servers/random.ts';
import type { Attack, AttackOptions, Report } from '../attack.ts';
import { removeAtExit } from '../scratch.ts';
import { aftermathOf } from './aftermath.ts';
import { type Cut, cutsOf, describeCut, LEVELS } from './cuts.ts';
import { type Disk, recordDisk } from './disk.ts';
import type { Recording } from './recording.ts';
import { catchUp, hasty, many, type Sequel, sequelsOf } from './scenes.ts';
import { type Aftermath, type Finding, openSettler, type Settler, startAfter } from './verdict.ts';

/** One in so many disks is given to the whole program, whatever the spool alone makes of it. */
const WHOLE_EVERY = 100;

/** Enough to understand what is wrong. */
const FAULTS = 5;

/** Recording takes as long as it takes; with no disk tried nothing is proved, ms. */
const LEAST = 10_000;
/** Parts of the time that is left: for the worst cuts of what is recorded first, and of what follows from it. */
const FIRST = 0.4;
const SEQUELS = 0.7;

export const powerLoss: Attack = {
  name: 'power-loss',
  description: 'power is cut after each operation on the disk, and any of what was not synced is lost',
  run: attack,
};

/** A recording with its disk; `from` is where what it repeats of another one ends. */
interface Recorded {
  recording: Recording;
  disk: Disk;
  from: number;
}

const recorded = (recording: Recording, from = -1): Recorded => ({
  recording,
  disk: recordDisk(recording.initial, recording.calls),
  from,
});

async function attack({ seed, budget, thorough, only, tell }: AttackOptions): Promise<Report> {
  const begun = performance.now();
  const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'mailwatchd-power-'));
  removeAtExit(scratch);
  try {
    using settler = await openSettler(join(scratch, 'disk'));
    const trial = startTrial(settler, seed, tell);
    const first = (await Promise.all([catchUp(seed), many(seed), hasty(seed)])).map((each) => recorded(each));
    const ready = performance.now();
    const time = Math.max(LEAST, budget - (ready - begun));
    const over = (part: number) =>
      trial.report.faults.length >= FAULTS || (!thorough && performance.now() - ready > part * time);

    async function attempt(recordings: Recorded[], levels: number[], part: number): Promise<void> {
      const all = recordings.filter(({ recording }) => only.test(recording.name));
      if (all.length === 0) return;
      const before = trial.report.runs;
      for (const level of levels) {
        const cuts = all.map(({ disk, from }) => cutsOf(disk, level, seededRandom(seed + level), from));
        for (const [which, cut] of inTurn(cuts)) {
          if (over(part)) break;
          const { recording, disk } = all[which]!;
          await trial.cut(recording, disk, cut);
        }
      }
      const names = all.map(({ recording }) => recording.name).join('; ');
      tell(`${names}; levels ${levels}: ${trial.report.runs - before} disks`);
    }

    const sequels = ahead(sequelsOf(first, seededRandom(seed), thorough));
    await attempt(first, [0], FIRST);
    const all = [...first];
    const further = Array.from({ length: LEVELS - 1 }, (_, level) => level + 1);
    for await (const { recording, from } of sequels) {
      if (over(SEQUELS)) break;
      const sequel = recorded(recording, from);
      // Of all of them, which are hundreds, none is kept for later.
      await attempt([sequel], thorough ? [0, 1] : [0], SEQUELS);
      if (!thorough) all.push(sequel);
    }
    for (const level of further) if (!over(1)) await attempt(all, [level], 1);
    await trial.end();
    return trial.report;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Makes each while the one before is being tried, and the first one at once. */
function ahead(sequels: Iterator<Sequel>): AsyncIterable<{ recording: Recording; from: number }> {
  const begin = () => {
    const { done, value } = sequels.next();
    if (done) return null;
    const made = value.make().then((recording) => ({ recording, from: value.from }));
    // Whoever awaits it is told.
    made.catch(() => undefined);
    return made;
  };
  let next = begin();
  return {
    async *[Symbol.asyncIterator]() {
      try {
        while (next !== null) {
          const made = await next;
          next = begin();
          yield made;
        }
      } finally {
        await next?.catch(() => undefined);
      }
    },
  };
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
function startTrial(settler: Settler, seed: number, tell: AttackOptions['tell']) {
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
    if (findings.length > 0 && report.faults.length === 0)
      tell(`the first finding after ${report.runs} disks: ${where}`);
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
