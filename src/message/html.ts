/** HTML → plain text, in one pass over its tokens: no tree, so that no nesting can exhaust it. */
import { Tokenizer } from 'htmlparser2';

/**
 * Characters that are made text, the rest is not. Newsletters stay below 1 Mi; at some 40 MiB a
 * second this takes a fraction of a second.
 */
export const MAX_HTML = 8 * 1024 * 1024;

/** Text can come in pieces of one character, each of which takes more memory than itself until it is joined. */
const MAX_PIECES = 10_000;

const INVISIBLE = new Set(['script', 'style', 'title', 'template', 'noframes', 'object']);
const BLOCKS = new Set(
  'address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol option p pre section summary table tbody tfoot thead tr ul'.split(
    ' ',
  ),
);
const PARAGRAPHS = new Set('blockquote dl h1 h2 h3 h4 h5 h6 ol p pre table ul'.split(' '));

/**
 * The text that a reader of the HTML would see; `cut` where it was longer than `most` characters. Links and images
 * are left out.
 */
export function textOfHtml(html: string, most = MAX_HTML): { text: string; cut: boolean } {
  const cut = html.length > most;
  const source = cut ? html.slice(0, most) : html;
  const texts: string[] = [];
  let pieces: string[] = [];
  /** Line breaks owed before the next visible character, and whether a space is. */
  let breaks = 0;
  let space = false;
  let preformatted = 0;
  let hidden: string | null = null;
  let visible = false;

  const put = (piece: string) => {
    if (pieces.push(piece) < MAX_PIECES) return;
    texts.push(pieces.join(''));
    pieces = [];
  };
  const wantBreaks = (count: number) => {
    breaks = Math.max(breaks, count);
    space = false;
  };
  const write = (text: string) => {
    if (hidden !== null) return;
    if (preformatted > 0) return writeVisible(text, text);
    const words = text.replace(/[ \t\r\n\f\u00a0]+/g, ' ');
    if (words === ' ' || words === '') {
      space ||= words === ' ';
      return;
    }
    space ||= words.startsWith(' ');
    writeVisible(words.trim(), words);
    space = words.endsWith(' ');
  };
  const writeVisible = (text: string, original: string) => {
    if (visible && breaks > 0) put('\n'.repeat(breaks));
    else if (visible && space && original !== '') put(' ');
    put(text);
    visible = true;
    breaks = 0;
    space = false;
  };
  const nameAt = (start: number, end: number) => source.slice(start, end).toLowerCase();
  const open = (name: string) => {
    if (hidden === null && INVISIBLE.has(name)) hidden = name;
    if (hidden !== null) return;
    if (name === 'br') breaks = visible ? Math.min(breaks + 1, 2) : 0;
    if (BLOCKS.has(name)) wantBreaks(PARAGRAPHS.has(name) ? 2 : 1);
    if (name === 'td' || name === 'th') space = true;
    if (name === 'li') writeVisible('* ', '');
    if (name === 'pre') preformatted += 1;
  };
  const close = (name: string) => {
    if (hidden === name) hidden = null;
    if (hidden !== null) return;
    if (name === 'pre' && preformatted > 0) preformatted -= 1;
    if (BLOCKS.has(name)) wantBreaks(PARAGRAPHS.has(name) ? 2 : 1);
  };
  const ignore = () => undefined;
  const tokenizer = new Tokenizer(
    { decodeEntities: true },
    {
      ontext: (start, end) => write(source.slice(start, end)),
      ontextentity: (codepoint) => write(String.fromCodePoint(codepoint)),
      onopentagname: (start, end) => open(nameAt(start, end)),
      onclosetag: (start, end) => close(nameAt(start, end)),
      onattribdata: ignore,
      onattribentity: ignore,
      onattribend: ignore,
      onattribname: ignore,
      oncdata: (start, end) => write(source.slice(start, end)),
      oncomment: ignore,
      ondeclaration: ignore,
      onend: ignore,
      onopentagend: ignore,
      onprocessinginstruction: ignore,
      onselfclosingtag: ignore,
    },
  );
  tokenizer.write(source);
  tokenizer.end();
  return { text: texts.concat(pieces).join('').trim(), cut };
}
