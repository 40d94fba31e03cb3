/** What an attack is: something that does its worst to the built program, and counts what came of it. */

export interface AttackOptions {
  /** Every choice comes from it, so that a run can be repeated. */
  seed: number;
  /** How long it may go on, ms; an attack that is a fixed list of cases does those it can, the worst first. */
  budget: number;
  /** All there is, whatever it takes: every case, every system call. */
  thorough: boolean;
  /** Only cases of such a name, where an attack has names for them: to repeat what failed. */
  only: RegExp;
  /** One line on what is being done. */
  tell(line: string): void;
}

export interface Fault {
  /** `lost`: a message is missing. `doubled`: published twice. `crash`, `hang`: the program ended or stood still. */
  kind: 'lost' | 'doubled' | 'crash' | 'hang' | 'other';
  /** Which case, in words that name it to whoever repeats it. */
  where: string;
  /** What was seen and what was expected. */
  what: string;
}

export interface Report {
  /** Cases that were done. */
  runs: number;
  faults: Fault[];
}

export interface Attack {
  /** On the command line, and in the table. */
  name: string;
  /** One line for the list of attacks. */
  description: string;
  run(options: AttackOptions): Promise<Report>;
}
