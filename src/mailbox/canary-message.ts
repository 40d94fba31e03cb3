/** The canary itself: a small message with an id that nobody can guess, and recognizing it. */
import { createHmac } from 'node:crypto';
import { type Filter, NO_CONDITIONS } from '../filter.ts';

const FIELD = 'X-Mailwatchd-Canary';
/** The id, and the token of one that is sent: 32 hex digits each. */
const MARK = /^(?<id>[0-9a-f]{32})(?:\s+(?<token>[0-9a-f]{32}))?$/;
/** What `list` shows of a canary that came into a watched folder. */
const RULE = 'mailwatchd canary';

/** A server may put fields of its own before ours; bytes of a message that are looked at. */
export const CANARY_BYTES = 16 * 1024;

/** What a canary says of itself. */
export interface Mark {
  id: string;
  /** By which the daemon that sent it knows it wherever it comes; one that is left in its folder needs none. */
  token: string | undefined;
}

/**
 * The token of an account's canaries. Nobody can make it who has seen neither one of them nor the ledger: mail that bears it
 * is left out and removed.
 */
export function canaryToken(key: string, account: string): string {
  return createHmac('sha256', key).update(account).digest('hex').slice(0, 32);
}

/** An account's rules, and one that leaves out the canaries with this token, wherever the mail server files them. */
export function withoutCanaries(filter: Filter | null, token: string): Filter {
  const { only, except } = filter ?? { only: [], except: [] };
  const headers = [{ name: FIELD.toLowerCase(), test: { contains: token } }];
  return { only, except: [...except, { ...NO_CONDITIONS, name: RULE, headers }] };
}

/** RFC 5322. `Auto-Submitted` (RFC 3834) keeps others from answering. */
export function canaryMessage(
  id: string,
  { from, to, token }: { from: string; to: string; token?: string },
  at: number,
): string {
  return [
    `From: mailwatchd <${from}>`,
    `To: <${to}>`,
    'Subject: mailwatchd canary',
    // RFC 5322 §3.3 wants a numeric zone.
    `Date: ${new Date(at).toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${id}@canary.mailwatchd.invalid>`,
    'Auto-Submitted: auto-generated',
    `${FIELD}: ${token === undefined ? id : `${id} ${token}`}`,
    '',
    'mailwatchd made this message to see whether it is told of new mail, and removes it within moments.',
    '',
  ].join('\r\n');
}

/** The mark in a message's header; null where it is no canary. */
export function markOf(start: Buffer): Mark | null {
  const [header = ''] = start.toString('latin1').split(/\r?\n\r?\n/, 1);
  // RFC 5322 §2.2.3: a server may have folded the line.
  for (const line of header.split(/\r?\n(?![ \t])/)) {
    const colon = line.indexOf(':');
    if (line.slice(0, colon).toLowerCase() !== FIELD.toLowerCase()) continue;
    const { id, token } = MARK.exec(line.slice(colon + 1).trim())?.groups ?? {};
    return id === undefined ? null : { id, token };
  }
  return null;
}
