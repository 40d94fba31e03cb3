/** The attack `crash`: SIGKILL at each system call that changes something, one life a call; then each message is there once. */
import { availableParallelism } from 'node:os';
import { type Dovecot, startDovecot } from '../../servers/dovecot.ts';
import { type Random, seededRandom } from '../../servers/random.ts';
import { until } from '../../servers/until.ts';
import type { Attack, AttackOptions, Report } from '../attack.ts';
import { together, withinBudget } from '../budget.ts';
import { type Call, demandStrace } from '../strace.ts';
import { byPath, injection, isOurs, labelOf, type OnPath, rankOf } from './calls.ts';
import { endFaults, type Finding, type Reference, referenceOf } from './check.ts';
import { demand, SCENARIOS, type Scenario } from './scenarios.ts';
import { ACTORS, type Actor, forgetStatus, PASSWORD, type Stage, setStage, USER, WITHIN } from './stage.ts';

/** A scenario takes at least so long, ms: one life that is whole, and some that are not. */
const SHARE = 8_000;

/** A life of a scenario: whole, to learn which calls it makes, or killed at one of them. */
interface Case {
  scenario: Scenario;
  actor: Actor;
  at: { call: Call; on: OnPath | null; label: string; together: boolean } | null;
}

interface Outcome {
  findings: Finding[];
  calls: Call[];
  reference: Reference;
  killed: boolean;
  directory: string;
}

export const crash: Attack = {
  name: 'crash',
  description: 'SIGKILL at each system call that changes something, then each message is there once',
  async run(options) {
    demandStrace();
    await using server = await startDovecot({ users: { [USER]: PASSWORD } });
    return await attackEach(server, options);
  },
};

/** In turn, so that a short run gets to see each of them: the worst calls of each scenario first. */
async function attackEach(
  server: Dovecot,
  { seed, budget, thorough, only, tell }: AttackOptions,
): Promise<Report> {
  const random = seededRandom(seed);
  const ends = thorough ? Number.POSITIVE_INFINITY : performance.now() + budget;
  const report: Report = { runs: 0, faults: [] };
  // First the thread that hands messages over, in each scenario.
  const all = ACTORS.flatMap((actor) =>
    SCENARIOS.filter(({ actors }) => actors.includes(actor)).map((scenario) => ({ scenario, actor })),
  ).filter(({ scenario, actor }) => only.test(`${scenario.name}, ${actor}`));
  const places = withinBudget(all, { budget: ends - performance.now(), each: SHARE, first: 4, random });
  let unreached = 0;
  for (const [index, { scenario, actor }] of places.entries()) {
    const begun = performance.now();
    if (index > 0 && begun > ends) break;
    const before = report.faults.length;
    const share = begun + (ends - begun) / (places.length - index);
    const name = `${scenario.name}, ${actor}`;
    const whole = await lead(server, { scenario, actor, at: null }, null);
    report.faults.push(
      ...whole.findings.map((finding) => ({ ...finding, where: `${name}: without a crash` })),
    );
    const cases = casesOf(whole, actor, random).map((at) => ({ scenario, actor, at }));
    let done = 0;
    let killed = 0;
    // Most of a case is waiting.
    await together(cases, availableParallelism(), share, async (one) => {
      const where = `${name}: ${one.at.label}`;
      const outcome = await lead(server, one, whole.reference);
      done += 1;
      if (outcome.killed) killed += 1;
      report.faults.push(...outcome.findings.map((finding) => ({ ...finding, where })));
    });
    report.runs += done + 1;
    unreached += done - killed;
    const faults = report.faults.length - before;
    tell(
      `${name}: ${done} of ${cases.length} calls, killed at ${killed}, ${faults} faults, ${seconds(begun)} s`,
    );
  }
  if (unreached > 0) tell(`${unreached} lives ended before the call that they were to die at`);
  return report;
}

const seconds = (since: number): number => Math.round((performance.now() - since) / 1000);

let folders = 0;

async function lead(server: Dovecot, one: Case, reference: Reference | null): Promise<Outcome> {
  const { scenario, at } = one;
  folders += 1;
  const folder = `torture-${folders}`;
  await using stage = await setStage(server, folder, scenario.settings?.(folder));
  try {
    await scenario.before?.(stage);
    const { calls, killed } = await attackedLife(stage, one);
    forgetStatus(stage.place);
    const after = await (scenario.after?.(stage) ?? demand(stage, ['once']));
    const findings = await (scenario.check?.(stage, reference) ?? endFaults(stage, { reference }));
    return {
      findings: [...after, ...findings],
      ...{ calls, killed, directory: stage.place.directory },
      reference: referenceOf(stage.consumer.consumed),
    };
  } catch (error) {
    // What never comes to its end is a hang; anything else is told as it is.
    const what = error instanceof Error ? error.message : String(error);
    const kind = /in vain/.test(what) ? 'hang' : 'other';
    return {
      findings: [{ kind, what }],
      calls: [],
      reference: new Map(),
      killed: at !== null,
      directory: '',
    };
  }
}

/** Leads the life that is attacked to its end, whichever that is. */
async function attackedLife(
  stage: Stage,
  { scenario, actor, at }: Case,
): Promise<{ calls: Call[]; killed: boolean }> {
  const parameters = scenario.command(stage);
  const waits = parameters[0] === 'run';
  const life = stage.live(parameters, waits ? undefined : actor);
  if (waits) await stage.untilIdle(life, scenario.stored ?? 0);
  const tracing = await life.trace(
    actor,
    ...(at === null ? [] : injection(at, stage.place.directory, 'signal=SIGKILL')),
  );
  if (at?.together) void tracing.ended.then(() => life.signal('SIGKILL'));
  if (waits) {
    await scenario.provoke?.(stage, life);
    await until(
      'the daemon to do what it has to',
      async () => life.ended() || (await scenario.done?.(stage, life)) || null,
      WITHIN,
      50,
    );
    life.signal('SIGTERM');
  }
  await until('the program to end', () => life.ended() || null, WITHIN);
  await life.end;
  await tracing.ended;
  return { calls: tracing.calls(), killed: tracing.killed() };
}

/** The calls that touch what is ours, the most dangerous kinds first, each kind shuffled. A parser dies alone, or with its daemon. */
function casesOf({ calls, directory }: Outcome, actor: Actor, random: Random): NonNullable<Case['at']>[] {
  return calls
    .filter((call) => isOurs(call, directory))
    .flatMap((call) => {
      const label = labelOf(call, directory);
      const alone = { call, on: byPath(call, calls, directory), label, together: false };
      return actor === 'parser'
        ? [alone, { ...alone, label: `${label}, the daemon with it`, together: true }]
        : [alone];
    })
    .map((one) => ({ ...one, rank: rankOf(one.call, directory), by: random.fraction() }))
    .toSorted((one, other) => one.rank - other.rank || one.by - other.by);
}
