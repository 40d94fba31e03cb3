/** Makes text of a server or a message fit for a terminal, a log line or a table cell. */

/**
 * Everything that moves a cursor, breaks a line or reorders what is read: C0 and C1 controls (terminal
 * escapes among them), line and paragraph separators, bidirectional controls, invisible format characters.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Longest piece of foreign text on one line, in UTF-16 units: enough for a subject or a server's answer. */
const MAX_LENGTH = 300;

/** `text` on one line without anything a terminal acts on; control characters become `\xNN` or `\uNNNN`. */
export function printable(text: string, maxLength = MAX_LENGTH): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return cut.toWellFormed().replace(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}
