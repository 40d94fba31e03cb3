/** Judges a message by its account's rules: by its first bytes, or by its document, with the same result. */
import { type Candidate, type HeaderFacts, judge, takenBy, type Verdict } from '../filter.ts';
import { storableId } from '../message-id.ts';
import { automaticKind } from './automatic.ts';
import { type MessageDocument, parseMessage } from './document.ts';
import { readHeader } from './headers.ts';
import { type FieldValues, isListMail } from './list.ts';
import type { Judgement } from './parser-protocol.ts';
import { repairBytes } from './repair.ts';
import type { WarningCode } from './warnings.ts';

/** Where a header has text in no declared character set, it may be read in one that a part of the body declares. */
const DEPENDS_ON_BODY: readonly WarningCode[] = ['charset-missing', 'charset-wrong', 'charset-unknown'];

/** What the whole document decides; `undecided` only where an expression has more text than it is tried on. */
export function judgeDocument(document: MessageDocument, candidate: Candidate): Verdict {
  const size = candidate.size ?? document.size;
  return judge({ ...candidate, size }, headerFacts(document), document.attachments.length > 0);
}

/** What the first bytes decide, as the document will: its header is read as that of a message without a body. */
export function judgeStart(start: Buffer, candidate: Candidate): Judgement {
  const end = endOfHeader(start);
  const document = end === null ? null : parseMessage(start.subarray(0, end), { identity: null });
  const isSure = document !== null && !document.warnings.some((code) => DEPENDS_ON_BODY.includes(code));
  const header = isSure ? headerFacts(document) : null;
  return {
    verdict: judge(candidate, header, null),
    takenBy: takenBy(candidate, header),
    messageId: storableId(document?.messageId ?? null),
  };
}

/**
 * Where the body begins; null where the first bytes do not reach so far, or what follows may tell otherwise: a header
 * without fields may be a blank line before one.
 */
function endOfHeader(first: Buffer): number | null {
  const warnings = new Set<WarningCode>();
  const warn = (code: WarningCode) => void warnings.add(code);
  const { bytes, start } = repairBytes(first, warn);
  const { end, fields } = readHeader(bytes, start, () => false, warn);
  const isComplete = end < bytes.length && fields.length > 0 && !warnings.has('header-unended');
  return isComplete ? end : null;
}

function valuesOf(headers: MessageDocument['headers']): FieldValues {
  const byKey = Map.groupBy(headers, ([name]) => name.toLowerCase());
  return (key) => (byKey.get(key) ?? []).map(([, text]) => text);
}

function headerFacts(document: MessageDocument): HeaderFacts {
  const { sender, to, cc, bcc, subject, headers } = document;
  const values = valuesOf(headers);
  const kind = automaticKind(values);
  return {
    sender: sender?.address ?? '',
    recipients: [...to, ...cc, ...bcc].flatMap(({ address }) => address ?? []),
    subject: subject ?? '',
    fields: headers,
    list: isListMail(values),
    // A list sends on what people write.
    automatic: kind !== null && kind !== 'list',
  };
}
