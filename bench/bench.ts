/** What a benchmark is: it measures, prints, and gives its figures. */

export interface BenchOptions {
  /** How often each figure is taken. */
  rounds: number;
  /** Which sets of mail. */
  sets: string[];
  /** Less than a whole set, messages; to try the benchmark itself. */
  limit: number;
  /** How long nothing happens. */
  seconds: number;
  /** How many are watched at once. */
  mailboxes: number;
  /** One line on what is being done; on stderr, since stdout may be JSON. */
  tell(line: string): void;
}

/** A table with a line a row, all with the same columns. */
export interface Result {
  title: string;
  rows: Record<string, string | number | null>[];
}

export interface Bench {
  name: string;
  description: string;
  run(options: BenchOptions): Promise<Result[]>;
}
