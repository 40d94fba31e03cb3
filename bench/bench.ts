/** What a benchmark is: it measures, prints, and gives its figures. */

export interface BenchOptions {
  /** How often each figure is taken. */
  rounds: number;
  /** Which sets of mail. */
  sets: string[];
  /** Less than a whole set, messages; to try the benchmark itself. */
  limit: number;
  /** Programs to measure besides the usual ones. */
  extra: string[];
  /** What each sync to the disk takes longer than it does, ms: as on a slower disk. */
  syncDelay: number;
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
  /** What the rows were made of, for `--json`: each single round or message, by what was measured. */
  figures?: Record<string, readonly (number | object)[]>;
  plot?: Plot;
}

/** Which columns of a table make its picture. */
export interface Plot {
  /** What is shown instead of the table's rows, where these sum up too much. */
  rows?: Result['rows'];
  /** Of the file, without `.svg`. */
  name: string;
  /** `bars` for a row each, `lines` over a column of numbers. */
  kind: 'bars' | 'lines';
  /** The column that the rows are told apart by. */
  by: string;
  /** The columns that are shown, all in one unit. */
  values: string[];
  unit: string;
  /** Both axes of `lines` by powers of ten. */
  logarithmic?: boolean;
}

export interface Bench {
  name: string;
  description: string;
  run(options: BenchOptions): Promise<Result[]>;
}
