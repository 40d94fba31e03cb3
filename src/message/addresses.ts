/** Address fields (RFC 5322 §3.4) → names and addresses, and what in them looks forged. */
import { isAscii } from 'node:buffer';
import { cleanText } from './clean.ts';
import { decodedText, type Field, fieldText } from './headers.ts';
import { parseAddressList } from './mailparser.ts';
import type { Warn } from './warnings.ts';
import { canonicalWords } from './words.ts';

export interface Address {
  name: string | null;
  address: string | null;
}

/** The addresses of one field. Entries without an address keep their name; those without both are dropped. */
export function readAddresses(field: Field, hints: readonly string[], warn: Warn): Address[] {
  const text = fieldText(field, hints, warn);
  if (hasComment(text)) warn('address-comment');
  const entries = parseAddressList(canonicalWords(text, hints, warn));
  const addresses: Address[] = [];
  for (const entry of entries) {
    // The parser decodes words by itself, also where none may stand.
    const name = cleanText(decodedText(collapse(entry.name), hints, warn), warn);
    const address = cleanText(entry.address, warn).trim();
    if (name === '' && address === '') continue;
    if (address.startsWith('"')) warn('address-quoted-local');
    if (!isAscii(Buffer.from(address))) warn('address-non-ascii');
    if (address !== '' && hasBareComma(text, name)) warn('address-comma');
    addresses.push({ name: name === '' ? null : name, address: address === '' ? null : address });
  }
  return addresses;
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
