/** `npm run bench`: measures the built program on servers of its own, and prints tables. */
import { parseArgs } from 'node:util';
import { backfill } from './backfill/backfill.ts';
import { SETS } from './backfill/mail.ts';
import type { Bench, Result } from './bench.ts';
import { big } from './big.ts';
import { comeback } from './comeback.ts';
import { growth } from './growth/growth.ts';
import { idle } from './idle.ts';
import { latency } from './latency.ts';
import { machine } from './machine.ts';
import { draw } from './plot.ts';
import { reconcile } from './reconcile.ts';
import { sharing } from './sharing.ts';

const BENCHES: readonly Bench[] = [backfill, latency, idle, big, growth, comeback, reconcile, sharing];

const USAGE = `Usage: npm run bench -- [BENCH…] [OPTION…]

Measures the built program (scripts/prepare builds it) on servers of its own. An otherwise idle machine is needed.

${BENCHES.map(({ name, description }) => `  ${name.padEnd(12)}${description}`).join('\n')}

  --set     backfill: small or full; both without
  --rounds  how often each program runs, in turn (3)
  --limit   at most so many messages, to try the benchmark
  --seconds how long idle lasts (300, in which each connection is renewed once)
  --mailboxes  how many idle watches and comeback cuts (1000)
  --sync-delay  backfill: each sync takes so many milliseconds more, as on a slower disk (0)
  --with    backfill: a program that is left out otherwise, such as getmail6
  --plot    writes pictures of the tables there, as SVG
  --json    the tables as JSON, with each single figure that they were made of
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      set: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string', default: '3' },
      limit: { type: 'string', default: 'Infinity' },
      'sync-delay': { type: 'string', default: '0' },
      seconds: { type: 'string', default: '300' },
      mailboxes: { type: 'string', default: '1000' },
      with: { type: 'string', multiple: true, default: [] },
      plot: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const unknown = positionals.filter((name) => !BENCHES.some((bench) => bench.name === name));
  const unknownSets = values.set.filter((name) => !Object.hasOwn(SETS, name));
  const unfit = (['rounds', 'limit', 'seconds', 'mailboxes'] as const).filter(
    (name) => !(Number(values[name]) > 0),
  );
  const faults = [
    ...unknown.map((name) => `no such benchmark: ${name}`),
    ...unknownSets.map((name) => `no such set: ${name}`),
    ...unfit.map((name) => `--${name} must be a number above 0`),
    ...(Number(values['sync-delay']) >= 0 ? [] : ['--sync-delay must be a number, 0 or more']),
  ];
  if (values.help || faults.length > 0) {
    process.stderr.write([...faults, USAGE].join('\n'));
    return faults.length > 0 ? 64 : 0;
  }
  const options = {
    sets: values.set,
    rounds: Number(values.rounds),
    limit: Number(values.limit),
    syncDelay: Number(values['sync-delay']),
    seconds: Number(values.seconds),
    mailboxes: Number(values.mailboxes),
    extra: values.with,
    tell: (line: string) => process.stderr.write(`${line}\n`),
  };
  const results: Result[] = [];
  for (const bench of BENCHES) {
    if (positionals.length === 0 || positionals.includes(bench.name))
      results.push(...(await bench.run(options)));
  }
  print(results, values.json);
  if (values.plot !== undefined) draw(results, values.plot);
  return 0;
}

function print(results: readonly Result[], json: boolean): void {
  if (json) {
    console.log(JSON.stringify({ machine: machine(), results }, null, 2));
    return;
  }
  console.table([machine()]);
  for (const { title, rows } of results) {
    console.log(`\n${title}`);
    console.table(rows);
  }
}

process.exitCode = await main();
