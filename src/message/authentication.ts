/** What the receiving server found out about the sender: its Authentication-Results (RFC 8601), and nobody else's. */
import { type Field, fieldText } from './headers.ts';
import type { Warn } from './warnings.ts';

/** One verdict. */
export interface Verdict {
  /** `pass`, `fail`, `none`, `softfail`, `neutral`, `temperror`, `permerror`, …; lower case (RFC 8601 §2.7). */
  result: string;
  reason: string | null;
  /** What was looked at, as `header.d` and `smtp.mailfrom`; names in lower case. */
  properties: Record<string, string>;
}

/** Null, or empty, where the server gave no verdict of that method. */
export interface Authentication {
  /** Of the server whose verdicts these are, as it wrote it. */
  authservId: string;
  /** Of the envelope's sender where the server looked at HELO as well. */
  spf: Verdict | null;
  /** One a signature. */
  dkim: Verdict[];
  dmarc: Verdict | null;
  arc: Verdict | null;
}

/** Characters of a field that are read; a verdict takes about a hundred. */
const MAX_RESULTS = 64 * 1024;

/** Verdicts of a method, and properties of a verdict, that are given. */
const MAX_VERDICTS = 100;
const MAX_PROPERTIES = 20;

/**
 * Reads the topmost fields of one of the servers `trusted` (authserv-ids in lower case); null where there is none.
 * Senders can write such fields too, and the server should have removed them (RFC 8601 §5). Should one be left, it
 * stands below the server's own: what follows a Received is not read, and of each method the topmost field counts.
 */
export function readAuthentication(
  fields: readonly Field[],
  trusted: readonly string[],
  warn: Warn,
): Authentication | null {
  if (trusted.length === 0) return null;
  let authservId: string | null = null;
  const verdicts = new Map<string, Verdict[]>();
  for (const field of fields) {
    if (field.key === 'received' && authservId !== null) break;
    if (field.key !== 'authentication-results') continue;
    // Encoded words stay: decoded, a sender's address could bring a verdict with it.
    const [server, ...results] = readItems(fieldText(field, [], warn).slice(0, MAX_RESULTS).toWellFormed());
    const id = serverOf(server);
    if (id === null || !trusted.includes(id.toLowerCase())) continue;
    authservId ??= id;
    for (const [method, found] of Map.groupBy(results, methodOf)) {
      if (verdicts.has(method)) continue;
      verdicts.set(method, found.slice(0, MAX_VERDICTS).flatMap(readVerdict));
    }
  }
  if (authservId === null) return null;
  const all = (method: string) => verdicts.get(method) ?? [];
  return {
    authservId,
    spf: all('spf').find(({ properties }) => 'smtp.mailfrom' in properties) ?? all('spf')[0] ?? null,
    dkim: all('dkim'),
    dmarc: all('dmarc')[0] ?? null,
    arc: all('arc')[0] ?? null,
  };
}

/** `key`, or `key=value`; comments and quotes are taken off. */
interface Item {
  key: string;
  value: string | null;
}

/** The authserv-id; null where the field has none, or is of a version that nobody knows (RFC 8601 §2.2). */
function serverOf(items: readonly Item[] = []): string | null {
  const [id, version] = items;
  if (!id || id.value !== null || id.key === '') return null;
  return version === undefined || (version.value === null && /^0*1$/.test(version.key)) ? id.key : null;
}

/** `dkim/1` is `dkim` (RFC 8601 §2.2). */
const methodOf = ([first]: readonly Item[]): string => first?.key.toLowerCase().replace(/\/.*$/s, '') ?? '';

function readVerdict([first, ...rest]: readonly Item[]): Verdict[] {
  const result = first?.value?.toLowerCase() ?? '';
  if (!/^[a-z][a-z0-9-]{0,50}$/.test(result)) return [];
  const properties = new Map<string, string>();
  for (const { key, value } of rest) {
    const name = key.toLowerCase();
    if (value === null || properties.has(name) || properties.size === MAX_PROPERTIES) continue;
    // RFC 8601 §2.2: `ptype.property`. Others, as Exchange's `action=none`, are no properties.
    if (/^[a-z][a-z0-9-]*\.[a-z0-9_-]+$/.test(name)) properties.set(name, value);
  }
  const reason = rest.find(({ key }) => key.toLowerCase() === 'reason')?.value ?? null;
  return [{ result, reason, properties: Object.fromEntries(properties) }];
}

/** The items between semicolons, in one pass (RFC 8601 §2.2, RFC 5322 §3.2.2: comments nest). */
function readItems(text: string): Item[][] {
  const parts: Item[][] = [];
  let part: Item[] = [];
  let item: Item = { key: '', value: null };
  /** White space or a comment stands behind the item: it ends, unless `=`, `.` or `/` goes on with it. */
  let ended = false;
  const endItem = () => {
    if (item.key !== '') part.push(item);
    item = { key: '', value: null };
    ended = false;
  };
  const add = (char: string) => {
    if (ended) endItem();
    if (item.value === null) item.key += char;
    else item.value += char;
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] as string;
    if (char === '(') {
      at = endOfComment(text, at);
      ended = isWhole(item);
    } else if (char === ' ' || char === '\t') ended = ended || isWhole(item);
    else if (char === ';') {
      endItem();
      parts.push(part);
      part = [];
    } else if (char === '=' && item.value === null) {
      item.value = '';
      ended = false;
    } else if (char === '"') {
      for (at += 1; at < text.length && text[at] !== '"'; at += 1) {
        if (text[at] === '\\') at += 1;
        add(text[at] ?? '');
      }
    } else {
      if ((char === '.' || char === '/') && item.value === null) ended = false;
      add(char);
    }
  }
  endItem();
  parts.push(part);
  return parts;
}

/** Whether white space may end it: not before its value, nor behind the `.` or `/` inside of its key. */
const isWhole = ({ key, value }: Item): boolean => (value === null ? /[^./]$/.test(key) : value !== '');

/** The place of the parenthesis that closes the one at `start`; the end where none does. */
function endOfComment(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const char = text[at];
    if (char === '\\') at += 1;
    else if (char === '(') depth += 1;
    else if (char === ')') {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return text.length;
}
