/** Bytes → text: declared character sets as the WHATWG names them, and recognition where none or a wrong one is declared. */
import { isAscii, isUtf8 } from 'node:buffer';
import { TextDecoder } from 'node:util';
import iconv from 'iconv-lite';
import { decodeHz, decodeIso2022Jp, decodeIso2022Kr, decodeUtf7, decodeUtf16 } from './charsets-legacy.ts';
import type { Warn } from './warnings.ts';

export interface CharsetHints {
  /** Labels that other parts or encoded words of the message declare; tried where this text's own fails. */
  labels: readonly string[];
  /** The text is HTML, which can declare a character set itself. */
  html?: boolean;
}

/** Where HTML must declare its character set (WHATWG HTML §4.2.5.4). Twice as far costs nothing. */
const META_BYTES = 2048;

/** Labels seen in mail that neither the WHATWG nor iconv-lite knows. Keys are what `normalise` leaves. */
const ALIASES = new Map([
  ['cp932', 'shift_jis'],
  ['cp936', 'gbk'],
  ['cp949', 'euc-kr'],
  ['cp950', 'big5'],
  ['cp51932', 'euc-jp'],
  ['cp50220', 'iso-2022-jp'],
  ['cp50221', 'iso-2022-jp'],
  ['iso-2022-jp-1', 'iso-2022-jp'],
  ['iso-2022-jp-2', 'iso-2022-jp'],
  ['iso-2022-jp-ms', 'iso-2022-jp'],
  ['unicode-1-1-utf-7', 'utf-7'],
  ['utf8mb4', 'utf-8'],
  ['hz', 'hz-gb-2312'],
  ['jis', 'iso-2022-jp'],
  ['ansi', 'windows-1252'],
  ['latin', 'windows-1252'],
  ['gb-2312', 'gbk'],
  ['euc-cn', 'gbk'],
  ['eucgb2312-cn', 'gbk'],
]);

type Decoder = (bytes: Uint8Array) => string;

interface Encoding {
  name: string;
  decode: Decoder;
  /** Decodes, or throws where a byte has no meaning. Absent where every byte has one. */
  strict?: Decoder;
  legacy?: boolean;
}

/** The platform's decoders are made once an encoding: making one takes as long as decoding a kilobyte. */
function whatwg(name: string): Encoding {
  const lenient = new TextDecoder(name);
  let fatal: TextDecoder | null = null;
  return {
    name,
    decode: (bytes) => lenient.decode(bytes),
    strict: (bytes) => {
      const decoder = fatal ?? new TextDecoder(name, { fatal: true });
      // One that has refused a text may be left in the middle of a character: it is not used again.
      fatal = null;
      const text = decoder.decode(bytes);
      fatal = decoder;
      return text;
    },
  };
}

const special = new Map<string, Encoding>([
  ['hz-gb-2312', { name: 'hz-gb-2312', decode: decodeHz, legacy: true }],
  ['iso-2022-kr', { name: 'iso-2022-kr', decode: decodeIso2022Kr, legacy: true }],
  ['iso-2022-jp', { name: 'iso-2022-jp', decode: decodeIso2022Jp }],
  ['utf-7', { name: 'utf-7', decode: decodeUtf7, legacy: true }],
  ['utf-16', { name: 'utf-16', decode: decodeUtf16 }],
]);

const encodings = new Map<string, Encoding | null>();

/** Labels come from messages: without a bound a hostile one would grow the cache. */
const MAX_CACHED_LABELS = 500;

/** The encoding that a label names; null for an unknown one. */
function encodingOf(label: string): Encoding | null {
  const known = encodings.get(label);
  if (known !== undefined) return known;
  const found = findEncoding(normalise(label));
  if (encodings.size < MAX_CACHED_LABELS) encodings.set(label, found);
  return found;
}

function normalise(label: string): string {
  const name = label
    .slice(0, 60)
    .replace(/\*.*$/s, '') // RFC 2231 §5: a language after an asterisk
    .replace(/[\s"'`<>;,=]/g, '')
    .toLowerCase()
    .replace(/^charset/, '')
    .replace(/^utf[-_]?(\d+)/, 'utf-$1')
    .replace(/^win(?:dows)?[-_]?(\d+)$/, 'windows-$1')
    .replace(/^cp[-_]?(125\d)$/, 'windows-$1')
    .replace(/^(?:iso)?[-_]?8859[-_]?(\d+.*)$/, 'iso-8859-$1')
    .replace(/^cp[-_]/, 'cp');
  return ALIASES.get(name) ?? name;
}

function findEncoding(name: string): Encoding | null {
  const ours = special.get(name);
  if (ours) return ours;
  if (name === '') return null;
  try {
    return whatwg(new TextDecoder(name).encoding);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  // Transfer encodings, which iconv-lite lists beside the character sets.
  if (/^(?:base64|hex|binary|internal.*)$/.test(name) || !iconv.encodingExists(name)) return null;
  return {
    name,
    decode: (bytes) => iconv.decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), name),
    legacy: /^utf-?32/.test(name),
  };
}

/** Labels that say nothing about bytes above 127. */
const isAsciiLabel = (label: string) =>
  /^(?:us[-_]?ascii|ascii|ansi_x3\.4-19(?:68|86)|iso[-_]?646[-_]us|646|7bit|8bit|binary|none|default|unknown-8bit|x-unknown|unknown|x-user-defined)$/i.test(
    label.trim(),
  );

/**
 * Decodes text whose sender declared `label`, or nothing. What is not as declared is recognised,
 * with a warning: UTF-8 where it is valid, then what the message declares elsewhere, else Windows-1252.
 */
export function decodeText(bytes: Buffer, label: string | null, hints: CharsetHints, warn: Warn): string {
  if (bytes.length === 0) return '';
  const bom = encodingOfBom(bytes);
  if (bom) {
    if (label !== null && !encodingOf(label)?.name.startsWith(bom.name.slice(0, 6))) warn('charset-wrong');
    return decodeWith(bom, bytes, warn);
  }
  const declared = label === null || label.trim() === '' || isAsciiLabel(label) ? null : encodingOf(label);
  if (declared === null) return decodeUndeclared(bytes, label, hints, warn);
  if (declared.name === 'utf-8') return decodeDeclaredUtf8(bytes, hints, warn);
  if (declared.legacy) warn('charset-legacy');
  else if (isBeyond(label ?? '', declared.name, bytes)) warn('charset-superset');
  const strict = declared.strict;
  if (!strict) return decodeWith(declared, bytes, warn);
  try {
    return strict(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  // A multi-byte set that does not fit: UTF-8 that passes by chance does not exist.
  if (isUtf8(bytes) && !isAscii(bytes)) {
    warn('charset-wrong');
    return bytes.toString('utf8');
  }
  return decodeWith(declared, bytes, warn);
}

function decodeUndeclared(bytes: Buffer, label: string | null, hints: CharsetHints, warn: Warn): string {
  if (isAscii(bytes)) {
    // ESC $ is how ISO-2022 shifts to two bytes a character; in ASCII text it has no meaning.
    if (!bytes.includes('\x1b$')) return bytes.toString('latin1');
    warn(reasonOf(label));
    const korean = bytes.includes('\x1b$)C');
    return decodeWith(encodingOf(korean ? 'iso-2022-kr' : 'iso-2022-jp'), bytes, warn);
  }
  const meta = hints.html ? metaLabel(bytes) : null;
  if (meta !== null) {
    const encoding = encodingOf(meta);
    const text = encoding && fitting(encoding, bytes);
    if (text !== null) {
      warn(label === null ? 'charset-meta' : reasonOf(label));
      return text;
    }
  }
  warn(reasonOf(label));
  if (isUtf8(bytes)) return bytes.toString('utf8');
  return decodeForeign(bytes, hints, warn);
}

const reasonOf = (label: string | null) =>
  label === null || label.trim() === ''
    ? 'charset-missing'
    : isAsciiLabel(label)
      ? 'charset-wrong'
      : 'charset-unknown';

function decodeDeclaredUtf8(bytes: Buffer, hints: CharsetHints, warn: Warn): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  if (isMostlyUtf8(bytes)) {
    warn('charset-damaged');
    return bytes.toString('utf8');
  }
  warn('charset-wrong');
  const meta = hints.html ? metaLabel(bytes) : null;
  return decodeForeign(bytes, meta === null ? hints : { ...hints, labels: [meta, ...hints.labels] }, warn);
}

/** Bytes that are not UTF-8: the first hint that fits, else Windows-1252, which gives each byte a meaning. */
function decodeForeign(bytes: Buffer, hints: CharsetHints, warn: Warn): string {
  for (const label of hints.labels) {
    const encoding = isAsciiLabel(label) ? null : encodingOf(label);
    if (!encoding || encoding.name === 'utf-8' || encoding.name.startsWith('utf-16')) continue;
    const text = fitting(encoding, bytes);
    if (text !== null) return text;
  }
  return decodeWith(encodingOf('windows-1252'), bytes, warn);
}

/** The text, where every byte has a meaning in this encoding; else null. */
function fitting(encoding: Encoding, bytes: Buffer): string | null {
  try {
    const text = (encoding.strict ?? encoding.decode)(bytes);
    return text.includes('\ufffd') ? null : text;
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

function decodeWith(encoding: Encoding | null, bytes: Buffer, warn: Warn): string {
  const text = encoding === null ? bytes.toString('latin1') : encoding.decode(bytes);
  if (text.includes('\ufffd')) warn('charset-damaged');
  return text;
}

function encodingOfBom(bytes: Buffer): Encoding | null {
  const [a, b, c, d] = bytes;
  if (a === 0xef && b === 0xbb && c === 0xbf) return encodingOf('utf-8');
  if (a === 0xff && b === 0xfe) return c === 0 && d === 0 ? encodingOf('utf-32le') : encodingOf('utf-16le');
  if (a === 0xfe && b === 0xff) return encodingOf('utf-16be');
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return encodingOf('utf-32be');
  return null;
}

/**
 * The character set that HTML names in a meta element; a UTF-16 there must be UTF-8 (WHATWG HTML §13.2.3.2).
 * Null where it says nothing about bytes above 127.
 */
function metaLabel(bytes: Buffer): string | null {
  const head = bytes.toString('latin1', 0, META_BYTES);
  const label = /<meta\b[^>]{0,200}?\bcharset\s{0,9}=\s{0,9}["']?([\w:.-]{2,40})/i.exec(head)?.[1] ?? null;
  if (label === null || isAsciiLabel(label)) return null;
  return /^utf-?16/i.test(label) ? 'utf-8' : label;
}

/** True where UTF-8 with some damage is likelier than another encoding: sequences outnumber stray bytes. */
function isMostlyUtf8(bytes: Buffer): boolean {
  let sequences = 0;
  let stray = 0;
  for (let at = 0; at < bytes.length; ) {
    const byte = bytes[at] ?? 0;
    at += 1;
    if (byte < 0x80) continue;
    let wanted = byte >= 0xf0 && byte < 0xf5 ? 3 : byte >= 0xe0 ? 2 : 1;
    if (byte < 0xc2 || byte >= 0xf5) wanted = 0;
    let got = 0;
    while (got < wanted && ((bytes[at + got] ?? 0) & 0xc0) === 0x80) got += 1;
    if (wanted > 0 && got === wanted) sequences += 1;
    else stray += 1;
    at += got;
  }
  return sequences > stray;
}

/** True where a label's own set has no such bytes, and the larger set that the WHATWG reads it as has. */
function isBeyond(label: string, name: string, bytes: Buffer): boolean {
  if (name === 'windows-1252') {
    return /8859|latin|^l1$/i.test(label) && hasC1(bytes);
  }
  if (name !== 'gbk' || !/2312|euc/i.test(label)) return false;
  for (let at = 0; at < bytes.length; at += 1) {
    const lead = bytes[at] ?? 0;
    if (lead < 0x80) continue;
    at += 1;
    if (lead < 0xa1 || lead > 0xf7 || (bytes[at] ?? 0) < 0xa1) return true; // GB 2312 is A1A1–F7FE
  }
  return false;
}

function hasC1(bytes: Buffer): boolean {
  if (isAscii(bytes)) return false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number;
    if (byte >= 0x80 && byte <= 0x9f) return true;
  }
  return false;
}
