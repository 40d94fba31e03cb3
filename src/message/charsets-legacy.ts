/** Character sets that neither the platform nor iconv-lite reads well: those with shifts, UTF-7, and UTF-16 without an order. */
import { TextDecoder } from 'node:util';
import { base64ValueOf } from './transfer.ts';

/** Bytes that are looked at to tell UTF-16's order. */
const SAMPLE = 2048;

/** RFC 1843: `~{` to GB 2312 in seven bits, `~}` back, `~~` a tilde, `~` before a line end nothing. */
export function decodeHz(bytes: Uint8Array): string {
  const wide = new Uint8Array(bytes.length);
  let length = 0;
  let shifted = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    const next = bytes[at + 1];
    if (byte === 0x7e && !shifted && (next === 0x7b || next === 0x7e || next === 0x0a)) {
      at += 1;
      if (next === 0x7b) shifted = true;
      else if (next === 0x7e) wide[length++] = byte;
    } else if (byte === 0x7e && shifted && next === 0x7d) {
      at += 1;
      shifted = false;
    } else {
      if (byte === 0x0a) shifted = false;
      wide[length++] = shifted ? byte | 0x80 : byte;
    }
  }
  return new TextDecoder('gbk').decode(wide.subarray(0, length));
}

/** RFC 1557: after `ESC $ ) C`, SO shifts to KS X 1001 in seven bits and SI back. */
export function decodeIso2022Kr(bytes: Uint8Array): string {
  const wide = new Uint8Array(bytes.length);
  let length = 0;
  let shifted = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === 0x1b && bytes[at + 1] === 0x24 && bytes[at + 2] === 0x29 && bytes[at + 3] === 0x43) at += 3;
    else if (byte === 0x0e) shifted = true;
    else if (byte === 0x0f) shifted = false;
    else {
      if (byte === 0x0a) shifted = false;
      wide[length++] = shifted && byte > 0x20 ? byte | 0x80 : byte;
    }
  }
  return new TextDecoder('euc-kr').decode(wide.subarray(0, length));
}

/** UTF-16 without a byte order mark: the order in which the zero bytes of ASCII text lie. */
export function decodeUtf16(bytes: Uint8Array): string {
  let even = 0;
  let odd = 0;
  for (let at = 0; at + 1 < Math.min(bytes.length, SAMPLE); at += 2) {
    if (bytes[at] === 0) even += 1;
    if (bytes[at + 1] === 0) odd += 1;
  }
  return new TextDecoder(even > odd ? 'utf-16be' : 'utf-16le').decode(bytes);
}

/** Made with the first text that needs it, and once. */
let iso2022Jp: TextDecoder | undefined;

/**
 * RFC 1468. Words that were joined shift to ASCII and at once away again, which the WHATWG's decoder
 * takes for an error; only the last of several shifts in a row counts.
 */
export function decodeIso2022Jp(bytes: Uint8Array): string {
  const out = new Uint8Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    const isShift = byte === 0x1b && (bytes[at + 1] === 0x28 || bytes[at + 1] === 0x24);
    if (isShift && bytes[at + 3] === 0x1b) at += 2;
    else out[length++] = byte;
  }
  iso2022Jp ??= new TextDecoder('iso-2022-jp');
  return iso2022Jp.decode(out.subarray(0, length));
}

/** RFC 2152: `+` to UTF-16BE in base64, ended by what is not base64; `+-` is a plus. Bytes elsewhere are Latin-1. */
export function decodeUtf7(bytes: Uint8Array): string {
  const units = new Uint16Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte !== 0x2b) {
      units[length++] = byte;
      continue;
    }
    if (bytes[at + 1] === 0x2d) {
      units[length++] = byte;
      at += 1;
      continue;
    }
    let bits = 0;
    let have = 0;
    for (;;) {
      const value = base64ValueOf(bytes[at + 1]);
      if (value < 0) break;
      at += 1;
      bits = ((bits << 6) | value) & 0x3fffff;
      have += 6;
      if (have < 16) continue;
      have -= 16;
      units[length++] = (bits >> have) & 0xffff;
    }
    if (bytes[at + 1] === 0x2d) at += 1;
  }
  return Buffer.from(units.buffer, 0, length * 2).toString('utf16le');
}
