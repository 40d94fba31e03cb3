/** Makes text of a server or a message fit for a terminal, a log line or a table cell. */

/** Longest piece of foreign text on one line, in UTF-16 units: enough for a subject or a server's answer. */
const MAX_LENGTH = 300;

/** Longest sentence of ours with pieces of foreign text in it: what, where, a certificate's fingerprint, what to do. */
const MAX_SENTENCE_LENGTH = 1000;

/**
 * Everything that moves a cursor, breaks a line or reorders what is read: controls (terminal escapes
 * among them), format characters (bidirectional and invisible ones), line and paragraph separators, and
 * lone surrogates.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Each UTF-16 unit of an unprintable character becomes what `replace` makes of its four hex digits. */
export function escapeUnprintable(text: string, replace: (hex: string) => string): string {
  return text.replace(UNPRINTABLE, (character) =>
    character
      .split('')
      .map((unit) => replace(unit.charCodeAt(0).toString(16).padStart(4, '0')))
      .join(''),
  );
}

const SHORT: Readonly<Record<string, string>> = { '000a': '\\n', '000d': '\\r', '0009': '\\t' };

/** `text` on one line without anything a terminal acts on: such characters become `\n`, `\r`, `\t` or `\uXXXX`. */
export function printable(text: string, maxLength = MAX_LENGTH): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return escapeUnprintable(cut, (hex) => SHORT[hex] ?? `\\u${hex}`);
}

/** As `printable`, for an error's whole message: what to do stands at its end, and is not cut off. */
export function printableSentence(text: string): string {
  return printable(text, MAX_SENTENCE_LENGTH);
}

/** `printable`, with every secret taken out, for what a server said. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const clean = secrets
    .filter((secret) => secret !== '')
    // A server that repeats a command or a request has it in a quoted string (RFC 3501 §4.3, RFC 8259 §7).
    .flatMap((secret) => [secret, secret.replace(/["\\]/g, '\\$&')])
    .reduce((result, secret) => result.replaceAll(secret, '[secret]'), text);
  // Servers end sentences; ours go on with a colon.
  return printable(clean.trim().replace(/\.$/, ''));
}
