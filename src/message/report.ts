/** What a report tells, in its part for programs: of each recipient (RFC 3464), or of what was done with a message (RFC 8098). */
import { type AutomaticKind, automaticKind } from './automatic.ts';
import { type Field, fieldText, readHeader } from './headers.ts';
import type { FieldValues } from './list.ts';
import { firstField } from './media.ts';
import type { Part } from './structure.ts';
import { decodeTransfer } from './transfer.ts';
import type { Warn } from './warnings.ts';

/** What became of one recipient (RFC 3464 §2.3). Null where the report does not say. */
export interface Recipient {
  finalRecipient: string | null;
  originalRecipient: string | null;
  /** `failed`, `delayed`, `delivered`, `relayed` or `expanded`; lower case. */
  action: string | null;
  /** RFC 3463: `5.1.1`. */
  status: string | null;
  diagnosticCode: string | null;
  remoteMta: string | null;
}

/** What was done with a message (RFC 8098 §3). Null where the notification does not say. */
export interface Disposition {
  finalRecipient: string | null;
  originalRecipient: string | null;
  /** Of the message that it is about, without angle brackets. */
  originalMessageId: string | null;
  /** `displayed`, `deleted`, `dispatched` or `processed`; lower case. */
  type: string | null;
  /** Of action and sending, as `manual-action/mdn-sent-manually`; lower case. */
  mode: string | null;
}

/** That a message is automatic, and what it reports. */
export interface Automatic {
  kind: AutomaticKind;
  /** Of a bounce. Empty where it tells only people, as qmail's. */
  recipients?: Recipient[];
  /** Of a disposition notification; null where it tells only people. */
  disposition?: Disposition | null;
}

/** Bytes of a message's report that are read; one on 1,000 recipients takes about half of them. */
const MAX_REPORT_BYTES = 1024 * 1024;

/** Recipients of a report that are given. */
const MAX_REPORTED = 1000;

/** Characters of a value that are given. Exchange's diagnostics take some hundred. */
const MAX_VALUE = 4096;

const DELIVERY_STATUS = /^message\/(?:global-)?delivery-status$/;
const DISPOSITION_NOTIFICATION = /^message\/(?:global-)?disposition-notification$/;

/** Reads `automatic` of the document; null where nothing says that the message is automatic. */
export function readAutomatic(
  values: FieldValues,
  parts: readonly Part[],
  hints: readonly string[],
  warn: Warn,
): Automatic | null {
  const kind = automaticKind(values);
  if (kind === null) return null;
  const read = (type: RegExp) => readGroups(parts, type, hints, warn);
  if (kind === 'bounce') {
    const recipients = recipientsOf(read(DELIVERY_STATUS), warn);
    return { kind, recipients: recipients.length > 0 ? recipients : failedRecipients(values, warn) };
  }
  if (kind === 'disposition-notification') {
    const [group] = read(DISPOSITION_NOTIFICATION);
    return { kind, disposition: group ? dispositionOf(group) : null };
  }
  return { kind };
}

/** A group of a report's fields; null where it has no such field. */
type Group = (key: string) => string | null;

/**
 * The groups of fields, with blank lines between them (RFC 3464 §2.1), of the parts of a type: some send what is for
 * people under that type as well.
 */
function* readGroups(
  parts: readonly Part[],
  type: RegExp,
  hints: readonly string[],
  warn: Warn,
): Generator<Group> {
  let left = MAX_REPORT_BYTES;
  for (const { body, encoding } of parts.filter((part) => type.test(part.type))) {
    if (body.length > left) warn('report-cut');
    // What is wrong with the part's bytes is told where it becomes an attachment.
    const content = decodeTransfer(body.subarray(0, left), encoding, () => undefined);
    left -= Math.min(left, body.length);
    for (let at = 0; at < content.length; ) {
      const { fields, end } = readHeader(
        content,
        at,
        () => false,
        () => undefined,
      );
      if (fields.length > 0) yield (key) => fieldValue(fields, key, hints, warn);
      // A line that is no field ends the group before it, and is skipped.
      at = end > at ? end : content.indexOf(LF, at) + 1 || content.length;
    }
  }
}

const LF = 0x0a;

function fieldValue(
  fields: readonly Field[],
  key: string,
  hints: readonly string[],
  warn: Warn,
): string | null {
  const field = firstField(fields, key);
  if (!field) return null;
  const text = fieldText(field, hints, warn);
  if (text.length > MAX_VALUE) warn('report-cut');
  return text.slice(0, MAX_VALUE).toWellFormed().trim() || null;
}

/** RFC 3464 §2.1.2: the value after the type of `rfc822; ann@example.org`, `dns; mx.example.org`, `smtp; 550 …`. */
const untyped = (value: string | null): string | null =>
  value === null ? null : value.replace(/^[\w-]+\s*;/, '').trim() || null;

/** An address, of which some write `<ann@example.org>`. */
const address = (value: string | null): string | null => untyped(value)?.replace(/^<(.*)>$/s, '$1') || null;

function recipientsOf(groups: Iterable<Group>, warn: Warn): Recipient[] {
  const recipients: Recipient[] = [];
  for (const group of groups) {
    const finalRecipient = address(group('final-recipient'));
    const originalRecipient = address(group('original-recipient'));
    if (finalRecipient === null && originalRecipient === null) continue;
    if (recipients.length === MAX_REPORTED) {
      warn('report-cut');
      break;
    }
    recipients.push({
      finalRecipient,
      originalRecipient,
      action: firstWord(group('action')),
      // Some write a comment behind it.
      status: /^\d\.\d{1,3}\.\d{1,3}/.exec(group('status') ?? '')?.[0] ?? null,
      diagnosticCode: untyped(group('diagnostic-code')),
      remoteMta: untyped(group('remote-mta')),
    });
  }
  return recipients;
}

/** Lower case: keywords may be followed by a comment. */
const firstWord = (value: string | null): string | null =>
  /^[a-z-]+/i.exec(value ?? '')?.[0].toLowerCase() ?? null;

/** Exim and Gmail name them in the header too, also where there is no report. */
function failedRecipients(values: FieldValues, warn: Warn): Recipient[] {
  const named = values('x-failed-recipients').flatMap((value) => value.slice(0, MAX_REPORT_BYTES).split(','));
  if (named.length > MAX_REPORTED) warn('report-cut');
  return named
    .map((one) => one.trim().slice(0, MAX_VALUE).toWellFormed())
    .filter((one) => one !== '')
    .slice(0, MAX_REPORTED)
    .map((finalRecipient) => ({
      finalRecipient,
      originalRecipient: null,
      action: 'failed',
      status: null,
      diagnosticCode: null,
      remoteMta: null,
    }));
}

function dispositionOf(group: Group): Disposition {
  const [mode = '', type = ''] = (group('disposition') ?? '').split(';', 2);
  return {
    finalRecipient: address(group('final-recipient')),
    originalRecipient: address(group('original-recipient')),
    originalMessageId: group('original-message-id')?.replace(/^<(.*)>$/s, '$1') || null,
    type: firstWord(type.trim()),
    mode: mode.replaceAll(/\s/g, '').toLowerCase() || null,
  };
}
