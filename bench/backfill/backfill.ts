/** How fast a whole mailbox is fetched, beside other programs that do so: interleaved, and only what was stored right counts. */
import type { Outcome } from '../../test/dovecot/workplace.ts';
import { startDovecot } from '../../test/servers/dovecot.ts';
import type { Bench, BenchOptions, Result } from '../bench.ts';
import { type Measured, measure, peakMemory } from '../measure.ts';
import { median } from '../statistics.ts';
import { CONTESTANTS, type Contestant, type Fetching, OURS } from './contestants.ts';
import { fill, type MailSet, SETS, type SetName } from './mail.ts';

/** What the others' speed is told in. */
const REFERENCE = 'mbsync, FSync yes';

export const backfill: Bench = {
  name: 'backfill',
  description: 'a whole mailbox by `once`, beside mbsync, fetchmail, getmail6 and the bare wire',
  async run(options) {
    const results: Result[] = [];
    for (const name of Object.keys(SETS) as SetName[]) {
      if (options.sets.length === 0 || options.sets.includes(name))
        results.push(await compete(name, options));
    }
    return results;
  },
};

const SYNCS = 'fsync,fdatasync,syncfs';

/** What is known of a program after all rounds. */
interface Taken {
  /** Peak, bytes. */
  memory: number;
  runs: Measured[];
}

async function compete(
  name: SetName,
  { rounds, limit, extra, syncDelay, tell }: BenchOptions,
): Promise<Result> {
  const login = { user: 'ann', password: 'a' };
  await using server = await startDovecot({ users: { ann: 'a' }, driver: 'sdbox' });
  const set = await fill(server, login.user, name, limit);
  const bytes = `${(set.bytes / 1e6).toFixed(0)} MB`;
  const slower = syncDelay > 0 ? `, each sync ${syncDelay} ms slower` : '';
  const title = `${name}: ${set.messages.length} messages, ${bytes}${slower}`;
  tell(title);
  const taken = new Map<Contestant, Taken>(
    CONTESTANTS.filter((contestant) => takesPart(contestant, extra, tell)).map((contestant) => [
      contestant,
      { memory: 0, runs: [] },
    ]),
  );
  // The session that filled it goes, since its time would count.
  await server.restart();
  // Nothing is removed before the end: ext4 looks for a minute at each inode that was freed before it takes one, and
  // whoever makes the most files after that would pay for it (7 s instead of 2 in the kernel).
  await using stored = new AsyncDisposableStack();
  // The first round is for memory alone; it also fills Dovecot's cache, which whoever is timed first would pay for.
  for (let round = 0; round <= rounds; round++) {
    for (const [contestant, { runs }] of taken) {
      try {
        const fetching = stored.use(contestant.prepare({ server, ...login, within: slowerDisk(syncDelay) }));
        if (round === 0) {
          const { memory, outcome } = await peakMemory(fetching.launch());
          await check(fetching, set, outcome);
          taken.set(contestant, { memory, runs });
          tell(`memory: ${contestant.name}: ${Math.round(memory / 1e6)} MB`);
        } else {
          const { outcome, ...measured } = await measure(() => fetching.launch());
          await check(fetching, set, outcome);
          runs.push(measured);
          tell(`round ${round}: ${contestant.name}: ${measured.seconds.toFixed(2)} s`);
        }
      } catch (error) {
        if (contestant === OURS) throw error;
        tell(`round ${round}: ${contestant.name} failed and is out: ${(error as Error).message}`);
        taken.delete(contestant);
      }
    }
  }
  const reference = [...taken].find(([{ name }]) => name === REFERENCE)?.[1];
  return {
    title,
    rows: [...taken].map(([contestant, of]) => row(contestant, of, { set, reference })),
    figures: Object.fromEntries([...taken].map(([contestant, { runs }]) => [contestant.name, runs])),
    plot: {
      name: `backfill-${name}`,
      kind: 'bars',
      by: 'name',
      values: ['messages/s'],
      unit: 'messages a second',
    },
  };
}

/** Runs a program on a slower disk: strace holds it up behind each sync, and lets it alone else. */
const slowerDisk = (milliseconds: number): string[] =>
  milliseconds > 0
    ? [
        ...['strace', '--follow-forks', '--seccomp-bpf', '--quiet=all', '--output=/dev/null'],
        ...[`--trace=${SYNCS}`, `--inject=${SYNCS}:delay_exit=${milliseconds * 1000}`],
      ]
    : [];

function takesPart(
  { name, version, unusual }: Contestant,
  extra: readonly string[],
  tell: BenchOptions['tell'],
): boolean {
  if (unusual !== undefined && !extra.includes(name)) {
    tell(`${name} is left out without --with ${name}: it ${unusual}`);
    return false;
  }
  const installed = version();
  tell(installed === null ? `${name} is not installed` : `${name}: ${installed}`);
  return installed !== null;
}

/** Throws unless the run ended well and stored what was sent: only then its figures count. */
async function check(fetching: Fetching, set: MailSet, outcome: Outcome): Promise<void> {
  if (outcome.status !== 0) throw new Error(`exit ${outcome.status}: ${outcome.stderr.slice(-2000)}`);
  await Promise.resolve(fetching.check(set, outcome)).catch((error: Error) => {
    throw new Error(`it did not store what was sent: ${error.message}`);
  });
}

function row(
  { name }: Contestant,
  { memory, runs }: Taken,
  { set, reference }: { set: MailSet; reference: Taken | undefined },
): Result['rows'][number] {
  const of = (key: keyof Measured, each: readonly Measured[] = runs) => median(each.map((run) => run[key]));
  const seconds = runs.map((run) => run.seconds);
  const count = set.messages.length;
  return {
    name,
    seconds: round(of('seconds'), 2),
    fastest: round(Math.min(...seconds), 2),
    slowest: round(Math.max(...seconds), 2),
    'messages/s': Math.round(count / of('seconds')),
    'MB/s': round(set.bytes / 1e6 / of('seconds'), 1),
    ratio: reference ? round(of('seconds', reference.runs) / of('seconds'), 2) : null,
    'CPU s': round(of('cpu'), 1),
    'server CPU s': round(of('serverCpu'), 1),
    'CPU ms a message': round(((of('cpu') + of('serverCpu')) / count) * 1000, 2),
    'PSS MB': Math.round(memory / 1e6),
  };
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
