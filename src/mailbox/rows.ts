/**
 * Rows of a FETCH in the form that servers usually give them, read without imapflow's tokens, promises and MD5 of each:
 * 1.0 of 4.6 s of the main process for 8,328 small messages (measured).
 */

/** What is used of a row, as imapflow gives it. */
export interface Row {
  uid: number;
  size?: number | undefined;
  /** A string where it is no date. */
  internalDate?: Date | string | undefined;
  flags?: ReadonlySet<string> | undefined;
  source?: Buffer | undefined;
  headers?: Buffer | undefined;
  /** Under the key '' where the body's part begins; absent for a whole body. */
  partialOrigins?: ReadonlyMap<string, number> | undefined;
}

/** A row without its body; flags may be many, but not without end. */
const MAX_ROW_BYTES = 1024;
const BEGINNING = /^\* [1-9]\d{0,9} FETCH \(/;
/** Of RFC 3501 §9, msg-att, what was asked for, and what imapflow asks for besides, each as it is usually written. */
const ITEMS = [
  /UID ([1-9]\d{0,9})/,
  /RFC822\.SIZE (0|[1-9]\d{0,9})/,
  /INTERNALDATE "([\w +:-]{26})"/,
  // A shorter word could be NIL, which is no flag.
  /FLAGS \(((?:\\?[\w$.-]{4,}(?: \\?[\w$.-]{4,})*)?)\)/,
  /(BODY\[\])(<0>)? \{\d+\}\r\n/,
  /X-GM-MSGID \d+/,
  /EMAILID \([\w-]+\)/,
];
const ITEM = new RegExp(`(?:${ITEMS.map(({ source }) => source).join('|')})(?: |(\\))$)`, 'y');
const FROM_START: ReadonlyMap<string, number> = new Map([['', 0]]);

/**
 * The row that a response is, if it holds a UID and, as its only literal, a body from its start; `payload` is its text
 * without the literal's bytes. Null for whatever else it may be: that is imapflow's, which reads these rows as well,
 * with the same result.
 */
export function readRow(payload: Buffer, literals: readonly Buffer[]): Row | null {
  if (literals.length !== 1 || payload.length > MAX_ROW_BYTES) return null;
  const text = payload.toString('latin1');
  const row: Row = { uid: 0 };
  ITEM.lastIndex = BEGINNING.exec(text)?.[0].length ?? text.length;
  for (let item = ITEM.exec(text); item !== null; item = ITEM.exec(text)) {
    const [, uid, size, date, flags, body, origin, end] = item;
    if (uid !== undefined) row.uid = Number(uid);
    else if (size !== undefined) row.size = Number(size);
    else if (flags !== undefined) row.flags = new Set(flags === '' ? [] : flags.split(' '));
    else if (date !== undefined) {
      row.internalDate = new Date(date);
      if (Number.isNaN(row.internalDate.getTime())) return null;
    } else if (body !== undefined) {
      row.source = literals[0];
      if (origin !== undefined) row.partialOrigins = FROM_START;
    }
    if (end !== undefined) return row.uid > 0 && row.source !== undefined ? row : null;
  }
  return null;
}
