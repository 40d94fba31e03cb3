/** The attack `failing-calls`: system calls that fail, once or for a while, and file systems that do: no crash, no loss, and `status` says why. */
import { availableParallelism } from 'node:os';
import { type Dovecot, startDovecot } from '../../servers/dovecot.ts';
import { type Random, seededRandom } from '../../servers/random.ts';
import { until } from '../../servers/until.ts';
import type { Attack, AttackOptions, Report } from '../attack.ts';
import { together, withinBudget } from '../budget.ts';
import { byPath, injection, isOurs, isShared, labelOf, type OnPath, rankOf } from '../crash/calls.ts';
import { endFaults, type Finding } from '../crash/check.ts';
import { letter } from '../crash/scenarios.ts';
import {
  type Actor,
  forgetStatus,
  type Life,
  PASSWORD,
  type Settings,
  type Stage,
  setStage,
  statusOf,
  USER,
  WITHIN,
} from '../crash/stage.ts';
import { unmountBelow } from '../scratch.ts';
import { type Call, demandStrace, type Tracing } from '../strace.ts';
import { demandFaketime, PLACES, type Place } from './places.ts';

const FILE_ERRORS = ['ENOSPC', 'EIO', 'EACCES', 'EROFS', 'EMFILE', 'ENOMEM', 'EINTR'];
const SOCKET_ERRORS = ['ECONNRESET', 'EPIPE', 'ENOMEM', 'EIO', 'EINTR'];

/** The program tries again what was interrupted, for as long as it is. */
const ONCE_ONLY = ['EINTR', 'retval=0'];

/** A fault that holds a message up is told by then. */
const TOLD_WITHIN = 30_000;

/** What is done while calls fail: a message comes to a daemon that waits, or a start catches up. */
type Work = 'arrival' | 'start';

interface Case {
  actor: Actor;
  work: Work;
  /** Which call fails and how; null: none. */
  fault: CallFault | null;
}

interface CallFault {
  call: Call;
  label: string;
  error: string;
  lasting: boolean;
  on: OnPath | null;
}

export const failingCalls: Attack = {
  name: 'failing-calls',
  description:
    'system calls and file systems that fail, once or for a while: nothing ends, nothing is lost, status says why',
  async run(options) {
    demandStrace();
    demandFaketime();
    await using server = await startDovecot({ users: { [USER]: PASSWORD } });
    return await attackAll(server, options);
  },
};

const SETTINGS: Settings = { storage: { source: 'keep' } };

const MESSAGE = letter('one', { attachments: true });

const WORKS: { actor: Actor; work: Work }[] = [
  { actor: 'spool', work: 'arrival' },
  { actor: 'parser', work: 'arrival' },
  { actor: 'spool', work: 'start' },
  { actor: 'main', work: 'arrival' },
  { actor: 'pool', work: 'arrival' },
  { actor: 'main', work: 'start' },
  { actor: 'pool', work: 'start' },
];

async function attackAll(
  server: Dovecot,
  { seed, budget, thorough, only, tell }: AttackOptions,
): Promise<Report> {
  const random = seededRandom(seed);
  const ends = thorough ? Number.POSITIVE_INFINITY : performance.now() + budget;
  const report: Report = { runs: 0, faults: [] };
  const judge = (where: string, findings: Finding[]) => {
    report.runs += 1;
    report.faults.push(...findings.map((finding) => ({ ...finding, where })));
  };

  // A third of the time; three at once.
  const budgetOf = (part: number) => Math.max(0, ends - performance.now()) * part;
  const places = withinBudget(
    PLACES.filter(({ name }) => only.test(name)),
    { budget: budgetOf(1 / 3), each: 7_000, first: 2, random },
  );
  // They mostly wait.
  await together(places, 3, ends, async (place) => judge(place.name, await inPlace(server, place)));
  if (places.length > 0) tell(`${places.length} places: ${places.map(({ name }) => name).join(', ')}`);

  const works = withinBudget(
    WORKS.filter(({ actor, work }) => only.test(`${work}, ${actor}`)),
    { budget: budgetOf(1), each: 12_000, first: 1, random },
  );
  for (const [index, { actor, work }] of works.entries()) {
    const begun = performance.now();
    if (index > 0 && begun > ends) break;
    const before = report.faults.length;
    const name = `${work}, ${actor}`;
    const whole = await lead(server, { actor, work, fault: null });
    judge(`${name}: nothing fails`, whole.findings);
    const faults = faultsOf(whole, random, thorough);
    let done = 0;
    await together(
      faults,
      availableParallelism(),
      begun + (ends - begun) / (works.length - index),
      async (fault) => {
        const { findings } = await lead(server, { actor, work, fault });
        done += 1;
        judge(`${name}: ${fault.error}${fault.lasting ? ' for a while' : ''}: ${fault.label}`, findings);
      },
    );
    tell(
      `${name}: ${done} of ${faults.length}, ${report.faults.length - before} faults, ${Math.round((performance.now() - begun) / 1000)} s`,
    );
  }
  return report;
}

interface Outcome {
  findings: Finding[];
  calls: Call[];
  directory: string;
}

/** Each call with each error in a thorough run; else each call once with one of them. */
function faultsOf({ calls, directory }: Outcome, random: Random, thorough: boolean): CallFault[] {
  return calls
    .filter((call) => isOurs(call, directory))
    .flatMap((call) => {
      const on = byPath(call, calls, directory);
      const errors = /<(TCP|UNIX)/.test(call.text) ? SOCKET_ERRORS : FILE_ERRORS;
      const all = /write/.test(call.name) ? [...errors, 'retval=0'] : errors;
      const chosen = thorough ? all : [random.pick(all)];
      return chosen.flatMap((error) => {
        const isOnce = ONCE_ONLY.includes(error) || (on === null && isShared(call));
        const both = isOnce ? [false] : [false, true];
        const lasting = thorough ? both : [random.pick(both)];
        return lasting.map((each) => ({ call, label: labelOf(call, directory), error, lasting: each, on }));
      });
    })
    .map((fault) => ({ fault, rank: rankOf(fault.call, directory), by: random.fraction() }))
    .toSorted((one, other) => one.rank - other.rank || one.by - other.by)
    .map(({ fault }) => fault);
}

let folders = 0;

async function lead(server: Dovecot, one: Case): Promise<Outcome> {
  folders += 1;
  await using stage = await setStage(server, `failing-${folders}`, SETTINGS);
  const life = stage.live(
    one.work === 'arrival' ? ['run'] : ['once'],
    one.work === 'start' ? one.actor : undefined,
  );
  const { directory } = stage.place;
  let tracing: Tracing | null = null;
  try {
    if (one.work === 'arrival') await stage.untilIdle(life, 0);
    else await stage.send(MESSAGE);
    tracing = await life.trace(one.actor, ...injectionOf(stage, one));
    await (one.work === 'arrival' ? arrival(stage, life, tracing, one) : start(life, tracing));
    const findings = [...(await finish(stage)), ...(await endFaults(stage, {}))];
    return { findings, calls: tracing.calls(), directory };
  } catch (error) {
    const calls = tracing?.calls() ?? [];
    const hit = calls.filter(({ text }) => text.endsWith('(INJECTED)'));
    // It was another call's turn: one of Node's own.
    const missed = hit.length > 0 && hit.every((call) => !isOurs(call, directory));
    return { findings: missed ? [] : [findingOf(error, life)], calls, directory };
  }
}

/** What strace is to do, and on which path. */
function injectionOf(stage: Stage, { fault }: Case): [inject?: string, path?: string] {
  if (fault === null) return [];
  const { error, lasting } = fault;
  const how = error.startsWith('retval') ? error : `error=${error}`;
  return injection(fault, stage.place.directory, how, lasting);
}

/** A message comes to a daemon that waits, and calls fail. */
async function arrival(stage: Stage, life: Life, tracing: Tracing, { fault }: Case): Promise<void> {
  await stage.send(MESSAGE);
  if (fault?.lasting) {
    await lives(
      stage,
      life,
      'the daemon to get the message through or say why not',
      TOLD_WITHIN,
      () => stage.consumer.consumed.length > 0 || told(stage, life, /./),
    );
    await tracing.detach();
  }
  await lives(stage, life, 'the message to come through', WITHIN, () => through(stage, life, 1));
  await stopped(life);
  await tracing.ended;
}

/** A start catches up and calls fail: it may end, but says why, as documented. */
async function start(life: Life, tracing: Tracing): Promise<void> {
  await until('the program to end', () => life.ended() || null, WITHIN);
  await life.end;
  await tracing.ended;
  const { exitCode } = life.process;
  const says = /^mailwatchd: [A-Z_]+: /m.test(life.output());
  if (exitCode !== 0 && (exitCode === null || exitCode === 70 || !says)) throw new Ended(life);
}

async function inPlace(server: Dovecot, place: Place): Promise<Finding[]> {
  folders += 1;
  await using stage = await setStage(server, `failing-${folders}`, { ...SETTINGS, ...place.settings });
  let life: Life | null = null;
  try {
    place.make?.(stage);
    stage.wear({
      ...(place.unprivileged && { user: NOBODY }),
      ...(place.environment && { environment: place.environment(stage) }),
    });
    life = stage.live(['run']);
    const daemon = life;
    await stage.send(letter('first', { attachments: true }));
    await lives(stage, daemon, 'the first message', WITHIN, () => through(stage, daemon, 1));
    place.spoil(stage);
    await stage.send(letter('second', { attachments: true }));
    const { tells } = place;
    await (tells === null
      ? lives(stage, daemon, 'the second message', WITHIN, () => through(stage, daemon, 2))
      : lives(
          stage,
          daemon,
          `status to say ${tells}`,
          WITHIN,
          () => told(stage, daemon, tells) || saidBy(stage, tells),
        ));
    place.mend(stage);
    await stage.send(letter('third'));
    await lives(stage, daemon, 'the third message', WITHIN, () => through(stage, daemon, 3));
    await stopped(daemon);
    const wrong = (place.check?.(stage) ?? []).map((what) => ({ kind: 'other' as const, what }));
    return [...wrong, ...(await finish(stage)), ...(await endFaults(stage, {}))];
  } catch (error) {
    return [findingOf(error, life)];
  } finally {
    life?.signal('SIGKILL');
    await life?.end;
    stage.consumer.stop();
    unmountBelow(stage.place.directory);
  }
}

/** Anybody but root. */
const NOBODY = 65534;

class Ended extends Error {
  constructor({ process: { exitCode, signalCode } }: Life) {
    super(`it ended, exit ${exitCode ?? signalCode}`);
  }
}

function findingOf(error: unknown, life: Life | null): Finding {
  const what = `${error instanceof Error ? error.message : error}\n${life?.output().slice(-3000) ?? ''}`;
  const kind = error instanceof Ended ? 'crash' : /in vain/.test(what) ? 'hang' : 'other';
  return { kind, what };
}

async function lives(
  stage: Stage,
  life: Life,
  what: string,
  within: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const unlessEnded = () => {
    if (life.ended()) throw new Ended(life);
    return condition();
  };
  await until(what, unlessEnded, within, 50).catch((error: Error) => {
    error.message += ` ${JSON.stringify(statusOf(stage.place, life.pid))}`;
    throw error;
  });
}

/** So many were taken, and all is well again. */
const through = (stage: Stage, life: Life, count: number): boolean =>
  stage.consumer.consumed.length >= count && stage.idles(life, count);

const told = (stage: Stage, life: Life, reason: RegExp): boolean =>
  statusOf(stage.place, life.pid)?.some((mailbox) => !mailbox.healthy && reason.test(mailbox.reason ?? '')) ??
  false;

/** Where the daemon cannot write its status, the command finds out. */
async function saidBy({ place }: Stage, reason: RegExp): Promise<boolean> {
  const { status, stdout, stderr } = await place.command(['status', '--check']);
  return status === 1 && reason.test(stdout + stderr);
}

async function stopped(life: Life): Promise<void> {
  life.signal('SIGTERM');
  await until('the daemon to stop', () => life.ended() || null, WITHIN);
  await life.end;
  if (life.process.exitCode !== 0) throw new Ended(life);
}

/** A life without any fault: it finds what was not finished, and nothing to complain of. */
async function finish(stage: Stage): Promise<Finding[]> {
  forgetStatus(stage.place);
  const life = stage.live(['once']);
  await until('a start without a fault to end', () => life.ended() || null, WITHIN);
  await life.end;
  if (life.process.exitCode === 0) return [];
  return [{ kind: 'other', what: `once: exit ${life.process.exitCode}: ${life.output().slice(-2000)}` }];
}
