/** How fast a whole mailbox is fetched, beside other programs that do so: interleaved, and only what was stored right counts. */
import { startDovecot } from '../../test/servers/dovecot.ts';
import type { Bench, BenchOptions, Result } from '../bench.ts';
import { type Measured, measure } from '../measure.ts';
import { median } from '../statistics.ts';
import { CONTESTANTS, type Contestant, type Login, OURS } from './contestants.ts';
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

async function compete(name: SetName, { rounds, limit, tell }: BenchOptions): Promise<Result> {
  const login = { user: 'ann', password: 'a' };
  await using server = await startDovecot({ users: { ann: 'a' }, driver: 'sdbox' });
  const set = await fill(server, login.user, name, limit);
  const bytes = `${(set.bytes / 1e6).toFixed(0)} MB`;
  const title = `${name}: ${set.messages.length} messages, ${bytes}`;
  tell(title);
  const contestants = CONTESTANTS.filter((contestant) => {
    const version = contestant.version();
    tell(version === null ? `${contestant.name} is not installed` : `${contestant.name}: ${version}`);
    return version !== null;
  });
  const taken = new Map<Contestant, Measured[]>(contestants.map((contestant) => [contestant, []]));
  // The session that filled it goes, since its time would count.
  await server.restart();
  // Whoever comes first would pay for Dovecot's cache.
  await fetchOnce(CONTESTANTS.at(-1)!, { server, ...login }, set);
  for (let round = 1; round <= rounds; round++) {
    for (const contestant of taken.keys()) {
      try {
        const measured = await fetchOnce(contestant, { server, ...login }, set);
        taken.get(contestant)!.push(measured);
        tell(`round ${round}: ${contestant.name}: ${measured.seconds.toFixed(2)} s`);
      } catch (error) {
        if (contestant === OURS) throw error;
        tell(`round ${round}: ${contestant.name} failed and is out: ${(error as Error).message}`);
        taken.delete(contestant);
      }
    }
  }
  const reference = [...taken].find(([{ name }]) => name === REFERENCE)?.[1];
  const rows = [...taken].map(([contestant, runs]) => row(contestant, runs, { set, reference }));
  return { title, rows };
}

async function fetchOnce(contestant: Contestant, login: Login, set: MailSet): Promise<Measured> {
  await using fetching = contestant.prepare(login);
  const { outcome, ...measured } = await measure(() => fetching.launch());
  if (outcome.status !== 0)
    throw new Error(`${contestant.name}: exit ${outcome.status}: ${outcome.stderr.slice(-2000)}`);
  await Promise.resolve(fetching.check(set, outcome)).catch((error: Error) => {
    throw new Error(`${contestant.name} did not store what was sent: ${error.message}`);
  });
  return measured;
}

function row(
  { name }: Contestant,
  runs: readonly Measured[],
  { set, reference }: { set: MailSet; reference: readonly Measured[] | undefined },
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
    ratio: reference ? round(of('seconds', reference) / of('seconds'), 2) : null,
    'CPU s': round(of('cpu'), 1),
    'server CPU s': round(of('serverCpu'), 1),
    'CPU ms a message': round(((of('cpu') + of('serverCpu')) / count) * 1000, 2),
    'PSS MB': Math.round(of('memory') / 1e6),
  };
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));
