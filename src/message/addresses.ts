/** Address fields (RFC 5322 §3.4) → names and addresses, and what in them looks forged. */
import { cleanText } from './clean.ts';
import { decodedText } from './headers.ts';
import { type ParsedAddress, parseAddressList } from './mailparser.ts';
import type { Warn } from './warnings.ts';
import { canonicalWords, decodeWords } from './words.ts';

export interface Address {
  name: string | null;
  address: string | null;
}

/** The addresses of one field's text. Entries without an address keep their name; those without both are dropped. */
export function readAddresses(text: string, hints: readonly string[], warn: Warn): Address[] {
  if (hasComment(text)) warn('address-comment');
  const entries = readPlain(text, hints, warn) ?? parseAddressList(canonicalWords(text, hints, warn));
  const addresses: Address[] = [];
  for (const entry of entries) {
    // The parser decodes words by itself, also where none may stand.
    const name = cleanText(decodedText(collapse(entry.name), hints, warn), warn);
    const address = cleanText(entry.address, warn).trim();
    if (name === '' && address === '') continue;
    if (address.startsWith('"')) warn('address-quoted-local');
    if (/[\u0080-\uffff]/.test(address)) warn('address-non-ascii');
    if (address !== '' && hasBareComma(text, name)) warn('address-comma');
    addresses.push({ name: name === '' ? null : name, address: address === '' ? null : address });
  }
  return addresses;
}

/** What every parser reads the same way: no specials, and no encoded word but in a name of nothing else. */
const PLAIN_ADDRESS = /^[\w!#$%&'*+/=^`{|}~.-]+@[\w.-]+$/;
const PLAIN_NAME = /^[\w !#$%&'*+/^`{|}~.-]*$/;
const QUOTED_NAME = /^"[ !#-<>-[\]-~]*"$/;
const ENCODED_NAME = /^(?:=\?[\w-]+\?[bq]\?[!->@-~]*\?= *)+$/i;

/**
 * The entries of a field that holds only `address`, `<address>` and `name <address>`, all plain; null for
 * any other, which takes the whole grammar. That is nearly every field, in a tenth of the time.
 */
function readPlain(text: string, hints: readonly string[], warn: Warn): ParsedAddress[] | null {
  const entries: ParsedAddress[] = [];
  for (let at = 0; at < text.length; ) {
    while (text[at] === ' ') at += 1;
    const nameEnd = text[at] === '"' ? text.indexOf('"', at + 1) : at;
    const comma = nameEnd < 0 ? -1 : text.indexOf(',', nameEnd);
    const end = comma < 0 ? text.length : comma;
    const entry = text.slice(at, end).trimEnd();
    at = end + 1;
    if (entry === '') continue;
    const bracket = entry.endsWith('>') ? entry.lastIndexOf('<') : -1;
    const address = bracket < 0 ? entry : entry.slice(bracket + 1, -1);
    if (!PLAIN_ADDRESS.test(address)) return null;
    const name = bracket <= 0 ? '' : plainName(entry.slice(0, bracket).trimEnd(), hints, warn);
    if (name === null) return null;
    entries.push({ name: name === address ? '' : name, address });
  }
  return entries;
}

function plainName(name: string, hints: readonly string[], warn: Warn): string | null {
  if (PLAIN_NAME.test(name)) return name;
  if (QUOTED_NAME.test(name)) return name.slice(1, -1).trim();
  return ENCODED_NAME.test(name) ? decodeWords(name, hints, warn) : null;
}

/** The first one that has an address; one with a domain before one without. */
export function firstSender(addresses: Address[]): Address | null {
  return (
    addresses.find(({ address }) => address?.includes('@')) ??
    addresses.find(({ address }) => address !== null) ??
    null
  );
}

const collapse = (text: string) => text.replace(/[\r\n\t ]+/g, ' ').trim();

/** A parenthesis outside of quoted strings. */
function hasComment(text: string): boolean {
  if (!text.includes('(')) return false;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '\\') at += 1;
    else if (char === '"') quoted = !quoted;
    else if (char === '(' && !quoted) return true;
  }
  return false;
}

/** The parser folded `Doe, John <j@example.org>` back together: its name stands in the text with the comma, unquoted. */
function hasBareComma(text: string, name: string): boolean {
  if (!name.includes(',')) return false;
  const at = text.indexOf(name);
  return at >= 0 && text[at - 1] !== '"' && text[at - 1] !== "'";
}
