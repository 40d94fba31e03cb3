/** What commands print: tables that fit the terminal, colour only there. */
import { stripVTControlCharacters, styleText } from 'node:util';
import { printable } from './escape.ts';

/** A stream that may be a terminal. */
export type Output = NodeJS.WritableStream & { isTTY?: boolean; columns?: number };

/** The streams of a command: data on `stdout`, everything else on `stderr`. */
export interface Terminal {
  stdin: NodeJS.ReadStream;
  stdout: Output;
  stderr: Output;
}

type Style = Parameters<typeof styleText>[0];

/** `text` in a style where `output` is a terminal that wants colour (NO_COLOR is honoured), plain elsewhere. */
export function coloured(output: Output, style: Style, text: string): string {
  return output.isTTY ? styleText(style, text, { stream: output as NodeJS.WriteStream }) : text;
}

/** Narrowest that a column is cut to, so that each still says something. */
const MIN_COLUMN = 8;
const GAP = '  ';

/**
 * Rows under their headings. On a terminal the widest columns are cut until the table fits;
 * in a pipe nothing is cut. Cells may carry our own styles; foreign text is escaped by the caller.
 */
export function table(output: Output, headings: string[], rows: string[][]): string {
  const cells = [headings.map((heading) => coloured(output, 'bold', heading)), ...rows];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => width(row[column] ?? ''))));
  if (output.isTTY && output.columns) shrink(widths, output.columns - GAP.length * (widths.length - 1));
  return cells
    .map((row) =>
      row
        .map((cell, column) => fitted(cell, widths[column] ?? 0))
        .join(GAP)
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

const width = (cell: string): number => stripVTControlCharacters(cell).length;

function shrink(widths: number[], available: number): void {
  for (let total = widths.reduce((sum, each) => sum + each, 0); total > available; total--) {
    const widest = Math.max(...widths);
    if (widest <= MIN_COLUMN) return;
    widths[widths.indexOf(widest)] = widest - 1;
  }
}

function fitted(cell: string, columns: number): string {
  const excess = width(cell) - columns;
  if (excess <= 0) return cell + ' '.repeat(-excess);
  // Cutting inside a style would leave it open: a cut cell loses its style.
  return `${stripVTControlCharacters(cell).slice(0, columns - 1)}…`;
}

/** Binary multiples, as the configuration's sizes are. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}

/** Foreign text as a table's cell: escaped, `–` where there is none. */
export function cell(text: string | number | null | undefined): string {
  return text === null || text === undefined || text === '' ? '–' : printable(String(text));
}
