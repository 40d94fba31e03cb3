/** What commands print: tables that fit the terminal, colour only there. */
import { once } from 'node:events';
import { stripVTControlCharacters, styleText } from 'node:util';
import { toMailwatchdError } from './errors.ts';
import { escapeUnprintable, printable } from './escape.ts';

/** A stream that may be a terminal. */
export type Output = NodeJS.WritableStream & { isTTY?: boolean; columns?: number };

/** The streams of a command: data on `stdout`, everything else on `stderr`. */
export interface Terminal {
  stdin: NodeJS.ReadStream;
  stdout: Output;
  stderr: Output;
}

/**
 * Writes data, and waits where the reader is slower. False once nobody reads any more (`… | head`). Throws
 * OUTPUT_FAILED where it cannot be written otherwise, such as to a file on a full disk.
 */
export async function print(stdout: NodeJS.WritableStream, text: string): Promise<boolean> {
  try {
    if (!stdout.writable) return false;
    if (!stdout.write(text)) await once(stdout, 'drain');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return false;
    throw toMailwatchdError(error, 'OUTPUT_FAILED');
  }
}

/** Data as JSON. For a terminal what it acts on and JSON leaves as it is, C1 controls and directions, is escaped. */
export function asJson(output: Output, data: unknown, indent?: number): string {
  const text = JSON.stringify(data, null, indent);
  if (!output.isTTY) return text;
  const lines = text.split('\n').map((line) => escapeUnprintable(line, (hex) => `\\u${hex}`));
  return lines.join('\n');
}

/** Resolves when everything written so far has left this process, or cannot: `process.exit` would cut it off. */
export function flushed(output: NodeJS.WritableStream): Promise<void> {
  return new Promise((resolve) => {
    output.write('', () => resolve());
  });
}

type Style = Parameters<typeof styleText>[0];

/** `text` in a style where `output` is a terminal that wants colour (NO_COLOR is honoured), plain elsewhere. */
export function coloured(output: Output, style: Style, text: string): string {
  return output.isTTY ? styleText(style, text, { stream: output as NodeJS.WriteStream }) : text;
}

/** Narrowest that a column becomes, so that each still says something. */
const MIN_COLUMN = 8;
/** The last column holds reasons and paths: it gets at least this, and wraps instead of being cut. */
const MIN_LAST_COLUMN = 16;
const GAP = '  ';

/**
 * Rows under their headings. On a terminal the last column is wrapped, and the others are cut where that
 * does not suffice; in a pipe every row is one line. Cells may carry our own styles; foreign text is
 * escaped by the caller. What stands under `whole` is needed to the letter (an id to replay) and never cut.
 */
export function table(output: Output, headings: string[], rows: string[][], whole: string[] = []): string {
  const cells = [headings.map((heading) => coloured(output, 'bold', heading)), ...rows];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => width(row[column] ?? ''))));
  const last = widths.length - 1;
  if (output.isTTY && output.columns) {
    const cuttable = headings.slice(0, last).map((heading) => !whole.includes(heading));
    shrink(widths, cuttable, output.columns - GAP.length * last);
  }
  return cells
    .flatMap((row) => {
      const [first = '', ...more] = wrapped(row[last] ?? '', widths[last] ?? 0);
      const head = row.slice(0, last).map((each, column) => fitted(each, widths[column] ?? 0));
      const indent = widths.slice(0, last).map((columns) => ' '.repeat(columns));
      return [[...head, first], ...more.map((line) => [...indent, line])];
    })
    .map((line) => `${line.join(GAP).trimEnd()}\n`)
    .join('');
}

const width = (text: string): number => stripVTControlCharacters(text).length;

function shrink(widths: number[], cuttable: boolean[], available: number): void {
  const last = cuttable.length;
  const others = widths.slice(0, last).reduce((sum, each) => sum + each, 0);
  widths[last] = Math.min(widths[last] ?? 0, Math.max(MIN_LAST_COLUMN, available - others));
  for (let total = others + widths[last]; total > available; total--) {
    const candidates = widths.map((columns, column) => (cuttable[column] ? columns : 0));
    const widest = Math.max(...candidates);
    if (widest <= MIN_COLUMN) return;
    widths[candidates.indexOf(widest)] = widest - 1;
  }
}

function fitted(text: string, columns: number): string {
  const excess = width(text) - columns;
  if (excess <= 0) return text + ' '.repeat(-excess);
  // Cutting inside a style would leave it open: a cut cell loses its style.
  return `${stripVTControlCharacters(text).slice(0, columns - 1)}…`;
}

/** Lines of at most `columns`, broken at spaces where there are some. */
function wrapped(text: string, columns: number): string[] {
  if (width(text) <= columns) return [text];
  const lines: string[] = [];
  let rest = stripVTControlCharacters(text);
  while (rest.length > columns) {
    const space = rest.lastIndexOf(' ', columns);
    const end = space > 0 ? space : columns;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** Binary multiples, as the configuration's sizes are. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}

const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
] as const;

/** Milliseconds in the largest unit that has two of them: `0.8 s`, `90 s`, `5 min`, `47 h`, `14 d`. */
export function formatDuration(milliseconds: number): string {
  for (const [unit, length] of DURATION_UNITS)
    if (milliseconds >= 2 * length) return `${Math.floor(milliseconds / length)} ${unit}`;
  const seconds = milliseconds / 1000;
  return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.floor(seconds)} s`;
}

/** Foreign text as a table's cell: escaped, `–` where there is none. */
export function cell(text: string | number | null | undefined): string {
  return text === null || text === undefined || text === '' ? '–' : printable(String(text));
}
