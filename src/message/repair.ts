/** What is mended in the bytes before a message is read: line ends, and what stands before the header. */
import type { Warn } from './warnings.ts';

const CR = 0x0d;
const LF = 0x0a;

/** The bytes with lines that end in LF or CRLF, and where the header begins in them. */
export function repairBytes(source: Buffer, warn: Warn): { bytes: Buffer; start: number } {
  const bytes = withLineFeeds(source, warn);
  let start = 0;
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    start = 3;
    warn('bom');
  }
  const first = skipBlankLines(bytes, start);
  if (first > start) warn('leading-blank-lines');
  start = skipFromLine(bytes, first, warn);
  return { bytes, start };
}

/** Files of the classic Mac OS and of some exports end lines in CR alone; the first line end tells. */
function withLineFeeds(source: Buffer, warn: Warn): Buffer {
  const cr = source.indexOf(CR);
  if (cr < 0) return source;
  const lf = source.indexOf(LF);
  const next = source[cr + 1];
  if ((lf >= 0 && lf < cr) || next === LF || (next === CR && source[cr + 2] === LF)) return source;
  warn('line-endings-cr');
  const bytes = Buffer.from(source);
  for (let at = cr; at >= 0; at = bytes.indexOf(CR, at + 1)) {
    if (bytes[at + 1] !== LF) bytes[at] = LF;
  }
  return bytes;
}

/** Blank lines are skipped only where a header follows them: a message may have none, only a body. */
function skipBlankLines(bytes: Buffer, start: number): number {
  let at = start;
  let line = start;
  for (; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === LF) line = at + 1;
    else if (byte !== CR && byte !== 0x20 && byte !== 0x09) break;
  }
  const head = bytes.toString('latin1', line, line + FROM_LINE);
  return /^(?:>?From |[!-9;-~]+[ \t]*:)/.test(head) ? line : start;
}

/** As far as a line is looked at to tell what it is. */
const FROM_LINE = 200;

/** mbox's separator (RFC 4155), also quoted by a mailer that took it for content. */
function skipFromLine(bytes: Buffer, start: number, warn: Warn): number {
  // Not the obsolete `From : ann@example.org` (RFC 5322 §4.5).
  if (!/^>?From (?![ \t]*:)/.test(bytes.toString('latin1', start, start + FROM_LINE))) return start;
  const end = bytes.indexOf(LF, start);
  if (end < 0) return start;
  warn('mbox-from-line');
  return end + 1;
}
