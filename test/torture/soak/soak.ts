/**
 * The attack `soak`: everything at random for as long as it has, with good times in between. One daemon is
 * never killed and must not grow; another one is killed all the time and must not lose or double anything.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { createCertificates } from '../../servers/certificates.ts';
import { type Random, seededRandom } from '../../servers/random.ts';
import type { Attack, AttackOptions, Report } from '../attack.ts';
import { openHouse } from './houses.ts';
import { lanesOf, type Misfortune } from './misfortunes.ts';
import { describeVitals, judgeVitals, type Vitals } from './vitals.ts';
import { openWorld, type World } from './world.ts';

const HOUSES = 3;
/** Of a lane, between two misfortunes, ms. */
const PAUSE = { least: 300, most: 6000 };
/** How long a misfortune lasts at most where it does not say otherwise, ms. */
const LASTS = 4000;
/** Bad times, ms; a short run has shorter ones. */
const BAD = { least: 10_000, most: 60_000 };
/** Of what is left of the time, this much is bad: the rest is for recovering. */
const BAD_SHARE = 0.4;
/** A round that begins has this left for its recovery, ms. */
const RECOVERY = 20_000;
/** Then it can be waited for that it becomes well by itself, ms. */
const PATIENCE = 6 * 60_000;
const PATIENT_SHARE = 1 / 3;
const MEASURE_EVERY = 10_000;

export const soak: Attack = {
  name: 'soak',
  description: 'everything at random for as long as it may take: no loss, no double, no growth',
  run,
};

async function run({ seed, budget, only, tell }: AttackOptions): Promise<Report> {
  const ends = performance.now() + budget;
  using certificates = createCertificates();
  await using stack = new AsyncDisposableStack();
  const random = seededRandom(seed);
  const houses = await Promise.all(
    Array.from({ length: HOUSES }, (_, index) => openHouse(`house${index + 1}`, random, certificates)),
  );
  for (const house of houses) stack.use(house);
  const steady = stack.use(await openWorld({ name: 'steady', houses, measured: true }));
  const mortal = stack.use(await openWorld({ name: 'mortal', houses: [], measured: false }));
  const worlds = [steady, mortal];
  const over = () => worlds.some(({ faults }) => faults.length > 0);
  const runs = await Promise.all(
    worlds.map((world) =>
      live(world, { seed, ends, only, over, tell: (line) => tell(`${world.name}: ${line}`) }),
    ),
  );

  const faults = worlds.flatMap((world) => world.faults);
  const { findings, words } = judgeVitals(steady.monitor!.series);
  for (const word of words) tell(word);
  faults.push(...findings.map((finding) => ({ ...finding, where: 'the steady daemon' })));
  return { runs: runs.reduce((sum, each) => sum + each, 0), faults };
}

interface Course {
  seed: number;
  /** Monotonic ms. */
  ends: number;
  /** Names of the misfortunes that happen. */
  only: RegExp;
  over(): boolean;
  tell(line: string): void;
}

/** Bad times and good ones in turn; returns how many misfortunes there were. */
async function live(world: World, course: Course): Promise<number> {
  world.start();
  await world.recover(false);
  const runs = await rounds(world, course);
  await world.finish();
  return runs;
}

async function rounds(world: World, { seed, ends, only, over, tell }: Course): Promise<number> {
  await using _measuring = measuring(world);
  let runs = 0;
  for (let round = 1; !over() && (round === 1 || performance.now() + BAD.least + RECOVERY < ends); round++) {
    const random = seededRandom(seed + round * 0x9e3779b1);
    const left = (ends - performance.now()) * BAD_SHARE;
    const until =
      performance.now() + Math.max(BAD.least, Math.min(random.between(BAD.most / 3, BAD.most), left));
    const counts = await Promise.all(
      lanesOf(world, world.name === 'mortal').map((lane) => {
        const misfortunes = lane.filter(({ name }) => only.test(name));
        return walk(world, misfortunes, seededRandom(random.between(0, 2 ** 32 - 1)), until, over);
      }),
    );
    runs += counts.reduce((sum, each) => sum + each, 0);
    const patient = random.fraction() < PATIENT_SHARE && performance.now() + PATIENCE < ends;
    const begun = performance.now();
    await world.recover(patient);
    const { sent, optional, seen, quarantined } = world.counts();
    tell(
      `round ${round}: ${runs} misfortunes, ${sent} messages (${optional} may be missing), ${seen} seen, ` +
        `${quarantined} replayed; well ${patient ? 'by itself ' : ''}after ${Math.round((performance.now() - begun) / 1000)} s`,
    );
    const vitals = await measureOf(world, true);
    if (vitals !== null) tell(describeVitals(vitals));
  }
  return runs;
}

/** Null where there is no daemon, or not any more. */
async function measureOf(world: World, quiet: boolean): Promise<Vitals | null> {
  const daemon = world.daemon();
  if (daemon === null || world.monitor === null || !(await world.started())) return null;
  try {
    return await world.monitor.measure(daemon.pid, quiet);
  } catch (error) {
    if (['ESRCH', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

/** Measures all the time, one at a time. */
function measuring(world: World): AsyncDisposable {
  let measured: Promise<unknown> | null = null;
  const timer = setInterval(() => {
    measured ??= measureOf(world, false).finally(() => {
      measured = null;
    });
  }, MEASURE_EVERY);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await measured;
    },
  };
}

/** One misfortune after the other; returns how many there were. */
async function walk(
  world: World,
  misfortunes: readonly Misfortune[],
  random: Random,
  until: number,
  over: () => boolean,
): Promise<number> {
  const all = misfortunes.flatMap((one) => Array<Misfortune>(Math.ceil(one.weight ?? 1)).fill(one));
  const pass = (least: number, most: number) =>
    wait(Math.max(0, Math.min(random.between(least, most), until - performance.now())));
  let count = 0;
  await pass(0, PAUSE.most);
  while (all.length > 0 && performance.now() < until && !over()) {
    const { name, lasts = LASTS, strike } = random.pick(all);
    world.note(name);
    count += 1;
    const mend = await strike(world, random);
    if (typeof mend === 'function') {
      try {
        await pass(lasts / 10, lasts);
      } finally {
        await mend();
      }
    }
    await pass(PAUSE.least, PAUSE.most);
  }
  return count;
}
