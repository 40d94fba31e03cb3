/** Encoded words (RFC 2047) in header text, also where they are folded, split or joined wrongly. */
import { decodeText } from './charset.ts';
import { decodeBase64, hexOf } from './transfer.ts';
import type { Warn } from './warnings.ts';

interface Word {
  charset: string;
  base64: boolean;
  content: string;
  end: number;
}

/** Replaces each run of encoded words by its text. White space between two encoded words is none (RFC 2047 §6.2). */
export function decodeWords(text: string, hints: readonly string[], warn: Warn): string {
  return mapRuns(text, (words) => decodeRun(words, hints, warn));
}

/**
 * Writes each run of encoded words anew as one UTF-8 word, so that a parser of structured fields meets
 * neither specials inside of words nor character sets that it does not know.
 */
export function canonicalWords(text: string, hints: readonly string[], warn: Warn): string {
  return mapRuns(
    text,
    (words) => `=?UTF-8?B?${Buffer.from(decodeRun(words, hints, warn)).toString('base64')}?=`,
  );
}

function mapRuns(text: string, convert: (words: Word[]) => string): string {
  let start = text.indexOf('=?');
  if (start < 0) return text;
  let result = '';
  let copied = 0;
  let run: Word[] = [];
  const flush = () => {
    if (run.length > 0) result += convert(run);
    run = [];
  };
  // Once no word ends behind a place, none does behind a later one: without this the search is quadratic.
  const limit = text.lastIndexOf('?=');
  while (start >= 0 && start < limit) {
    const word = readWord(text, start);
    if (word === null) {
      start = text.indexOf('=?', start + 2);
      continue;
    }
    const gap = text.slice(copied, start);
    if (run.length === 0 || gap.trim() !== '') {
      flush();
      result += gap;
    }
    run.push(word);
    copied = word.end;
    start = text.indexOf('=?', copied);
  }
  flush();
  return result + text.slice(copied);
}

function readWord(text: string, start: number): Word | null {
  const charsetEnd = text.indexOf('?', start + 2);
  if (charsetEnd < 0) return null;
  const encoding = text[charsetEnd + 1]?.toUpperCase();
  if ((encoding !== 'B' && encoding !== 'Q') || text[charsetEnd + 2] !== '?') return null;
  const charset = text
    .slice(start + 2, charsetEnd)
    .replace(/\*.*$/s, '')
    .trim();
  if (/\s/.test(charset)) return null;
  const contentStart = charsetEnd + 3;
  // Where another word begins this one must have ended. Base64 padding before `?=` looks like a beginning.
  const next = text.indexOf('=?', contentStart);
  const room = next < 0 ? text.slice(contentStart) : text.slice(contentStart, next + 3);
  const length = room.indexOf('?=');
  if (length < 0) return null;
  const end = contentStart + length;
  return { charset, base64: encoding === 'B', content: text.slice(contentStart, end), end: end + 2 };
}

/** Adjacent words of one character set are decoded as one: senders split them inside of a character. */
function decodeRun(words: Word[], hints: readonly string[], warn: Warn): string {
  let text = '';
  for (let at = 0; at < words.length; ) {
    const first = words[at] as Word;
    const charset = first.charset.toLowerCase();
    const chunks: Buffer[] = [];
    while (at < words.length && words[at]?.charset.toLowerCase() === charset) {
      if (words[at]?.base64) {
        // Joined before decoding: some senders split base64 inside of a group of four.
        const contents: string[] = [];
        while (words[at]?.base64 && words[at]?.charset.toLowerCase() === charset) {
          contents.push(words[at]?.content ?? '');
          at += 1;
        }
        chunks.push(decodeBase64(Buffer.from(contents.join(''), 'latin1')).content);
      } else {
        chunks.push(decodeQ(words[at]?.content ?? ''));
        at += 1;
      }
    }
    text += decodeText(
      Buffer.concat(chunks),
      first.charset === '' ? null : first.charset,
      { labels: hints },
      warn,
    );
  }
  return text;
}

/** RFC 2047 §4.2, tolerating raw spaces and 8-bit text. */
export function decodeQ(content: string): Buffer {
  const source = Buffer.from(content, 'utf8');
  const out = Buffer.allocUnsafe(source.length);
  let length = 0;
  for (let at = 0; at < source.length; at += 1) {
    const byte = source[at] ?? 0;
    const high = byte === 0x3d ? hexOf(source[at + 1]) : -1;
    const low = high >= 0 ? hexOf(source[at + 2]) : -1;
    if (low >= 0) {
      out[length++] = high * 16 + low;
      at += 2;
    } else out[length++] = byte === 0x5f ? 0x20 : byte;
  }
  return out.subarray(0, length);
}
