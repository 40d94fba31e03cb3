/** The message document, version 1 (schema/message-v1.json), and its making from a message's bytes. */
import { hash } from 'node:crypto';
import type { Extensions, MessageIdentity } from '../model.ts';
import { type Address, firstSender, readAddresses } from './addresses.ts';
import { attachmentFile } from './attachments.ts';
import { type Authentication, readAuthentication } from './authentication.ts';
import { type Calendar, readCalendar } from './calendar.ts';
import { readDate } from './date.ts';
import { decodedText, type Field, fieldText } from './headers.ts';
import { keywordsOf } from './keywords.ts';
import { type MailingList, readList } from './list.ts';
import { fileNameOf, firstField } from './media.ts';
import { repairBytes } from './repair.ts';
import { replyText } from './reply.ts';
import { type Automatic, readAutomatic } from './report.ts';
import { type Part, readStructure } from './structure.ts';
import { isInlineText, readText, textOf } from './text.ts';
import { decodeTransfer } from './transfer.ts';
import type { Warn, WarningCode } from './warnings.ts';

export interface Attachment {
  filename: string | null;
  contentType: string;
  /** Of the decoded content, bytes. */
  size: number;
  sha256: string;
  disposition: string | null;
  contentId: string | null;
  /** Relative to the JSON file; null where attachments are not written. */
  path: string | null;
}

/**
 * Keys stand in the order of the Contract, which is the order in the file; those of `Extensions` after `keywords`, the
 * other optional ones behind them all, or absent.
 */
export interface MessageDocument extends Extensions {
  version: 1;
  id: string;
  account: string | null;
  folder: string | null;
  uid: number | null;
  uidValidity: string | null;
  subject: string | null;
  sender: Address | null;
  body: string;
  html: string | null;
  from: Address[];
  to: Address[];
  cc: Address[];
  bcc: Address[];
  replyTo: Address[];
  messageId: string | null;
  inReplyTo: string[];
  references: string[];
  sentAt: string | null;
  receivedAt: string | null;
  keywords: string[];
  attachments: Attachment[];
  headers: [string, string][];
  size: number;
  sha256: string;
  source: string | null;
  warnings: WarningCode[];
  list?: MailingList;
  automatic?: Automatic;
  authentication?: Authentication;
  calendar?: Calendar;
  replyText?: string;
}

export interface ParseOptions {
  /** Null for `mailwatchd parse`: the id comes from the hash, and what only a mailbox knows is null. */
  identity: MessageIdentity | null;
  /**
   * Called for each attachment in order, with its file name (`1-a.pdf`); returns its path for the
   * document. Content is only valid during the call. Absent: no paths.
   */
  onAttachment?: (file: string, content: Buffer, id: string) => string;
  /** Path of the kept source, for the document. */
  source?: string | null;
  /** Servers whose Authentication-Results are trusted: their authserv-ids, in lower case. */
  authservIds?: readonly string[];
}

/** More recipients than people write to at once. */
const MANY_RECIPIENTS = 1000;

/** Addresses of one kind that are given. Each costs some hundred bytes of memory, and a header can hold millions. */
const MAX_ADDRESSES = 100_000;

/** Hex digits of the hash that are the id of a message without a mailbox. */
const ID_DIGITS = 16;

/** Makes the document. Deterministic: the same bytes and identity give the same document, on every machine. */
export function parseMessage(message: Buffer, options: ParseOptions): MessageDocument {
  const warnings = new Set<WarningCode>();
  const warn: Warn = (code) => warnings.add(code);
  const sha256 = hashOf(message);
  const id = options.identity?.id ?? sha256.slice(0, ID_DIGITS);

  const { bytes, start } = repairBytes(message, warn);
  const { root, leaves } = readStructure(bytes, start, warn);
  const hints = charsetHints(root, leaves);
  const attachments: Attachment[] = [];
  const inline: { type: string; text: string }[] = [];
  for (const part of leaves) {
    const content = decodeTransfer(part.body, part.encoding, warn);
    if (isInlineText(part)) {
      inline.push({ type: part.type, text: textOf(part, content, hints, warn) });
      continue;
    }
    const attachment = describeAttachment(part, content, hints, warn);
    attachments.push(attachment);
    if (!options.onAttachment) continue;
    const file = attachmentFile(attachments.length, attachment.filename, attachment.contentType, warn);
    attachment.path = options.onAttachment(file, content, id);
  }
  const { body, html } = readText(inline, warn);

  const header = headerReader(root.fields, hints, warn);
  const from = header.addresses('from');
  const to = header.addresses('to');
  const cc = header.addresses('cc');
  const bcc = header.addresses('bcc');
  if (to.length + cc.length + bcc.length > MANY_RECIPIENTS) warn('many-recipients');
  if (from.some(({ address }) => address === null)) warn('address-invalid');
  const list = readList(header.values);
  const automatic = readAutomatic(header.values, leaves, hints, warn);
  const calendar = readCalendar(leaves, hints, warn);
  const authentication = readAuthentication(root.fields, options.authservIds ?? [], warn);
  const { identity } = options;
  const document: MessageDocument = {
    version: 1,
    id,
    account: identity?.account ?? null,
    folder: identity?.folder ?? null,
    uid: identity?.uid ?? null,
    uidValidity: identity?.uidValidity ?? null,
    subject: header.text('subject'),
    sender: firstSender(from) ?? firstSender(header.addresses('sender')),
    body,
    html,
    from,
    to,
    cc,
    bcc,
    replyTo: header.addresses('reply-to'),
    messageId: header.messageIds('message-id')[0] ?? null,
    inReplyTo: header.messageIds('in-reply-to'),
    references: header.messageIds('references'),
    sentAt: header.date(),
    receivedAt:
      identity === null ? null : new Date(identity.internalDate).toISOString().replace(/\.\d+Z$/, 'Z'),
    keywords: identity === null ? [] : keywordsOf(identity.flags),
    ...identity?.extensions,
    attachments,
    headers: header.all,
    size: message.length,
    sha256,
    source: options.source ?? null,
    warnings: [],
  };
  document.warnings = [...warnings].toSorted();
  if (list) document.list = list;
  if (automatic) document.automatic = automatic;
  if (authentication) document.authentication = authentication;
  if (calendar) document.calendar = calendar;
  if (document.inReplyTo.length > 0 || document.references.length > 0) {
    const reply = replyText(body);
    if (reply !== null) document.replyText = reply;
  }
  return document;
}

const hashOf = (bytes: Buffer) => hash('sha256', bytes);

function describeAttachment(part: Part, content: Buffer, hints: readonly string[], warn: Warn): Attachment {
  const filename = fileNameOf(part.fields, hints, warn);
  if (part.type === 'message/rfc822' || part.type === 'message/delivery-status') warn('message-attached');
  if (part.type === 'application/octet-stream' && /\.[a-z0-9]{2,5}$/i.test(filename ?? ''))
    warn('type-generic');
  const contentId = firstField(part.fields, 'content-id');
  return {
    filename,
    contentType: part.type,
    size: content.length,
    sha256: hashOf(content),
    disposition: part.disposition,
    contentId: contentId ? (idsIn(fieldText(contentId, hints, warn))[0] ?? null) : null,
    path: null,
  };
}

/** Fields that may occur once (RFC 5322 §3.6), but for From, which has a warning of its own. */
const ONCE = new Set([
  'date',
  'sender',
  'reply-to',
  'to',
  'cc',
  'bcc',
  'message-id',
  'in-reply-to',
  'references',
  'subject',
  'content-type',
  'content-transfer-encoding',
  'content-disposition',
  'content-id',
  'mime-version',
]);

/** Lists that are read to their end: a sender that repeats the field means the lists joined. */
const JOINED = new Set(['to', 'cc', 'bcc', 'references', 'in-reply-to']);

const NONE: readonly string[] = [];

function headerReader(fields: readonly Field[], hints: readonly string[], warn: Warn) {
  const all: [name: string, readable: string][] = [];
  const byKey = new Map<string, { text: string; readable: string }[]>();
  for (const field of fields) {
    const { name, key } = field;
    const text = fieldText(field, hints, warn);
    const readable = decodedText(text, hints, warn);
    all.push([name, readable]);
    const same = byKey.get(key);
    if (!same) byKey.set(key, [{ text, readable }]);
    else {
      same.push({ text, readable });
      if (key === 'from') warn('from-duplicate');
      else if (ONCE.has(key)) warn('header-duplicate');
    }
  }
  const counting = (key: string) => {
    const same = byKey.get(key) ?? [];
    return JOINED.has(key) ? same : same.slice(0, 1);
  };
  return {
    all,
    values: (key: string): readonly string[] => byKey.get(key)?.map(({ readable }) => readable) ?? NONE,
    text: (key: string): string | null => counting(key)[0]?.readable ?? null,
    addresses: (key: string): Address[] => {
      const addresses: Address[] = [];
      for (const { text } of counting(key)) {
        for (const address of readAddresses(text, hints, warn)) addresses.push(address);
        if (addresses.length <= MAX_ADDRESSES) continue;
        warn('header-cut');
        return addresses.slice(0, MAX_ADDRESSES);
      }
      return addresses;
    },
    messageIds: (key: string): string[] => counting(key).flatMap(({ readable }) => idsIn(readable)),
    date: (): string | null => {
      const [field] = counting('date');
      if (field) return readDate(field.text, warn);
      warn('date-missing');
      return null;
    },
  };
}

/** msg-ids (RFC 5322 §3.6.4) without their angle brackets; where there are none, what looks like one. */
function idsIn(text: string): string[] {
  const bracketed = [...text.matchAll(/<([^<>]+)>/g)].map((match) => (match[1] ?? '').trim());
  if (bracketed.length > 0) return bracketed.filter((id) => id !== '');
  const bare = text.replaceAll(/[<>]/g, ' ').trim();
  if (bare === '') return [];
  const words = bare.split(/\s+/);
  return words.length > 1 && words.some((word) => word.includes('@'))
    ? words.filter((word) => word.includes('@'))
    : [bare];
}

/** Bytes of a field that are searched for the character sets of its encoded words. */
const HINT_BYTES = 1000;

/** Character sets that the message names somewhere: what text without a right one is likely in. */
function charsetHints(root: Part, leaves: readonly Part[]): string[] {
  const hints = new Set<string>();
  for (const { charset } of leaves) if (charset) hints.add(charset.toLowerCase());
  for (const key of ['subject', 'from', 'to']) {
    const raw = firstField(root.fields, key)?.raw.toString('latin1', 0, HINT_BYTES) ?? '';
    for (const match of raw.matchAll(/=\?([\w-]{3,30})[*?]/g)) hints.add((match[1] ?? '').toLowerCase());
  }
  return [...hints].slice(0, MAX_HINTS);
}

/** Each is one attempt at decoding. */
const MAX_HINTS = 5;
