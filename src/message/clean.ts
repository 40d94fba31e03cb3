/** Text as the document promises it: well-formed Unicode without NUL. */
import type { Warn } from './warnings.ts';

/** Lone surrogates become U+FFFD, NUL goes; a warning each. */
export function cleanText(text: string, warn: Warn): string {
  let clean = text;
  if (clean.includes('\0')) {
    clean = clean.replaceAll('\0', '');
    warn('nul-removed');
  }
  if (!clean.isWellFormed()) {
    clean = clean.toWellFormed();
    warn('surrogate-replaced');
  }
  return clean;
}
