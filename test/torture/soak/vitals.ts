/** What a daemon takes over time, memory above all, and whether it grows. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../servers/until.ts';
import type { Finding } from '../crash/check.ts';

const PROBE = join(import.meta.dirname, 'probe.ts');

/** A daemon that waits for its disk answers late. */
const ANSWER_WITHIN = 15_000;
/** Measured for less than a run of half an hour does, growth cannot be told from getting warm, ms. */
const VERDICT_AFTER = 25 * 60_000;
/** Until caches are full and every path was taken: a third of the time, and this at least. */
const WARM_AFTER = 10 * 60_000;
/** Of each of these spans the least counts: what is in work at a moment is no growth. */
const SPAN = 2 * 60_000;
/** The most that memory may grow, bytes an hour. */
const MOST_GROWTH = 1024 * 1024;
/** Quiet points of each half, below which a constant cannot be told. */
const LEAST_QUIET = 4;
/** Now and then one or two more or less are there. */
const CHANCE = 2;

export interface Vitals {
  /** Since the daemon's start, ms. */
  at: number;
  /** Whether nothing was in work. */
  quiet: boolean;
  /** Bytes in use after collecting garbage, of both threads, without compiled code: V8 compiles better what has run often, ever more seldom for an hour, and drops what has not run. */
  used: number;
  /** Bytes of compiled code, of both threads. */
  code: number;
  /** Bytes that V8 holds for both, in use or not. */
  heap: number;
  rss: number;
  pss: number;
  counts: { descriptors: number; sockets: number; timers: number; handles: number };
}

type Memory = Pick<Vitals, 'used' | 'code' | 'heap'>;

export interface Monitor {
  /** The command that loads the probe into the daemon. */
  within: string[];
  series: Vitals[];
  /** Null where the daemon did not answer. */
  measure(pid: number, quiet: boolean): Promise<Vitals | null>;
}

/** `file` is written by the daemon, whoever it runs as. */
export function monitor(file: string): Monitor {
  const begun = performance.now();
  const series: Vitals[] = [];
  writeFileSync(file, '');
  const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return {
    within: ['env', `TORTURE_VITALS=${file}`, `NODE_OPTIONS=--expose-gc --import=${PROBE}`],
    series,
    async measure(pid, quiet) {
      const before = lines().length;
      process.kill(pid, 'SIGUSR2');
      const line = await until('vitals', () => lines()[before], ANSWER_WITHIN).catch(() => null);
      if (line === null) return null;
      const { main, spool, resources } = JSON.parse(line) as {
        main: Memory;
        spool: Memory;
        resources: Record<string, number>;
      };
      const { Timeout: timers = 0, ...handles } = resources;
      const vitals: Vitals = {
        ...{ at: performance.now() - begun, quiet },
        used: main.used + spool.used,
        code: main.code + spool.code,
        heap: main.heap + spool.heap,
        ...memoryOf(pid),
        counts: {
          ...descriptorsOf(pid),
          timers,
          handles: Object.values(handles).reduce((sum, count) => sum + count, 0),
        },
      };
      series.push(vitals);
      return vitals;
    },
  };
}

function memoryOf(pid: number): { rss: number; pss: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)![1]) * 1024;
  return { rss: bytes('Rss'), pss: bytes('Pss') };
}

function descriptorsOf(pid: number): { descriptors: number; sockets: number } {
  const targets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return ''; // closed meanwhile
    }
  });
  return {
    descriptors: targets.length,
    sockets: targets.filter((target) => target.startsWith('socket:')).length,
  };
}

const MB = 1024 * 1024;

export function describeVitals({ at, used, code, heap, rss, pss, counts }: Vitals): string {
  const mb = (bytes: number) => (bytes / MB).toFixed(1);
  const { descriptors, sockets, timers, handles } = counts;
  return (
    `after ${(at / 60_000).toFixed(1)} min ${mb(used)} MB in use, code ${mb(code)}, V8 holds ${mb(heap)}, RSS ${mb(rss)}, PSS ${mb(pss)}; ` +
    `${descriptors} descriptors, ${sockets} sockets, ${timers} timers, ${handles} other handles`
  );
}

/** What grew, and words on what was measured. */
export function judgeVitals(series: readonly Vitals[]): { findings: Finding[]; words: string[] } {
  const findings: Finding[] = [];
  const words: string[] = [];
  const lasted = series.at(-1)?.at ?? 0;
  const warm = series.filter(({ at }) => at >= Math.max(WARM_AFTER, lasted / 3));
  for (const name of ['used', 'rss', 'pss'] as const) {
    const envelope = leastOfEach(warm.map((vitals) => ({ at: vitals.at, value: vitals[name] })));
    if (lasted < VERDICT_AFTER || envelope.length < 2) continue;
    const { low, slope, high } = growth(envelope);
    const perHour = (each: number) => ((each * 3_600_000) / MB).toFixed(2);
    const grows = `${name} grows by ${perHour(slope)} MB an hour (${perHour(low)} to ${perHour(high)})`;
    words.push(grows);
    if (low * 3_600_000 > MOST_GROWTH) findings.push({ kind: 'other', what: grows });
  }

  const quiet = series.filter((vitals) => vitals.quiet);
  const half = Math.floor(quiet.length / 2);
  for (const name of ['descriptors', 'sockets', 'timers', 'handles'] as const) {
    const counts = quiet.map((vitals) => vitals.counts[name]);
    words.push(`${name} at quiet points: ${counts.join(' ')}`);
    // A leak leaves each later point above all earlier ones.
    const [first, second] = [counts.slice(0, half), counts.slice(-half)];
    if (half >= LEAST_QUIET && Math.min(...second) > Math.max(...first) + CHANCE)
      findings.push({ kind: 'other', what: `ever more ${name}: ${counts.join(' ')}` });
  }
  return { findings, words };
}

interface Point {
  at: number;
  value: number;
}

function leastOfEach(points: readonly Point[]): Point[] {
  const spans = Map.groupBy(points, ({ at }) => Math.floor(at / SPAN));
  return [...spans.values()].map((span) =>
    span.reduce((least, one) => (one.value < least.value ? one : least)),
  );
}

/** Theil and Sen's slope, which outliers do not move, and the interval that holds it with 95 %. */
function growth(points: readonly Point[]): { low: number; slope: number; high: number } {
  const slopes = points
    .flatMap((one, index) =>
      points.slice(index + 1).map((other) => (other.value - one.value) / (other.at - one.at)),
    )
    .toSorted((a, b) => a - b);
  const count = points.length;
  // The deviation of Kendall's statistic.
  const spread = 1.96 * Math.sqrt((count * (count - 1) * (2 * count + 5)) / 18);
  const rank = (place: number) => slopes[Math.max(0, Math.min(slopes.length - 1, Math.round(place)))]!;
  return {
    low: rank((slopes.length - spread) / 2 - 1),
    slope: rank((slopes.length - 1) / 2),
    high: rank((slopes.length + spread) / 2),
  };
}
