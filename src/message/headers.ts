/** The header of a message or part: its fields in order (RFC 5322 §2.2), and their text. */
import { isAscii, isUtf8 } from 'node:buffer';
import { decodeText } from './charset.ts';
import { cleanText } from './clean.ts';
import type { Warn } from './warnings.ts';
import { decodeWords } from './words.ts';

export interface Field {
  /** As written. */
  name: string;
  /** Lower case, to compare with. */
  key: string;
  /** Behind the colon, with its folding. */
  raw: Buffer;
}

export interface Header {
  fields: Field[];
  /** Where the body begins. */
  end: number;
}

/** Bytes of a header that are read. The largest real ones (long recipient lists, ARC chains) stay far below. */
const MAX_HEADER_BYTES = 8 * 1024 * 1024;

/** Fields that are read. Each becomes a row of the document; 50,000 must be complete. */
const MAX_FIELDS = 100_000;

/** Bytes of one field that are read: 20,000 recipients need about 1 MiB. */
const MAX_FIELD_BYTES = 2 * 1024 * 1024;

const LF = 0x0a;

/**
 * Reads the header that begins at `start`. `isBoundary` tells whether the line at a place ends the part
 * instead: a part may have no body and not even the blank line.
 */
export function readHeader(
  bytes: Buffer,
  start: number,
  isBoundary: (lineStart: number) => boolean,
  warn: Warn,
): Header {
  const fields: Field[] = [];
  let open: { name: string; from: number; to: number } | null = null;
  const close = () => {
    if (!open) return;
    if (open.to - open.from > MAX_FIELD_BYTES) warn('header-cut');
    const raw = bytes.subarray(open.from, Math.min(open.to, open.from + MAX_FIELD_BYTES));
    fields.push({ name: open.name, key: open.name.toLowerCase(), raw });
    open = null;
  };
  let line = start;
  while (line < bytes.length) {
    if (isBoundary(line)) return closeAt(line);
    const lf = bytes.indexOf(LF, line);
    const next = lf < 0 ? bytes.length : lf + 1;
    const end = contentEnd(bytes, line, lf < 0 ? bytes.length : lf);
    if (end === line) return closeAt(next);
    if (line - start > MAX_HEADER_BYTES) return cutAt(line);
    const first = bytes[line];
    if ((first === 0x20 || first === 0x09) && open) {
      (open as { to: number }).to = end;
    } else {
      close();
      if (fields.length >= MAX_FIELDS) return cutAt(line);
      const name = fieldName(bytes, line, end, warn);
      if (name !== null) open = { name: name.text, from: name.end, to: end };
      else if (isFieldOrEnd(bytes, next)) warn('header-malformed');
      else {
        warn('header-unended');
        return closeAt(line);
      }
    }
    line = next;
  }
  return closeAt(bytes.length);

  function cutAt(line: number): Header {
    warn('header-cut');
    return closeAt(endOfHeader(bytes, line));
  }

  function closeAt(end: number): Header {
    close();
    return { fields, end };
  }
}

function contentEnd(bytes: Buffer, line: number, end: number): number {
  let at = end;
  while (at > line && bytes[at - 1] === 0x0d) at -= 1;
  return at;
}

/** Longest name that is looked for; RFC 5322 §2.1.1 allows a line of 998. */
const MAX_NAME = 998;

/** The field's name, and the place behind its colon. Space before the colon is obsolete (RFC 5322 §4.5). */
function fieldName(
  bytes: Buffer,
  line: number,
  end: number,
  warn: Warn,
): { text: string; end: number } | null {
  const limit = Math.min(end, line + MAX_NAME);
  let at = line;
  while (at < limit && isNameByte(bytes[at] as number)) at += 1;
  const nameEnd = at;
  while (at < limit && (bytes[at] === 0x20 || bytes[at] === 0x09)) at += 1;
  if (nameEnd === line || at >= end || bytes[at] !== 0x3a) return null;
  if (at > nameEnd) warn('header-name-space');
  return { text: bytes.toString('latin1', line, nameEnd), end: at + 1 };
}

/** ftext (RFC 5322 §3.6.8). */
const isNameByte = (byte: number) => byte > 0x20 && byte < 0x7f && byte !== 0x3a;

/** True where the header goes on, or ends as it should: then a line before it was only a bad line. */
function isFieldOrEnd(bytes: Buffer, line: number): boolean {
  if (line >= bytes.length) return false;
  return /^(?:[!-9;-~]+[ \t]*:|[ \t]|\r*\n)/.test(bytes.toString('latin1', line, line + MAX_NAME));
}

function endOfHeader(bytes: Buffer, from: number): number {
  const lf = bytes.indexOf('\n\n', from);
  const crlf = bytes.indexOf('\n\r\n', from);
  if (lf < 0 && crlf < 0) return bytes.length;
  return lf >= 0 && (crlf < 0 || lf < crlf) ? lf + 2 : crlf + 3;
}

/** A field's unfolded text, encoded words not decoded yet. 8-bit text is UTF-8 (RFC 6532), else recognised. */
export function fieldText(field: Field, hints: readonly string[], warn: Warn): string {
  const { raw } = field;
  let text = raw.toString('utf8');
  const shifted = text.includes('\x1b$') && isAscii(raw);
  if (shifted || !isUtf8(raw)) text = decodeText(raw, null, { labels: hints }, warn);
  return cleanText(unfold(text), warn).trim();
}

/** Each line break with the white space after it is one space, as in mailparser. */
const unfold = (text: string) => (/[\r\n]/.test(text) ? text.replace(/[\r\n][\r\n \t]*/g, ' ') : text);

/** A field's text as people read it: its words decoded; what they hide of line breaks and NUL is removed. */
export function decodedText(text: string, hints: readonly string[], warn: Warn): string {
  if (!text.includes('=?')) return text;
  const decoded = decodeWords(text, hints, warn);
  if (!/[\r\n]/.test(decoded)) return cleanText(decoded, warn).trim();
  warn('header-line-break');
  return cleanText(decoded.replace(/[\r\n]+[ \t]*/g, ' '), warn).trim();
}
