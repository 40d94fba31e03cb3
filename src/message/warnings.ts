/** The one table of warnings: what was repaired, guessed, cut or looks forged in a message. */

const table = {
  // Bytes and header
  bom: 'a byte order mark stood before the header and was skipped',
  'leading-blank-lines': 'blank lines stood before the header and were skipped',
  'mbox-from-line': 'an mbox `From ` line stood before the header and was skipped',
  'line-endings-cr': 'lines ended in CR alone and were read as lines',
  'header-name-space': 'a field had white space between its name and the colon',
  'header-malformed': 'a header line was no field and no continuation, and was skipped',
  'header-unended':
    'no blank line stood between header and body: the body begins at the first line that is no field',
  'header-line-break': 'an encoded word held line breaks; each became one space',
  'header-duplicate': 'a field that may occur once occurred again; the first one counts',
  'from-duplicate': 'From occurred more than once (looks forged); the first one counts',
  'header-cut': 'the header, or a field of it, was longer than is read; the rest is missing',

  // Date
  'date-missing': 'there was no Date field; `sentAt` is null',
  'date-invalid': 'the Date field could not be read; `sentAt` is null',
  'date-zone-missing': 'the Date field had no usable zone; UTC was assumed',
  'date-repaired': 'the Date field was not written as RFC 5322 wants, but could be read',

  // Addresses
  'address-comma': 'an unquoted comma stood in a display name; it was read as part of the name',
  'address-comment':
    'an address field held a comment, which some readers take for the address (looks forged)',
  'address-quoted-local': 'an address had a quoted local part, which some readers cut off (looks forged)',
  'address-non-ascii': 'an address was not ASCII (RFC 6532); it is given as written',
  'address-invalid': 'an entry of From held no address',
  'many-recipients': 'the message had more than 1,000 recipients; all are given',

  // Structure
  'boundary-padding': 'white space stood after a boundary and was ignored',
  'boundary-at-end': 'the last boundary had no line end after it',
  'boundary-missing': 'a multipart named no boundary, or one that never occurs; its content was read as text',
  'multipart-unclosed': 'a multipart was not closed; the boundary around it, or the end, closed it',
  'digest-default': 'parts of a multipart/digest without a type were read as messages',
  'message-attached': 'a message or delivery status was inside the message; it is an attachment of its own',
  'many-parts': 'the message had more than 1,000 parts; all are given',
  'deep-nesting': 'multiparts were nested deeper than 100; all were read',
  'parts-cut': 'the message had more parts than are read; the last one holds the rest',

  // Transfer encoding, type and character set
  'type-invalid': 'a Content-Type was no type; the part was read as text/plain (RFC 2045 §5.2)',
  'type-generic':
    'a part was declared as application/octet-stream though its name tells more; the type is given as declared',
  'encoding-ignored': 'a transfer encoding on a multipart was ignored (RFC 2045 §6.4)',
  'encoding-unknown': 'a transfer encoding was unknown; the bytes are given as they were',
  'encoding-uuencode': 'a part was uuencoded and was decoded',
  'encoding-damaged':
    'base64, quoted-printable or uuencoded content was damaged; what could be decoded is given',
  'charset-missing': 'text that is not ASCII declared no character set; it was recognised',
  'charset-wrong': 'text was not in the character set that it declared; it was recognised',
  'charset-unknown': 'text declared an unknown character set; it was recognised',
  'charset-superset': 'text used characters beyond the declared set; the larger set of the WHATWG was used',
  'charset-legacy': 'text was in UTF-7, UTF-32, HZ or ISO-2022-KR, which most readers show wrong',
  'charset-meta': 'HTML declared its character set only in itself, and was read by that',
  'charset-damaged': 'some bytes were no characters in any likely set; they became U+FFFD',

  // Content
  'nul-removed': 'NUL characters were removed from text',
  'surrogate-replaced': 'lone surrogates in text became U+FFFD',
  'html-cut': 'the HTML was too long to make all of it text; `html` is complete, `body` is not',
  'report-cut': 'a delivery report was longer than is read; the rest is missing in `automatic`',
  'calendar-unread':
    'a calendar was damaged or longer than is read; `calendar` is absent, and the part is in `attachments`',
  'filename-unsafe': 'an attachment had a name that could mislead; its file has another',
} as const;

/** A code of the table, as it stands in `warnings` of a document. */
export type WarningCode = keyof typeof table;

/** Code and meaning, for the documentation's test. */
export const WARNINGS: Readonly<Record<WarningCode, string>> = table;

/** Notes a warning; the same one twice counts once. */
export type Warn = (code: WarningCode) => void;
