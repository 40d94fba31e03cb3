/** The tree of a message's parts over its bytes (RFC 2046 §5.1), read in one pass without recursion. */
import { type Field, readHeader } from './headers.ts';
import { type Media, readMedia } from './media.ts';
import type { Warn } from './warnings.ts';

export interface Part extends Media {
  parent: Part | null;
  fields: Field[];
  /** The body as it stands in the message, before its transfer encoding is taken off. */
  body: Buffer;
  /** Parts directly in this one. 0 for what is no multipart, or has no part. */
  children: number;
}

export interface Structure {
  root: Part;
  /** The parts that are no multiparts, in their order. */
  leaves: Part[];
}

/** Parts that are told apart. Each can become a file; 5,000 must be complete, and 64 MB can hold twelve million. */
const MAX_PARTS = 10_000;

/** Beyond these a message is complete, but looks made to exhaust its readers. */
const MANY_PARTS = 1000;
const DEEP_NESTING = 100;

const LF = 0x0a;
const CR = 0x0d;
const DASH = 0x2d;
const DASHES = Buffer.from('--');

interface Multipart {
  part: Part;
  boundary: string;
  bodyStart: number;
  /** The multipart around it that has the same boundary, which counts again once this one has ended. */
  shadowed: Multipart | undefined;
}

interface Delimiter {
  owner: Multipart;
  closing: boolean;
  /** Its two dashes. */
  start: number;
  /** The line behind it. */
  next: number;
}

/** Reads the structure of the message whose header begins at `start`. Every byte sequence has one. */
export function readStructure(bytes: Buffer, start: number, warn: Warn): Structure {
  const open: Multipart[] = [];
  const boundaries = openBoundaries(bytes, warn);
  const leaves: Part[] = [];
  let parts = 0;

  /** Where the last part's body begins; the part itself where it is a leaf. */
  let from = start;
  let leaf: Part | null = null;

  const begin = (at: number, parent: Part | null): Part => {
    parts += 1;
    const header = readHeader(bytes, at, (line) => boundaries.at(line) !== null, warn);
    const media = readMedia(header.fields, parent?.type ?? null, warn);
    const part: Part = { ...media, parent, fields: header.fields, body: bytes.subarray(0, 0), children: 0 };
    if (parent) parent.children += 1;
    from = header.end;
    leaf = part;
    if (!part.type.startsWith('multipart/')) leaves.push(part);
    else if (part.boundary === null || parts >= MAX_PARTS) leaves.push(asText(part, warn));
    else {
      leaf = null;
      // RFC 2045 §6.4: only 7bit, 8bit and binary have a meaning on a multipart.
      if (!/^(?:|7bit|8bit|binary)$/.test(part.encoding)) warn('encoding-ignored');
      const multipart = { part, boundary: part.boundary, bodyStart: header.end, shadowed: undefined };
      open.push(multipart);
      boundaries.add(multipart);
      if (open.length > DEEP_NESTING) warn('deep-nesting');
    }
    return part;
  };

  const endLeaf = (at: number) => {
    if (leaf) leaf.body = bytes.subarray(Math.min(from, at), at);
    leaf = null;
  };

  /** Ends the innermost multipart. One in which its boundary never occurred is text to its end. */
  const end = (at: number, closed: boolean) => {
    const multipart = open.pop();
    if (!multipart) return;
    boundaries.remove(multipart);
    const { part, bodyStart } = multipart;
    part.body = bytes.subarray(Math.min(bodyStart, at), at);
    if (part.children === 0 && !closed) leaves.push(asText(part, warn));
  };

  const root = begin(start, null);
  for (;;) {
    if (parts >= MAX_PARTS) warn('parts-cut');
    const delimiter: Delimiter | null = parts >= MAX_PARTS ? null : boundaries.find(from);
    const to = delimiter ? beforeLineEnd(bytes, delimiter.start, from) : bytes.length;
    endLeaf(to);
    if (!delimiter) break;
    while (open.at(-1) !== delimiter.owner) {
      warn('multipart-unclosed');
      end(to, false);
    }
    from = delimiter.next;
    if (delimiter.closing) end(to, true);
    else begin(delimiter.next, delimiter.owner.part);
  }
  if (open.length > 0) warn('multipart-unclosed');
  while (open.length > 0) end(bytes.length, false);
  if (parts > MANY_PARTS) warn('many-parts');
  return { root, leaves };
}

/** A multipart that cannot be taken apart is shown rather than lost. */
function asText(part: Part, warn: Warn): Part {
  warn('boundary-missing');
  part.type = 'text/plain';
  part.disposition = null;
  return part;
}

/** The line end before a delimiter belongs to it (RFC 2046 §5.1.1). */
function beforeLineEnd(bytes: Buffer, at: number, from: number): number {
  let end = at;
  if (end > from && bytes[end - 1] === LF) end -= 1;
  if (end > from && end < at && bytes[end - 1] === CR) end -= 1;
  return Math.max(end, from);
}

/** The boundaries of the multiparts that are open, and where they occur. */
function openBoundaries(bytes: Buffer, warn: Warn) {
  const innermost = new Map<string, Multipart>();
  /** How many open boundaries begin with a byte: most lines that begin with dashes are told by that. */
  const firstBytes = new Uint32Array(256);
  let longest = 0;

  /** The delimiter on the line that begins at `line`, or null. */
  const at = (line: number): Delimiter | null => {
    if (bytes[line] !== DASH || bytes[line + 1] !== DASH) return null;
    if (firstBytes[bytes[line + 2] ?? 0] === 0) return null;
    const lf = bytes.indexOf(LF, line);
    const lineEnd = lf < 0 ? bytes.length : lf;
    let end = lineEnd;
    while (end > line && isSpace(bytes[end - 1] as number)) end -= 1;
    if (end - line > longest + 4) return null;
    const text = bytes.toString('latin1', line + 2, end);
    let owner = innermost.get(text);
    const closing = owner === undefined && text.endsWith('--');
    if (closing) owner = innermost.get(text.slice(0, -2));
    if (!owner) return null;
    const padded = bytes[end] === 0x20 || bytes[end] === 0x09;
    if (padded) warn('boundary-padding');
    if (lf < 0) warn('boundary-at-end');
    return { owner, closing, start: line, next: lf < 0 ? bytes.length : lf + 1 };
  };

  return {
    at,
    add(multipart: Multipart) {
      const { boundary } = multipart;
      multipart.shadowed = innermost.get(boundary);
      innermost.set(boundary, multipart);
      firstBytes[boundary.charCodeAt(0)] = (firstBytes[boundary.charCodeAt(0)] ?? 0) + 1;
      longest = Math.max(longest, boundary.length);
    },
    remove({ boundary, shadowed }: Multipart) {
      if (shadowed) innermost.set(boundary, shadowed);
      else innermost.delete(boundary);
      firstBytes[boundary.charCodeAt(0)] = (firstBytes[boundary.charCodeAt(0)] ?? 1) - 1;
    },
    /** The next delimiter from `from`, which is the beginning of a line. */
    find(from: number): Delimiter | null {
      if (innermost.size === 0) return null;
      let found = at(from);
      // Dashes are looked for, since base64 has none: with the line ends before them each line would be one find.
      let dashes = from;
      while (found === null) {
        dashes = bytes.indexOf(DASHES, dashes);
        if (dashes < 0) return null;
        if (bytes[dashes - 1] === LF) found = at(dashes);
        while (bytes[dashes] === DASH) dashes += 1;
      }
      return found;
    },
  };
}

const isSpace = (byte: number) => byte === 0x20 || byte === 0x09 || byte === CR;
