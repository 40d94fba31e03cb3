/** IMAP flags → JMAP keywords (RFC 8621 §4.1.1). */

/** `\Recent` is not exposed, and `\Deleted` is no keyword in JMAP. */
const NOT_EXPOSED = new Set(['\\recent', '\\deleted', '\\*']);

/** Lower case, `$` for a system flag's backslash; what JMAP's grammar does not allow is left out. */
export function keywordsOf(flags: readonly string[]): string[] {
  const keywords = flags
    .map((flag) => flag.toLowerCase())
    .filter((flag) => !NOT_EXPOSED.has(flag))
    .map((flag) => flag.replace(/^\\/, '$'))
    .filter((flag) => /^[!#$&'+-[\]^-z|}~]{1,255}$/.test(flag));
  return [...new Set(keywords)];
}
