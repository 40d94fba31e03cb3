/** A block: the settled messages among so many consecutive UIDs, as one compressed value. Pure. */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { MessageState, UidRanges } from '../model.ts';

/**
 * UIDs of a block: the block `span` holds those from `span * SPAN` on. Some 60 KB then, which take 2 ms to make and
 * 1 ms to read, and of which the half page that is lost on average is 2 bytes a message.
 */
export const SPAN = 1024;

const HASH_BYTES = 32;

/** What becomes of a message for good, as long as nobody asks for it again. */
export const PACKED_STATES: ReadonlySet<MessageState> = new Set([
  'published',
  'filtered',
  'carried',
  'skipped',
]);

/** A settled row of `message` without its epoch: what `list` tells of it and a later epoch recognizes it by. */
export interface SettledRow {
  uid: number;
  state: MessageState;
  message_id: string | null;
  declared_size: number;
  size: number | null;
  sha256: Uint8Array | null;
  internal_date: number;
  flags: string;
  path: string | null;
  copies: number;
  recorded_at: number;
  claimed: number;
  extensions: string | null;
  /** Of a filtered one: the rule. */
  reason: string | null;
}

/** What a block is stored as. */
export interface EncodedBlock {
  /** A bit a UID, from the lowest of byte 0 on. */
  uids: Uint8Array;
  /** All of the rows but uids and hashes: JSON, an array a column, deflated (RFC 1951). */
  facts: Uint8Array;
  /** One after the other, of those rows that have one; they cannot be compressed. */
  hashes: Uint8Array;
}

/** In which block a UID is. */
export function spanOf(uid: number): number {
  return Math.floor(uid / SPAN);
}

/** The bitmap of no UIDs. */
export function noUids(): Uint8Array {
  return new Uint8Array(SPAN / 8);
}

/** Whether a block's bitmap has a UID of its span. */
export function hasUid(uids: Uint8Array, uid: number): boolean {
  const bit = uid % SPAN;
  return ((uids[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
}

export function addUid(uids: Uint8Array, uid: number): void {
  const bit = uid % SPAN;
  uids[bit >> 3] = (uids[bit >> 3] as number) | (1 << (bit & 7));
}

/** All UIDs of a block's bitmap, ascending. */
function uidsOf(span: number, uids: Uint8Array): number[] {
  const first = span * SPAN;
  return Array.from({ length: SPAN }, (_, bit) => first + bit).filter((uid) => hasUid(uids, uid));
}

/** The UIDs of bitmaps, given in the order of their spans, as ranges within `low..high`. */
export function rangesOf(
  bitmaps: Iterable<readonly [span: number, uids: Uint8Array]>,
  low: number,
  high: number,
): UidRanges {
  const ranges: number[] = [];
  const add = (first: number, last: number) => {
    if (last < low || first > high) return;
    if (ranges.at(-1) === first - 1) ranges[ranges.length - 1] = Math.min(last, high);
    else ranges.push(Math.max(first, low), Math.min(last, high));
  };
  for (const [span, uids] of bitmaps) {
    uids.forEach((byte, index) => {
      const first = span * SPAN + index * 8;
      // Most are whole: ten million UIDs take 40 ms so, and a second one by one (measured).
      if (byte === 0xff) add(first, first + 7);
      else for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) add(first + bit, first + bit);
    });
  }
  return Uint32Array.from(ranges);
}

/** A row as it lies in `facts`: the size less the declared one, the path without the UID, times since the row before. */
type Fact = [
  state: MessageState,
  messageId: string | null,
  declaredSize: number,
  more: number | null,
  hashed: 0 | 1,
  internalDate: number,
  flags: string,
  path: string | null,
  copies: number,
  recordedAt: number,
  claimed: number,
  /** Missing in blocks of version 2. */
  extensions?: string | null,
  /** Missing in blocks of version 3. */
  reason?: string | null,
];

/** Rows of one span in UID order. */
export function encodeBlock(rows: readonly SettledRow[]): EncodedBlock {
  const uids = noUids();
  for (const { uid } of rows) addUid(uids, uid);
  const facts = rows.map((row, index): Fact => {
    const before = rows[index - 1];
    return [
      row.state,
      row.message_id,
      row.declared_size,
      row.size === null ? null : row.size - row.declared_size,
      row.sha256 === null ? 0 : 1,
      row.internal_date - (before?.internal_date ?? 0),
      row.flags,
      // NUL is in no path.
      row.path?.replaceAll(String(row.uid), '\0') ?? null,
      row.copies,
      row.recorded_at - (before?.recorded_at ?? 0),
      row.claimed,
      row.extensions,
      row.reason,
    ];
  });
  return {
    uids,
    facts: deflateRawSync(JSON.stringify(transposed(facts))),
    hashes: Buffer.concat(rows.flatMap(({ sha256 }) => sha256 ?? [])),
  };
}

/** The rows that `encodeBlock` was given. */
export function decodeBlock(span: number, { uids, facts, hashes }: EncodedBlock): SettledRow[] {
  const rows = transposed(JSON.parse(inflateRawSync(facts).toString()) as unknown[][]) as Fact[];
  const numbers = uidsOf(span, uids);
  let internal_date = 0;
  let recorded_at = 0;
  let hash = 0;
  return rows.map(
    (
      [
        state,
        message_id,
        declared_size,
        more,
        hashed,
        date,
        flags,
        path,
        copies,
        at,
        claimed,
        extensions = null,
        reason = null,
      ],
      row,
    ) => {
      const uid = numbers[row] as number;
      internal_date += date;
      recorded_at += at;
      const sha256 = hashed === 0 ? null : hashes.slice(hash, hash + HASH_BYTES);
      hash += hashed * HASH_BYTES;
      const size = more === null ? null : declared_size + more;
      const whole = path?.replaceAll('\0', String(uid)) ?? null;
      return {
        uid,
        state,
        message_id,
        declared_size,
        size,
        sha256,
        internal_date,
        flags,
        path: whole,
        copies,
        recorded_at,
        claimed,
        extensions,
        reason,
      };
    },
  );
}

/** Columns of rows, or rows of columns: like beside like is what compresses. */
function transposed(table: readonly (readonly unknown[])[]): unknown[][] {
  return (table[0] ?? []).map((_, column) => table.map((row) => row[column]));
}
