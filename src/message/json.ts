/** A document as JSON, in pieces. */
import type { MessageDocument } from './document.ts';

/** Characters of JSON that one write takes. Each write is one sync, and each holds a copy. */
const WRITE_CHARS = 4 * 1024 * 1024;

/** The document as one JSON object and a line end, in pieces: a large text never exists twice as a whole. */
export function* jsonOf(document: MessageDocument): Generator<Buffer> {
  // Where there is no large text, one call takes half the time of one a key.
  if (document.size < WRITE_CHARS) {
    yield Buffer.from(`${JSON.stringify(document)}\n`);
    return;
  }
  let pending = '';
  for (const piece of jsonPieces(document)) {
    pending += piece;
    if (pending.length < WRITE_CHARS) continue;
    yield Buffer.from(pending);
    pending = '';
  }
  yield Buffer.from(`${pending}}\n`);
}

function* jsonPieces(document: MessageDocument): Generator<string> {
  let separator = '{';
  for (const [key, value] of Object.entries(document)) {
    yield `${separator}${JSON.stringify(key)}:`;
    separator = ',';
    if (typeof value !== 'string' || value.length < WRITE_CHARS) {
      yield JSON.stringify(value);
      continue;
    }
    yield '"';
    for (let start = 0; start < value.length; ) {
      let end = Math.min(start + WRITE_CHARS, value.length);
      // A surrogate pair that were cut would be written as two escapes.
      if (end < value.length && /[\ud800-\udbff]/.test(value[end - 1] ?? '')) end += 1;
      yield JSON.stringify(value.slice(start, end)).slice(1, -1);
      start = end;
    }
    yield '"';
  }
}
