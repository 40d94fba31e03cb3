/** `npm run torture`: runs the attacks, prints a table of what they found, and fails if it is anything. */
import { parseArgs } from 'node:util';
import { runSeed } from '../servers/random.ts';
import type { Attack, AttackOptions, Fault, Report } from './attack.ts';
import { ATTACKS } from './attacks.ts';
import { openScratch } from './scratch.ts';

const USAGE = `Usage: npm run torture -- [ATTACK…] [--minutes N] [--thorough] [--seed N] [--only REGEXP]

Does its worst to the built program (scripts/prepare builds it) and counts what was lost or doubled.

  ATTACK      which; all of them without
  --minutes   how long, shared by the attacks in turn (8)
  --thorough  every case of each attack, however long it takes
  --seed      repeats a run: it is printed at the beginning of each
  --only      cases of such a name, as they are told: to repeat what failed

${ATTACKS.map(({ name, description }) => `  ${name.padEnd(16)}${description}`).join('\n')}
`;

function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      minutes: { type: 'string', default: '8' },
      thorough: { type: 'boolean', default: false },
      seed: { type: 'string' },
      only: { type: 'string', default: '' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const wanted = ATTACKS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const unknown = positionals.filter((name) => !ATTACKS.some((attack) => attack.name === name));
  const minutes = Number(values.minutes);
  const seed = values.seed === undefined ? runSeed() : Number(values.seed);
  const faults = [
    ...unknown.map((name) => `no such attack: ${name}`),
    ...(minutes > 0 ? [] : ['--minutes must be a number above 0']),
    ...(Number.isSafeInteger(seed) ? [] : ['--seed must be a whole number']),
  ];
  if (values.help || faults.length > 0) {
    process.stderr.write([...faults, USAGE].join('\n'));
    return Promise.resolve(faults.length > 0 ? 64 : 0);
  }
  openScratch();
  return torture(wanted, minutes, { seed, thorough: values.thorough, only: new RegExp(values.only) });
}

async function torture(
  attacks: Attack[],
  minutes: number,
  options: Omit<AttackOptions, 'budget' | 'tell'>,
): Promise<number> {
  console.log(`seed ${options.seed}`);
  const ends = performance.now() + minutes * 60_000;
  const rows: { attack: string; report: Report; seconds: number }[] = [];
  for (const [index, attack] of attacks.entries()) {
    const begun = performance.now();
    // What one leaves of its share is for those after it.
    const budget = Math.max(0, ends - begun) / (attacks.length - index);
    const tell = (line: string) => console.log(`${attack.name}: ${line}`);
    const report = await attack
      .run({ ...options, budget, tell })
      .catch((error: Error) => failedAttack(error));
    for (const fault of report.faults) tell(`FOUND ${fault.kind}: ${fault.where}: ${fault.what}`);
    rows.push({ attack: attack.name, report, seconds: (performance.now() - begun) / 1000 });
  }
  printTable(rows);
  const failed = rows.filter(({ report }) => report.faults.length > 0 || report.runs === 0).length;
  console.log(`\n${rows.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** An attack that broke has proved nothing. */
const failedAttack = (error: Error): Report => ({
  runs: 0,
  faults: [{ kind: 'other', where: 'the attack itself', what: error.stack ?? String(error) }],
});

function printTable(rows: { attack: string; report: Report; seconds: number }[]): void {
  const count = (faults: Fault[], kind: Fault['kind']) =>
    faults.filter((fault) => fault.kind === kind).length;
  console.log('');
  console.table(
    rows.map(({ attack, report: { runs, faults }, seconds }) => ({
      attack,
      runs,
      lost: count(faults, 'lost'),
      doubled: count(faults, 'doubled'),
      crashes: count(faults, 'crash'),
      hangs: count(faults, 'hang'),
      other: count(faults, 'other'),
      seconds: Math.round(seconds),
    })),
  );
}

process.exitCode = await main();
