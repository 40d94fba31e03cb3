/** What a part is by its own fields: type, parameters, transfer encoding, disposition, file name (RFC 2045, 2183, 2231). */
import libmime, { Libmime } from 'libmime';
import { decodeText } from './charset.ts';
import { cleanText } from './clean.ts';
import { decodedText, type Field, fieldText } from './headers.ts';
import type { Warn } from './warnings.ts';
import { decodeQ, decodeWords } from './words.ts';

interface StructuredHeader {
  value: string;
  /** By their names in lower case. */
  params: Record<string, string>;
  /** Names of the parameters that RFC 2231 encodes, which are decoded already. */
  decodedParams: readonly string[];
}

export interface Media {
  /** Lower case, `type/subtype`. */
  type: string;
  charset: string | null;
  /** As bytes in a Latin-1 string, to compare lines with; null where none is named. */
  boundary: string | null;
  /** RFC 3676. */
  flowed: boolean;
  delSp: boolean;
  /** Content-Transfer-Encoding, lower case; empty where there is none. */
  encoding: string;
  /** Lower case; null where there is none. */
  disposition: string | null;
}

/** Bytes of a structured field that are read: the parser of parameters needs some hundred times as much memory. */
const MAX_STRUCTURED = 256 * 1024;

export const firstField = (fields: readonly Field[], key: string): Field | undefined =>
  fields.find((field) => field.key === key);

/** What Content-Type is where there is none (RFC 2045 §5.2, RFC 2046 §5.1.5). */
export function readMedia(fields: readonly Field[], parentType: string | null, warn: Warn): Media {
  const structured = structuredReader([], warn);
  const disposition = structured(firstField(fields, 'content-disposition'));
  const dispositionValue = disposition?.value.toLowerCase().trim() ?? '';
  const given = structured(firstField(fields, 'content-type'));
  const params = given?.params ?? {};
  const boundary = params.boundary?.trimEnd() ?? '';
  return {
    type: typeOf(given, parentType, disposition, warn),
    charset: params.charset || null,
    boundary: boundary === '' ? null : Buffer.from(boundary).toString('latin1'),
    flowed: params.format?.trim().toLowerCase() === 'flowed',
    delSp: params.delsp?.trim().toLowerCase() === 'yes',
    encoding: encodingOf(firstField(fields, 'content-transfer-encoding'), warn),
    disposition: /^[a-z0-9!#$&^_.+-]+/.exec(dispositionValue)?.[0] ?? null,
  };
}

const TYPE = /^([a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+)/;

function typeOf(
  given: StructuredHeader | null,
  parentType: string | null,
  disposition: StructuredHeader | null,
  warn: Warn,
): string {
  if (given === null || given.value.trim() === '') {
    if (parentType === 'multipart/digest') {
      warn('digest-default');
      return 'message/rfc822';
    }
    if (given !== null) warn('type-invalid');
    if (disposition === null) return 'text/plain';
    // Not text by default: the sender named a file. The name tells more than the default would.
    const name = disposition.params.filename;
    if (name) return libmime.detectMimeType(name);
    return /^\s*attachment/i.test(disposition.value) ? 'application/octet-stream' : 'text/plain';
  }
  const value = given.value.toLowerCase().trim();
  const type = TYPE.exec(value)?.[1];
  if (type !== undefined) return type;
  warn('type-invalid');
  return value.startsWith('multipart') && given.params.boundary ? 'multipart/mixed' : 'text/plain';
}

function encodingOf(field: Field | undefined, warn: Warn): string {
  if (!field) return '';
  const text = fieldText(field, [], warn).toLowerCase();
  return /^[\s"']*(?:\([^()]*\)\s*)?([a-z0-9-]+)/.exec(text.slice(0, MAX_ENCODING))?.[1] ?? '';
}

/** Longest transfer encoding's name is `quoted-printable`; a comment may stand before it. */
const MAX_ENCODING = 200;

/** The name that the sender gave a part's file; null where there is none. */
export function fileNameOf(fields: readonly Field[], hints: readonly string[], warn: Warn): string | null {
  const structured = structuredReader(hints, warn);
  for (const [key, parameter] of [
    ['content-disposition', 'filename'],
    ['content-type', 'name'],
  ] as const) {
    const header = structured(firstField(fields, key));
    const value = header?.params[parameter];
    if (!header || !value) continue;
    const name = header.decodedParams.includes(parameter)
      ? cleanText(percentDecoded(value, firstField(fields, key), parameter), warn)
      : decodedText(value, hints, warn);
    if (name.trim() !== '') return name.trim();
  }
  return null;
}

/**
 * RFC 2231 §4 wants `charset'language'` before percent-encoded text. Senders forget it, and libmime then
 * leaves the text encoded; it is UTF-8 or nothing.
 */
function percentDecoded(value: string, field: Field | undefined, parameter: string): string {
  if (!/%[0-9a-f]{2}/i.test(value)) return value;
  const raw = field?.raw.toString('latin1', 0, MAX_STRUCTURED) ?? '';
  const bare = new RegExp(`[;\\s]${parameter}\\*(?:0\\*)?=[^';]*(?:;|$)`, 'i').test(raw);
  if (!bare) return value;
  try {
    return decodeURIComponent(value);
  } catch (error) {
    if (error instanceof URIError) return value;
    throw error;
  }
}

const PLAIN_VALUE = /^[\w!#$&^.+/-]+/;
const PLAIN_PARAMETER = / *; *([a-z-]+)(\*?)=(?:"([^"\\]*)"|([\w!#$%&'*+^`{|}~.,:/@?=-]+))/iy;

/**
 * A value whose parameters are plain tokens, quoted strings and RFC 2231's `name*=charset'language'text`; null for
 * one with comments, escapes, continuations, or white space where none may be. Most are plain, and libmime goes by
 * the character: ten times as long.
 */
function readPlain(text: string, hints: readonly string[], warn: Warn): StructuredHeader | null {
  const value = PLAIN_VALUE.exec(text)?.[0];
  if (value === undefined) return null;
  const plain: Record<string, string> = {};
  const extended: Record<string, string> = {};
  for (let at = value.length; at < text.length; at = PLAIN_PARAMETER.lastIndex) {
    // An empty parameter at the end is none.
    if (at === text.length - 1 && text[at] === ';') break;
    PLAIN_PARAMETER.lastIndex = at;
    const match = PLAIN_PARAMETER.exec(text);
    if (!match) return null;
    const [, name = '', star, quoted, token = ''] = match;
    const params = star === '' ? plain : extended;
    // As libmime has it: the first of one name counts.
    if (!Object.hasOwn(params, name.toLowerCase())) params[name.toLowerCase()] = quoted ?? token;
  }
  for (const [name, coded] of Object.entries(extended)) {
    const parts = EXTENDED_VALUE.exec(coded);
    if (!parts) return null;
    const [, charset = '', percentEncoded = ''] = parts;
    const q = percentEncoded.replaceAll('=', '%3d').replaceAll('_', '%5f').replaceAll('%', '=');
    plain[name] = decodeText(decodeQ(q), charset || 'utf-8', { labels: hints }, warn);
  }
  return { value, params: plain, decodedParams: Object.keys(extended) };
}

const EXTENDED_VALUE = /^([^']*)'[^']*'([ -~]*)$/;

/** libmime's reader of `value; parameter=…` with our character sets in RFC 2231 and encoded words. */
function libmimeReader(hints: readonly string[], warn: Warn): Libmime {
  const reader = new Libmime();
  reader.decodeWord = (charset, encoding, text) =>
    encoding === 'Q' ? decodeText(decodeQ(text), charset, { labels: hints }, warn) : text;
  reader.decodeWords = (text) => decodeWords(String(text ?? ''), hints, warn);
  return reader;
}

function structuredReader(hints: readonly string[], warn: Warn) {
  return (field: Field | undefined): StructuredHeader | null => {
    if (!field) return null;
    if (field.raw.length > MAX_STRUCTURED) warn('header-cut');
    const raw = field.raw.subarray(0, MAX_STRUCTURED);
    const text = fieldText({ ...field, raw }, hints, warn);
    const plain = readPlain(text, hints, warn);
    if (plain) return plain;
    const reader = libmimeReader(hints, warn);
    const read = reader.parseHeaderValue(text, { stripComments: true });
    // `text/html charset=utf-8`: the semicolon was forgotten.
    const forgotten = /^([^\s;=/,]+\/[^\s;=,]+)[\s,]+([a-z-]{1,30}=.*)$/is.exec(read.value);
    if (!forgotten) return read;
    return reader.parseHeaderValue(text.replace(/[\s,]+/, '; '), { stripComments: true });
  };
}
