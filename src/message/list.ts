/** Mailing lists: whether a message came through one, and what the list tells of itself (RFC 2369, 2919, 8058). */

/** The decoded values of the fields of one name (lower case), the topmost first; empty where there is none. */
export type FieldValues = (key: string) => readonly string[];

/** URIs as written, in the list's order of preference. */
export interface Unsubscribe {
  mailto: string[];
  /** `https:` and `http:`. */
  web: string[];
  /** RFC 8058: a POST of `List-Unsubscribe=One-Click` to the `https:` one of `web` is all that it takes. */
  oneClick: boolean;
}

export interface MailingList {
  /** RFC 2919's list-id, without angle brackets. Null where there is none. */
  id: string | null;
  /** What stands before the list-id. */
  name: string | null;
  /** URIs that post to the list. */
  post: string[];
  unsubscribe: Unsubscribe;
}

/** Any of them marks list mail: RFC 2919 §3, RFC 2369 §3. */
const LIST_FIELDS = [
  'list-id',
  'list-unsubscribe',
  'list-post',
  'list-help',
  'list-subscribe',
  'list-owner',
  'list-archive',
];

/** URIs of one kind that are given; lists have one or two. */
const MAX_URIS = 20;

/** Characters of a URI; longer ones are left out. Those with a token for each recipient take some hundred. */
const MAX_URI = 4096;

/** Whether a message came through a mailing list or is a newsletter, from its header alone. */
export const isListMail = (values: FieldValues): boolean =>
  LIST_FIELDS.some((key) => values(key).length > 0) || precedenceOf(values) === 'list';

/** RFC 3834 §3.1.8: no standard, but wide-spread. Lower case; empty where there is none. */
export const precedenceOf = (values: FieldValues): string =>
  (values('precedence')[0] ?? values('x-precedence')[0] ?? '').trim().toLowerCase();

/** What the list tells of itself; null where the message came through none. */
export function readList(values: FieldValues): MailingList | null {
  if (!isListMail(values)) return null;
  const unsubscribe = urisOf(values('list-unsubscribe'));
  const web = unsubscribe.filter((uri) => /^https?:/i.test(uri));
  // RFC 8058 §3.1: the field has this one value, and an HTTPS URI stands beside it.
  const oneClick =
    /^\s*List-Unsubscribe\s*=\s*One-Click\s*$/i.test(values('list-unsubscribe-post')[0] ?? '') &&
    web.some((uri) => /^https:/i.test(uri));
  return {
    ...readListId(values('list-id')[0]),
    post: urisOf(values('list-post')),
    unsubscribe: { mailto: unsubscribe.filter((uri) => /^mailto:/i.test(uri)), web, oneClick },
  };
}

/** `[phrase] <list-id>`; senders forget the brackets. */
function readListId(value: string | undefined): Pick<MailingList, 'id' | 'name'> {
  const text = value ?? '';
  const open = text.lastIndexOf('<');
  if (open < 0) return { id: text.trim() || null, name: null };
  const close = text.indexOf('>', open);
  const id = text.slice(open + 1, close < 0 ? undefined : close);
  const name = text.slice(0, open).trim();
  const unquoted = /^"(.*)"$/s.exec(name)?.[1]?.replace(/\\(.)/gs, '$1') ?? name;
  return { id: id.trim() || null, name: unquoted.trim() || null };
}

const BRACKETED = /<([^<>]*)>/g;
const BARE = /(?:mailto|https?):[^\s,<>]+/gi;

/** RFC 2369 §2: URIs in angle brackets, white space in them ignored; the rest is comment. Senders forget the brackets. */
function urisOf(fields: readonly string[]): string[] {
  const uris = fields.flatMap((text) => {
    const bracketed = [...text.matchAll(BRACKETED)].map(([, uri = '']) => uri.replaceAll(/\s+/g, ''));
    return bracketed.length > 0 ? bracketed : [...text.matchAll(BARE)].map(([uri]) => uri);
  });
  const usable = uris.filter((uri) => uri !== '' && uri.length <= MAX_URI);
  return [...new Set(usable)].slice(0, MAX_URIS);
}
