/** A message's text and HTML: which parts are they, and how they are read. */
import { decodeText } from './charset.ts';
import { cleanText } from './clean.ts';
import { MAX_HTML, textOfHtml } from './html.ts';
import { unwrapFlowed, withPlainLineEnds } from './lines.ts';
import type { Part } from './structure.ts';
import type { Warn } from './warnings.ts';

/** RFC 2183 §2.8: an unknown disposition is treated as attachment. */
export const isInlineText = (part: Part): boolean =>
  (part.type === 'text/plain' || part.type === 'text/html') &&
  (part.disposition === null || part.disposition === 'inline');

export interface Readable {
  body: string;
  html: string | null;
}

/** Text parts one after the other; where they are blank, text made from the HTML (Contract). */
export function readText(parts: { type: string; text: string }[], warn: Warn): Readable {
  const plain = parts.filter(({ type }) => type === 'text/plain').map(({ text }) => text);
  const rich = parts.filter(({ type }) => type === 'text/html').map(({ text }) => text);
  const html = rich.length === 0 ? null : rich.join('\n');
  const body = plain.join('\n');
  if (html === null || /\S/.test(body)) return { body, html };
  return { body: cleanText(textOfPages(rich, warn), warn), html };
}

/** Each page is read for itself: a comment or element that one leaves open hides nothing of the next. */
function textOfPages(pages: readonly string[], warn: Warn): string {
  let left = MAX_HTML;
  const texts = pages.map((page) => {
    const { text, cut } = textOfHtml(page, left);
    if (cut) warn('html-cut');
    left -= Math.min(left, page.length);
    return text;
  });
  return texts.filter((text) => text !== '').join('\n');
}

/** UTF-16 and UTF-32 write line ends and spaces in several bytes: lines are found after decoding. */
const isWide = (charset: string | null, bytes: Buffer) =>
  /utf-?_?(?:16|32)|ucs-?[24]|unicode$/i.test(charset ?? '') ||
  (bytes[0] === 0xff && bytes[1] === 0xfe) ||
  (bytes[0] === 0xfe && bytes[1] === 0xff);

/** The text of an inline part from its content (transfer encoding taken off). */
export function textOf(part: Part, content: Buffer, hints: readonly string[], warn: Warn): string {
  const html = part.type === 'text/html';
  const charset = { labels: hints, html };
  if (isWide(part.charset, content)) {
    return cleanText(decodeText(content, part.charset, charset, warn).replace(/\r\n/g, '\n'), warn);
  }
  const lines = part.flowed && !html ? unwrapFlowed(content, part.delSp) : withPlainLineEnds(content);
  return cleanText(decodeText(lines, part.charset, charset, warn), warn);
}
