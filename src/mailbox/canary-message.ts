/** The canary itself: a small message with an id that nobody can guess, and recognizing it. */

const FIELD = 'X-Mailwatchd-Canary';
/** Hex digits. */
const ID = /^[0-9a-f]{32}$/;

/** A server may put fields of its own before ours; bytes of a message that are looked at. */
export const CANARY_BYTES = 16 * 1024;

/** RFC 5322. `Auto-Submitted` (RFC 3834) keeps others from answering. */
export function canaryMessage(id: string, { from, to }: { from: string; to: string }, at: number): string {
  return [
    `From: mailwatchd <${from}>`,
    `To: <${to}>`,
    'Subject: mailwatchd canary',
    // RFC 5322 §3.3 wants a numeric zone.
    `Date: ${new Date(at).toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${id}@canary.mailwatchd.invalid>`,
    'Auto-Submitted: auto-generated',
    `${FIELD}: ${id}`,
    '',
    'mailwatchd made this message to see whether it is told of new mail, and removes it within moments.',
    '',
  ].join('\r\n');
}

/** The id in a message's header; null where it is no canary. */
export function canaryIdOf(start: Buffer): string | null {
  const [header = ''] = start.toString('latin1').split(/\r?\n\r?\n/, 1);
  for (const line of header.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (line.slice(0, colon).toLowerCase() !== FIELD.toLowerCase()) continue;
    const id = line.slice(colon + 1).trim();
    return ID.test(id) ? id : null;
  }
  return null;
}
