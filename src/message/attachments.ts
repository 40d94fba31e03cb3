/** File names of attachments: ours by counter, theirs only as far as no file system or reader is misled. */
import type { Warn } from './warnings.ts';

/** Bytes of a file name, UTF-8; most file systems allow 255, and consumers add their own suffixes. */
const MAX_BYTES = 120;

/** Bytes of an extension that survives shortening. */
const MAX_EXTENSION = 16;

/**
 * Controls, bidirectional and zero-width characters (they hide what a name ends in), and what
 * Windows reserves. Not the joiners, which Persian and emoji need.
 */
const UNSAFE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0/\\:*?"<>|]/gu;

/** What an attachment is called whose sender gave no usable name. */
const NAMELESS = new Map([
  ['message/rfc822', 'message.eml'],
  ['message/delivery-status', 'delivery-status.txt'],
  ['application/pkcs7-signature', 'smime.p7s'],
  ['application/pgp-signature', 'signature.asc'],
]);

/** Nothing but documents ends so. */
const DOCUMENT = '.JSON';
const HARMLESS = '.attachment';

/** `<number>-<name>`; the number makes it unique where upper and lower case, or Unicode forms, are one. */
export function attachmentFile(number: number, name: string | null, type: string, warn: Warn): string {
  const given = name ?? '';
  const safe = sanitise(given);
  const base = safe === '' ? (NAMELESS.get(type) ?? 'attachment') : safe;
  const prefix = `${number}-`;
  const file = shorten(base, MAX_BYTES - prefix.length);
  const forged = endsAsDocument(file);
  if (forged || given.search(UNSAFE) >= 0) warn('filename-unsafe');
  if (!forged) return prefix + file;
  return prefix + shorten(base, MAX_BYTES - prefix.length - HARMLESS.length) + HARMLESS;
}

/** NFKC and upper case: file systems that fold names see `.jſon`, `.Json` and full-width letters so. */
const endsAsDocument = (name: string) => name.normalize('NFKC').toUpperCase().endsWith(DOCUMENT);

function sanitise(name: string): string {
  return trimEnds(name.slice(0, 1000).toWellFormed().normalize('NFC').replace(UNSAFE, '_'));
}

/** Windows drops dots and spaces at the end; a name of dots alone names a directory. */
function trimEnds(name: string): string {
  const clean = name
    .replace(/\s+/g, ' ')
    .replace(/[. ]{1,1000}$/, '')
    .trimStart();
  return /[^._ ]/.test(clean) ? clean : '';
}

/** Whole characters, the extension kept where it is short. */
function shorten(name: string, bytes: number): string {
  if (Buffer.byteLength(name) <= bytes) return name;
  const dot = name.lastIndexOf('.');
  const extension = dot > 0 && Buffer.byteLength(name.slice(dot)) <= MAX_EXTENSION ? name.slice(dot) : '';
  let room = bytes - Buffer.byteLength(extension);
  let kept = '';
  for (const char of name.slice(0, extension === '' ? undefined : dot)) {
    room -= Buffer.byteLength(char);
    if (room < 0) break;
    kept += char;
  }
  return `${trimEnds(kept)}${extension}`;
}
