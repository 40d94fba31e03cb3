/** Which disks are made of a recording: where power is cut, and what of the pending operations survives. */
import type { Random } from '../../servers/random.ts';
import { type Disk, type Fate, isDurable, type Step } from './disk.ts';

/** A power cut: when, and what became of what was not durable. */
export interface Cut {
  at: number;
  fate(step: Step): Fate;
}

/** What else can be left of bytes that were not synced. */
const LOSSES: readonly Fate[] = ['lost', 'zeros', 'half'];

/** With so many pending operations at most all sets are tried. */
const SMALL_SET = 8;

/** Samples a cut where they are more. */
const SAMPLES = 16;

/** Each later level has more sets of what survives; the first ones find most. */
export const LEVELS = 4;

/** Every cut of a level after `from`, in an order that the seed gives. */
export function* cutsOf(disk: Disk, level: number, random: Random, from = -1): Generator<Cut> {
  const times = [...new Set([0, ...disk.operations.map(({ at }) => at)])].filter((at) => at > from);
  for (let left = times.length; left > 0; left--) {
    const chosen = random.between(0, left - 1);
    const at = times[chosen]!;
    times[chosen] = times[left - 1]!;
    const pending = disk.operations.filter((one) => one.at <= at && !isDurable(one, at));
    for (const fate of fatesOf(pending, level, random)) yield { at, fate };
  }
}

/** Together: a name, or the bytes of a file; of SQLite's files each write by itself, since it writes them for years. */
function unitsOf(pending: readonly Step[]): Step[][] {
  const units = new Map<unknown, Step[]>();
  for (const one of pending) {
    const unit = one.kind === 'write' && !/ledger\.db/.test(one.path) ? one.file : one;
    units.set(unit, [...(units.get(unit) ?? []), one]);
  }
  return [...units.values()];
}

function* fatesOf(pending: readonly Step[], level: number, random: Random): Generator<(step: Step) => Fate> {
  const units = unitsOf(pending);
  /** What is not named was kept, or lost. */
  const only = (named: Iterable<Step>, fate: Fate, others: Fate) => {
    const set = new Set(named);
    return (one: Step) => (set.has(one) ? fate : others);
  };
  if (level === 0) {
    yield () => 'lost';
    // The last name there was, without what came before it.
    const last = pending.findLast(({ kind }) => kind === 'entry');
    if (last !== undefined) yield only([last], 'kept', 'lost');
    // Names without their bytes, as after a delayed allocation; bytes without their names.
    for (const loss of LOSSES) yield ({ kind }) => (kind === 'write' ? loss : 'kept');
    yield ({ kind }) => (kind === 'write' ? 'kept' : 'lost');
    yield ({ kind }) => (kind === 'mode' ? 'lost' : 'kept');
    yield () => 'kept';
  } else if (level === 1) {
    for (const unit of units) {
      yield only(unit, 'kept', 'lost');
      yield only(unit, unit[0]?.kind !== 'write' ? 'lost' : random.pick(LOSSES), 'kept');
    }
  } else if (level === 2) {
    // As a journal that keeps the order of its operations would have it.
    for (let kept = 1; kept < units.length; kept++) yield only(units.slice(0, kept).flat(), 'kept', 'lost');
  } else if (units.length <= SMALL_SET) {
    for (let set = 0; set < 2 ** units.length; set++) {
      yield only(units.filter((_, index) => (set >> index) & 1).flat(), 'kept', 'lost');
    }
  } else {
    for (let sample = 0; sample < SAMPLES; sample++) {
      const fates = new Map(
        units.flatMap((unit) => {
          const fate = random.fraction() < 0.5 ? 'kept' : random.pick(LOSSES);
          return unit.map((one) => [one, fate] as const);
        }),
      );
      yield (one) => fates.get(one) ?? 'lost';
    }
  }
}

/** The cut in words: what had happened last, and which operations that were pending had survived. */
export function describeCut(disk: Disk, { at, fate }: Cut): string {
  const happened = disk.operations.filter((one) => one.at <= at);
  const pending = happened.filter((one) => !isDurable(one, at));
  const words = (one: Step) => one.what.replaceAll(/\d{8}T\d{6}Z-[0-9a-f]{8}/g, 'RUN');
  const last = happened.at(-1);
  const survived = pending.map((one) => `${fate(one)}: ${words(one)}`);
  const shown = survived.length > 12 ? [...survived.slice(-12), `… of ${survived.length}`] : survived;
  return `cut after “${last === undefined ? 'nothing' : words(last)}”; pending ${shown.join('; ') || 'nothing'}`;
}
