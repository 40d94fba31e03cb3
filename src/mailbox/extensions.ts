/** What extensions of IMAP tell of a message: taken over as far as it is what their documents promise. */
import type { Extensions } from '../model.ts';
import type { Row } from './rows.ts';

/** RFC 8474 §7, objectid. */
const OBJECT_ID = /^[A-Za-z0-9_-]{1,255}$/;
/** 64 bits. */
const GMAIL_ID = /^\d{1,20}$/;
/** As many of a message as nobody has, and as long as Gmail takes none. */
const MAX_LABELS = 200;
const MAX_LABEL_CHARS = 255;

/** `objectIds`: the server has OBJECTID, and these ids are of it; else they are Gmail's. */
export function extensionsOf(row: Row, objectIds: boolean): { extensions?: Extensions } {
  const { emailId = '', threadId = '', labels } = row;
  const extensions: Extensions = {};
  if (objectIds && OBJECT_ID.test(emailId)) extensions.emailId = emailId;
  if (objectIds && OBJECT_ID.test(threadId)) extensions.threadId = threadId;
  if (labels !== undefined) {
    extensions.gmail = {
      labels: labelsOf(labels),
      messageId: !objectIds && GMAIL_ID.test(emailId) ? emailId : null,
      threadId: !objectIds && GMAIL_ID.test(threadId) ? threadId : null,
    };
  }
  return Object.keys(extensions).length === 0 ? {} : { extensions };
}

/** Well-formed Unicode without NUL, as all text of a document; one that is too long is left out, since a part is another label. */
function labelsOf(labels: ReadonlySet<string>): string[] {
  return [...labels]
    .map((label) => label.replaceAll('\0', '').toWellFormed())
    .filter((label) => label !== '' && label.length <= MAX_LABEL_CHARS)
    .slice(0, MAX_LABELS);
}
