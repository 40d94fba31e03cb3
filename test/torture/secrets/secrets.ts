/** Attack `secrets`: from inside of a parser, through every way of configuring, and by what servers and mail say. */
import { type Random, seededRandom } from '../../servers/random.ts';
import type { Attack, Fault, Report } from '../attack.ts';
import { faultyConfigurations } from './configurations.ts';
import { exposure, faultyExposure } from './exposure.ts';
import { demandScript, OUTPUT_CASES, output } from './output.ts';
import { INTRUSION, intrude } from './sandbox.ts';

/** A round is so many faulty configurations, one way of configuring and one hostile server. */
const CONFIGURATIONS = 12;
/** Each hostile server with both formats of the log and both folders, more or less. */
const THOROUGH_ROUNDS = 4 * OUTPUT_CASES;
const MOST_FAULTS = 10;
/** Rounds are numbered from one below this. Their numbers tell which server they meet. */
const FURTHEST = 1000;

export const secrets: Attack = {
  name: 'secrets',
  description: 'passwords in parsers, logs, errors and files; what reaches the terminal',
  async run({ seed, budget, thorough, only, tell }) {
    demandScript();
    const begun = performance.now();
    const random = seededRandom(seed);
    const report: Report = { runs: 0, faults: [] };
    const add = ({ runs, faults }: Report) => {
      report.runs += runs;
      const [first] = report.faults.length === 0 ? faults : [];
      if (first)
        tell(`the first finding after ${Math.round((performance.now() - begun) / 1000)} s: ${first.where}`);
      report.faults.push(...faults);
    };
    if (only.test(INTRUSION)) add(await intrude(`canary-${random.bytes(8).toString('hex')}`));
    tell(`${report.runs} attempts from inside of a parser`);
    const first = seed % FURTHEST;
    const isOver = (rounds: number) =>
      report.faults.length >= MOST_FAULTS ||
      (thorough ? rounds >= THOROUGH_ROUNDS : rounds > 0 && performance.now() - begun > budget);
    let rounds = 0;
    for (let number = first; number < first + FURTHEST && !isOver(rounds); number++) {
      if (!only.test(nameOf(number))) continue;
      add({ runs: CONFIGURATIONS + 2, faults: await round(seed, number) });
      rounds += 1;
    }
    tell(`${rounds * CONFIGURATIONS} faulty configurations, ${rounds} right ones, ${rounds} hostile servers`);
    return report;
  },
};

const nameOf = (number: number): string => `round ${number}`;

/** The same for a seed and a number, whatever came before it. */
async function round(seed: number, number: number): Promise<Fault[]> {
  const random = seededRandom(seed + number * 0x9e3779b1);
  const canary = makeCanary(random);
  const configurations = faultyConfigurations(random, canary).slice(0, CONFIGURATIONS);
  const faults = [
    ...(await faultyExposure(configurations, canary)),
    ...(await exposure(random, number)),
    ...(await output(random, number)),
  ];
  return faults.map((fault) => ({ ...fault, where: `${nameOf(number)}: ${fault.where}` }));
}

/** A word, a number, or some words: YAML reads each as something else. */
function makeCanary(random: Random): string {
  const hex = random.bytes(4).toString('hex');
  return random.pick([
    `canary7${hex}`,
    String(random.between(10 ** 8, 10 ** 9)),
    `canary ${hex}`,
    `0x${hex}`,
  ]);
}
