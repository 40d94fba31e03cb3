/** Content-Transfer-Encoding (RFC 2045 §6, and uuencode): bytes as sent → content, in linear time. */
import type { Warn } from './warnings.ts';

export interface TransferDecoded {
  content: Buffer;
  /** Something was not as the encoding wants it; `content` is what could be decoded. */
  damaged: boolean;
}

const SKIP = 255;
const PAD = 254;
const base64Values = new Uint8Array(256).fill(SKIP);
for (const [value, char] of [
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
].entries()) {
  base64Values[char.charCodeAt(0)] = value;
}
base64Values[0x3d] = PAD;

/** The six bits of a base64 character (its byte), or -1. */
export function base64ValueOf(byte: number | undefined): number {
  const value = byte === undefined ? SKIP : (base64Values[byte] as number);
  return value < PAD ? value : -1;
}

/** RFC 2045 §6.8: characters outside of the alphabet are ignored; each padded piece is decoded for itself. */
export function decodeBase64(bytes: Buffer): TransferDecoded {
  const out = Buffer.allocUnsafe(Math.ceil((bytes.length * 3) / 4) + 3);
  return (bytes.length < SHORT ? null : decodeWellFormed(bytes, out)) ?? decodeLenient(bytes, out);
}

/** Bytes that are decoded before the platform's decoder is asked. Most encoded words are, and many pad in between. */
const SHORT = 512;

/** Bytes that the platform decodes at once: its strings stay small enough to be collected young. */
const RUN = 64 * 1024;

/** What encoders write, decoded by the platform: 0.4 ns a byte instead of 2. Null where anything is amiss. */
function decodeWellFormed(bytes: Buffer, out: Buffer): TransferDecoded | null {
  let length = 0;
  let complete = true;
  for (let start = 0; start < bytes.length; ) {
    // Groups of four must not be cut. Encoders end lines between them.
    if (!complete) return null;
    let run = bytes.subarray(start, start + RUN);
    if (run.length === RUN) run = run.subarray(0, run.lastIndexOf(0x0a) + 1 || RUN);
    const decoded = forgivingBase64(run.toString('latin1'));
    if (decoded === null) return null;
    length += out.write(decoded, length, 'latin1');
    complete = decoded.length % 3 === 0;
    start += run.length;
  }
  return { content: out.subarray(0, length), damaged: !complete && !bytes.includes(0x3d) };
}

/** WHATWG's forgiving base64: white space is ignored, padding may be missing, all else is refused. */
function forgivingBase64(text: string): string | null {
  try {
    return atob(text);
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

function decodeLenient(bytes: Buffer, out: Buffer): TransferDecoded {
  let length = 0;
  let group = 0;
  let have = 0;
  let foreign = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number;
    const value = base64Values[byte] as number;
    if (value < PAD) {
      group = (group << 6) | value;
      have += 1;
      if (have === 4) {
        out[length++] = group >> 16;
        out[length++] = group >> 8;
        out[length++] = group;
        group = 0;
        have = 0;
      }
    } else if (value === PAD) {
      if (have >= 2) out[length++] = have === 2 ? group >> 4 : group >> 10;
      if (have === 3) out[length++] = group >> 2;
      group = 0;
      have = 0;
    } else if (byte > 0x20) foreign += 1;
  }
  if (have >= 2) out[length++] = have === 2 ? group >> 4 : group >> 10;
  if (have === 3) out[length++] = group >> 2;
  return { content: out.subarray(0, length), damaged: have > 0 || foreign > 0 };
}

/** RFC 2045 §6.7: white space at a line's end is not content; an `=` that begins nothing is itself. */
function decodeQuotedPrintable(bytes: Buffer): TransferDecoded {
  const out = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  /** What is behind it may be white space at the end of a line. */
  let solid = 0;
  let damaged = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number;
    if (byte === 0x3d) {
      const high = hexOf(bytes[at + 1]);
      const low = high >= 0 ? hexOf(bytes[at + 2]) : -1;
      if (low >= 0) {
        out[length++] = high * 16 + low;
        at += 2;
        solid = length;
        continue;
      }
      const after = softBreakEnd(bytes, at + 1);
      if (after > 0) {
        at = after - 1;
        solid = length;
        continue;
      }
      damaged = true;
    }
    if (byte === 0x0a) {
      const withCr = at > 0 && bytes[at - 1] === 0x0d;
      length = solid;
      if (withCr) out[length++] = 0x0d;
    }
    out[length++] = byte;
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) solid = length;
  }
  // At the very end as well: the line end that would follow belongs to the boundary.
  let end = length;
  while (end > solid && out[end - 1] !== 0x0d) end -= 1;
  return { content: out.subarray(0, end), damaged };
}

/** The place behind a soft line break's white space and line end, or 0 where there is none. */
function softBreakEnd(bytes: Buffer, from: number): number {
  let at = from;
  while (bytes[at] === 0x20 || bytes[at] === 0x09 || bytes[at] === 0x0d) at += 1;
  if (bytes[at] === 0x0a) return at + 1;
  return at === bytes.length ? at : 0;
}

/** Lines between `begin <mode> <name>` and `end`; without a `begin`, nothing can be decoded. */
function decodeUuencode(bytes: Buffer): TransferDecoded {
  const out = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let inside = false;
  let ended = false;
  let damaged = false;
  for (let start = 0; start < bytes.length && !ended; ) {
    let end = bytes.indexOf(0x0a, start);
    if (end < 0) end = bytes.length;
    let last = end;
    while (last > start && (bytes[last - 1] as number) <= 0x20 && bytes[last - 1] !== 0x20) last -= 1;
    if (!inside)
      inside = /^begin [0-7]{3,4} /.test(bytes.toString('latin1', start, Math.min(last, start + 16)));
    else if (bytes.toString('latin1', start, Math.min(last, start + 4)).trimEnd() === 'end') ended = true;
    else if (last > start) {
      const count = ((bytes[start] as number) - 0x20) & 0x3f;
      const have = Math.floor(((last - start - 1) * 3) / 4);
      // Some encoders drop trailing spaces, which mean zero bits.
      if (have < count && last - start - 1 < Math.ceil((count * 4) / 3) - 3) damaged = true;
      for (let n = 0; n < count; n += 1) {
        const at = start + 1 + Math.floor(n / 3) * 4 + (n % 3);
        const left = at < last ? ((bytes[at] as number) - 0x20) & 0x3f : 0;
        const right = at + 1 < last ? ((bytes[at + 1] as number) - 0x20) & 0x3f : 0;
        const shift = (n % 3) * 2 + 2;
        out[length++] = (left << shift) | (right >> (6 - shift));
        if (length === out.length) break;
      }
    }
    start = end + 1;
  }
  if (!inside) return { content: bytes, damaged: true };
  return { content: out.subarray(0, length), damaged: damaged || !ended };
}

/** The value of a hexadecimal digit (its byte), or -1. */
export function hexOf(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  if (byte >= 0x41 && byte <= 0x46) return byte - 0x37;
  if (byte >= 0x61 && byte <= 0x66) return byte - 0x57;
  return -1;
}

/** A part's content; an unknown encoding leaves the bytes as they are (RFC 2045 §6.4 calls them octets then). */
export function decodeTransfer(body: Buffer, encoding: string, warn: Warn): Buffer {
  const decode = decoders.get(encoding);
  if (!decode) {
    if (!IDENTITY.has(encoding)) warn('encoding-unknown');
    return body;
  }
  const { content, damaged } = decode(body);
  if (decode === decodeUuencode) warn('encoding-uuencode');
  if (damaged) warn('encoding-damaged');
  return content;
}

const IDENTITY = new Set(['', '7bit', '8bit', 'binary', '7-bit', '8-bit', 'none']);

const decoders = new Map([
  ['base64', decodeBase64],
  ['quoted-printable', decodeQuotedPrintable],
  ['x-uuencode', decodeUuencode],
  ['uuencode', decodeUuencode],
  ['x-uue', decodeUuencode],
  ['uue', decodeUuencode],
]);
