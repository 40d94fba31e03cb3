/** Lines of a text part's bytes: CRLF → LF, and format=flowed (RFC 3676) unwrapped, both in linear time and space. */

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x3e;

/** Bytes that are made a string at once, so that a large text does not exist twice more. */
const RUN = 64 * 1024;

/** The same with LF for CRLF. CR elsewhere stays. By strings, which takes a quarter of the time of a copy a line. */
export function withPlainLineEnds(bytes: Buffer): Buffer {
  if (!bytes.includes(CR)) return bytes;
  const out = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  for (let start = 0; start < bytes.length; ) {
    let end = start + RUN;
    if (bytes[end - 1] === CR && bytes[end] === LF) end += 1;
    const run = bytes.toString('latin1', start, end).replaceAll('\r\n', '\n');
    length += out.write(run, length, 'latin1');
    start = end;
  }
  return out.subarray(0, length);
}

/**
 * Joins lines that end in a space with the next one of the same quote depth, and takes off space-stuffing.
 * Bytes, since the encodings that mail uses write spaces, line ends and `>` at a line's begin as ASCII does.
 */
export function unwrapFlowed(bytes: Buffer, delSp: boolean): Buffer {
  const out = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let softDepth = -1;
  for (let line = 0; line <= bytes.length; ) {
    const lf = bytes.indexOf(LF, line);
    const next = lf < 0 ? bytes.length + 1 : lf + 1;
    let end = lf < 0 ? bytes.length : lf;
    if (end > line && lf >= 0 && bytes[end - 1] === CR) end -= 1;
    let at = line;
    while (at < end && bytes[at] === QUOTE) at += 1;
    const depth = at - line;
    if (at < end && bytes[at] === SPACE) at += 1;
    // §4.3: the signature's separator is no soft line, whatever it ends in, and joins nothing.
    const signature =
      end - at <= 3 && bytes.toString('latin1', at - (depth === 0 && at > line ? 1 : 0), end) === '-- ';
    if (softDepth === depth && !signature) {
      if (delSp) length -= 1;
    } else {
      if (line > 0) out[length++] = LF;
      length += bytes.copy(out, length, line, depth > 0 ? at : line);
    }
    length += bytes.copy(out, length, at, end);
    softDepth = !signature && end > at && bytes[end - 1] === SPACE ? depth : -1;
    line = next;
  }
  return out.subarray(0, length);
}
