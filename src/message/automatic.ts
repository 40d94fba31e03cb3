/** Mail that no person wrote to us just now: which kind it is, from its header alone. */
import { type FieldValues, isListMail, precedenceOf } from './list.ts';

/**
 * `bounce`: a delivery status notification (RFC 3464), of whatever action, or a notice of the sort in free text.
 * `disposition-notification`: a read receipt (RFC 8098). `auto-reply`: an answer, like a vacation notice.
 * `auto-generated`: any other that RFC 3834 calls automatic. `list`, `bulk`: sent to many.
 */
export type AutomaticKind =
  | 'bounce'
  | 'disposition-notification'
  | 'auto-reply'
  | 'auto-generated'
  | 'list'
  | 'bulk';

/** Characters of a field that a kind is decided by. */
const MAX_DECIDING = 4096;

/** RFC 5321 §4.5.5: notifications have no reverse path. Some deliver it as MAILER-DAEMON. */
const NULL_PATH = /^\s*<\s*(?:mailer-daemon(?:@[^>]*)?)?\s*>/i;

/** The address of From, with or without brackets. */
const DAEMON = /(?:^|<)"?mailer-daemon"?\s*(?:[@>(]|$)/i;
const POSTMASTER = /(?:^|<)"?postmaster"?\s*(?:[@>(]|$)/i;

/** Which kind of automatic mail a message is; null for one that a person wrote to a person, as far as it tells. */
export function automaticKind(values: FieldValues): AutomaticKind | null {
  const first = (key: string) => values(key)[0]?.slice(0, MAX_DECIDING).trim() ?? '';
  const present = (key: string) => values(key).length > 0;

  const contentType = first('content-type');
  const isReport = /^multipart\/report\b/i.test(contentType);
  if (isReport) {
    const reportType = /;\s*report-type\s*=\s*"?([\w-]+)/i.exec(contentType)?.[1]?.toLowerCase();
    if (reportType === 'delivery-status') return 'bounce';
    if (reportType === 'disposition-notification') return 'disposition-notification';
  }
  const returnPath = first('return-path');
  const nullPath = returnPath !== '' && NULL_PATH.test(returnPath);
  // Exim's and Gmail's field. Not every bounce is a report: qmail's are text.
  if (present('x-failed-recipients')) return 'bounce';
  if ((nullPath || returnPath === '') && DAEMON.test(first('from'))) return 'bounce';
  const submitted = /^[a-z-]+/.exec(first('auto-submitted').toLowerCase())?.[0] ?? 'no';
  // RFC 3834 §5: auto-replied. Vacation notices have an empty path too, so it decides nothing before.
  if (submitted !== 'auto-replied' && nullPath && POSTMASTER.test(first('from'))) return 'bounce';
  if (submitted === 'auto-replied' || isAutoReply(values)) return 'auto-reply';
  // RFC 3834 §5: whatever is not `no`. Reports of other types are made by programs too (RFC 6522).
  if (submitted !== 'no' || isReport) return 'auto-generated';
  if (isListMail(values)) return 'list';
  const precedence = precedenceOf(values);
  if (precedence === 'bulk' || precedence === 'junk') return 'bulk';
  return nullPath ? 'auto-generated' : null;
}

/**
 * Responders that do not say `auto-replied`. X-Auto-Response-Suppress alone tells nothing: people's mail has it as
 * well, and it asks for no answer rather than being one.
 */
function isAutoReply(values: FieldValues): boolean {
  if (/^auto[-_]?reply$/.test(precedenceOf(values))) return true;
  if (AUTO_REPLY_FIELDS.some((key) => values(key).some((value) => !/^\s*no\s*$/i.test(value)))) return true;
  // Exchange says `auto-generated`, and before 2013 nothing but what a redirected message has too, without the first.
  if (values('x-ms-exchange-generated-message-source').some((agent) => /^mailbox rules agent\b/i.test(agent)))
    return true;
  return values('x-auto-response-suppress').length > 0 && values('x-ms-exchange-inbox-rules-loop').length > 0;
}

const AUTO_REPLY_FIELDS = [
  'x-autoreply',
  'x-autorespond',
  'x-auto-reply',
  'x-autoreply-from',
  'x-mail-autoreply',
];
