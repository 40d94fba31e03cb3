/** Packs settled messages that lie behind into blocks, a little at a time, and takes out again what must change. */
import {
  decodeBlock,
  type EncodedBlock,
  encodeBlock,
  hasUid,
  PACKED_STATES,
  type SettledRow,
  SPAN,
  spanOf,
} from './block.ts';
import type { Ledger } from './ledger.ts';

/** A pass over the ledger begins when so many messages came in since the last one: a block's worth. */
const PASS_EVERY = SPAN;

/** A block is made anew only for a fourth as many messages as it holds, so that each is packed few times. */
const WORTH_REPACKING = 4;

/** Spans of one step, most of which there is nothing to pack in: some 10 µs each. */
const LOOKS_PER_STEP = 100;

/** What nothing is to become of any more but to be listed. */
const PACKABLE = `epoch = ? AND uid BETWEEN ? AND ?
  AND state IN (${[...PACKED_STATES].map((state) => `'${state}'`).join(', ')})
  AND complete = 1 AND code IS NULL AND owes_after = 0 AND claimable = 0
  AND NOT EXISTS (SELECT 1 FROM staging s WHERE s.epoch = message.epoch AND s.uid = message.uid)
  AND NOT EXISTS (SELECT 1 FROM replay r WHERE r.epoch = message.epoch AND r.uid = message.uid)`;

const SETTLED_COLUMNS = `uid, state, message_id, declared_size, size, sha256, internal_date, flags, path, copies,
  recorded_at, claimed, extensions, reason`;

/** The row of a message that is packed, undefined for any other. */
export function packedRow(ledger: Ledger, epoch: number, uid: number): SettledRow | undefined {
  return isPacked(ledger, epoch, uid)
    ? blockRows(ledger, epoch, spanOf(uid)).find((row) => row.uid === uid)
    : undefined;
}

/** True for a message that is in a block. */
export function isPacked(ledger: Ledger, epoch: number, uid: number): boolean {
  const sql = 'SELECT uids FROM block WHERE epoch = ? AND span = ?';
  const block = ledger.get<{ uids: Uint8Array }>(sql, epoch, spanOf(uid));
  return block !== undefined && hasUid(block.uids, uid);
}

/** What a block holds, in UID order; nothing where there is none. */
export function blockRows(ledger: Ledger, epoch: number, span: number): SettledRow[] {
  const sql = 'SELECT uids, facts, hashes FROM block WHERE epoch = ? AND span = ?';
  const block = ledger.get<EncodedBlock>(sql, epoch, span);
  return block === undefined ? [] : decodeBlock(span, block);
}

/** Packs what is settled in a span, with what its block holds already (inside a transaction). */
function packSpan(ledger: Ledger, epoch: number, span: number): void {
  const where = [epoch, span * SPAN, (span + 1) * SPAN - 1] as const;
  const settled = ledger.all<SettledRow>(
    `SELECT ${SETTLED_COLUMNS} FROM message WHERE ${PACKABLE}`,
    ...where,
  );
  // Since it was looked at, another process may have asked for the only one.
  if (settled.length === 0) return;
  const rows = [...blockRows(ledger, epoch, span), ...settled].sort((a, b) => a.uid - b.uid);
  const { uids, facts, hashes } = encodeBlock(rows);
  ledger.run(
    `INSERT INTO block (epoch, span, count, filtered, last_uid, newest, recorded_at, uids, facts, hashes)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (epoch, span) DO UPDATE SET count = excluded.count, filtered = excluded.filtered,
       last_uid = excluded.last_uid, newest = excluded.newest, recorded_at = excluded.recorded_at,
       uids = excluded.uids, facts = excluded.facts, hashes = excluded.hashes`,
    epoch,
    span,
    rows.length,
    rows.filter(({ state, claimed }) => state === 'filtered' && claimed === 0).length,
    Math.max(...rows.map(({ uid }) => uid)),
    Math.max(...rows.map(({ internal_date }) => internal_date)),
    Math.max(...rows.map(({ recorded_at }) => recorded_at)),
    uids,
    facts,
    hashes,
  );
  ledger.run(`DELETE FROM message WHERE ${PACKABLE}`, ...where);
}

/** Makes rows of a block again (inside a transaction). `claimable`: of those that no later epoch has claimed. */
function unpackSpan(ledger: Ledger, epoch: number, span: number, claimable: boolean): void {
  for (const row of blockRows(ledger, epoch, span)) {
    ledger.run(
      `INSERT INTO message (epoch, ${SETTLED_COLUMNS}, claimable) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      epoch,
      row.uid,
      row.state,
      row.message_id,
      row.declared_size,
      row.size,
      row.sha256,
      row.internal_date,
      row.flags,
      row.path,
      row.copies,
      row.recorded_at,
      row.claimed,
      row.extensions,
      row.reason,
      claimable && row.claimed === 0 ? 1 : 0,
    );
  }
  ledger.run('DELETE FROM block WHERE epoch = ? AND span = ?', epoch, span);
}

/**
 * The next span of an epoch from one on that has filtered messages, which are rows then (inside a transaction); null
 * where there is none.
 */
export function unpackFiltered(ledger: Ledger, epoch: number, from: number): number | null {
  const row = ledger.get<{ uid: number | null }>(
    `SELECT min(uid) AS uid FROM message INDEXED BY message_filtered
     WHERE state = 'filtered' AND claimed = 0 AND epoch = ? AND uid >= ?`,
    epoch,
    from * SPAN,
  );
  const block = ledger.get<{ span: number | null }>(
    'SELECT min(span) AS span FROM block INDEXED BY block_filtered WHERE filtered > 0 AND epoch = ? AND span >= ?',
    epoch,
    from,
  );
  const packed = block?.span ?? Number.POSITIVE_INFINITY;
  const span = Math.min(packed, spanOf(row?.uid ?? Number.POSITIVE_INFINITY));
  if (span === Number.POSITIVE_INFINITY) return null;
  if (span === packed) unpackSpan(ledger, epoch, span, false);
  return span;
}

/** A message that is packed becomes a row again, since it is to change (inside a transaction). */
export function unpackMessage(ledger: Ledger, epoch: number, uid: number): void {
  if (isPacked(ledger, epoch, uid)) unpackSpan(ledger, epoch, spanOf(uid), false);
}

/** Blocks that one call of `makeClaimable` unpacks: 0.2 s at most, where millions are claimable (measured). */
const BLOCKS_PER_CALL = 4;

/**
 * Makes the messages of a mailbox's earlier epochs rows that can be recognized, some at each call, in a transaction of
 * its own; false once all are. What a later epoch has claimed is packed again in time.
 */
export function makeClaimable(ledger: Ledger, epoch: number): boolean {
  const earlier = ledger.get<{ id: number }>(
    `SELECT e.id FROM epoch e JOIN epoch mine ON mine.id = ?
     WHERE e.account = mine.account AND e.folder = mine.folder AND e.id < mine.id AND e.claimable = 0 LIMIT 1`,
    epoch,
  );
  if (earlier === undefined) return false;
  ledger.transaction(() => {
    const sql = 'SELECT span FROM block WHERE epoch = ? ORDER BY span LIMIT ?';
    const blocks = ledger.all<{ span: number }>(sql, earlier.id, BLOCKS_PER_CALL);
    for (const { span } of blocks) unpackSpan(ledger, earlier.id, span, true);
    if (blocks.length > 0) return;
    ledger.run(
      'UPDATE message SET claimable = 1 WHERE epoch = ? AND claimed = 0 AND claimable = 0',
      earlier.id,
    );
    ledger.run('UPDATE epoch SET claimable = 1 WHERE id = ?', earlier.id);
  });
  return true;
}

export interface Packer {
  /** Messages of these epochs came in, one each time. */
  came(epochs: number[]): void;
  /** Looks through the whole ledger: what a later epoch has claimed, or a former run left, may be packed. */
  lookThrough(): void;
  /** True while there is something to look at. */
  due(): boolean;
  /** Packs one block at most, in a transaction of its own: some 10 ms and a sync. LEDGER_FAILED. */
  step(): void;
}

export function createPacker(ledger: Ledger): Packer {
  /** The epochs of this pass; the last one is being looked at, from `from` on. */
  let pass: number[] = [];
  let from = 0;
  let touched = new Set<number>();
  let count = 0;

  /** The next span with rows, behind the last of its epoch; undefined where there is none. */
  function nextSpan(epoch: number): number | undefined {
    const sql = 'SELECT min(uid) AS uid FROM message WHERE epoch = ? AND uid >= ?';
    const uid = ledger.get<{ uid: number | null }>(sql, epoch, from)?.uid ?? null;
    return uid === null || spanOf(uid) >= spanOf(highestUid(ledger, epoch)) ? undefined : spanOf(uid);
  }

  function isWorthPacking(epoch: number, span: number): boolean {
    const where = [epoch, span * SPAN, (span + 1) * SPAN - 1] as const;
    const settled = ledger.get<{ count: number }>(
      `SELECT count(*) AS count FROM message WHERE ${PACKABLE}`,
      ...where,
    );
    const packed = ledger.get<{ count: number }>(
      'SELECT count FROM block WHERE epoch = ? AND span = ?',
      epoch,
      span,
    );
    const waiting = settled?.count ?? 0;
    return waiting > 0 && waiting * WORTH_REPACKING >= (packed?.count ?? 0);
  }

  return {
    came(epochs) {
      for (const epoch of epochs) touched.add(epoch);
      count += epochs.length;
      if (pass.length > 0 || count < PASS_EVERY) return;
      pass = [...touched];
      touched = new Set();
      count = 0;
    },
    lookThrough() {
      pass = ledger.all<{ id: number }>('SELECT id FROM epoch').map(({ id }) => id);
      from = 0;
    },
    due: () => pass.length > 0,
    step() {
      for (let look = 0; look < LOOKS_PER_STEP; look++) {
        const epoch = pass.at(-1);
        if (epoch === undefined) return;
        const span = nextSpan(epoch);
        if (span === undefined) {
          pass.pop();
          from = 0;
          continue;
        }
        const worth = isWorthPacking(epoch, span);
        if (worth) ledger.transaction(() => packSpan(ledger, epoch, span));
        from = (span + 1) * SPAN;
        if (worth) return;
      }
    },
  };
}

/** The highest UID that is known of an epoch, 0 where there is none. */
export function highestUid(ledger: Ledger, epoch: number): number {
  const row = ledger.get<{ uid: number }>(
    `SELECT max(coalesce((SELECT max(uid) FROM message WHERE epoch = ?1), 0),
       coalesce((SELECT last_uid FROM block WHERE epoch = ?1 ORDER BY span DESC LIMIT 1), 0)) AS uid`,
    epoch,
  );
  return row?.uid ?? 0;
}

/** The latest INTERNALDATE of an epoch that is not after `bound`, ms; 0 where there is none. */
export function newestDate(ledger: Ledger, epoch: number, bound: number): number {
  const rows = ledger.get<{ at: number | null }>(
    'SELECT max(internal_date) AS at FROM message WHERE epoch = ? AND internal_date <= ?',
    epoch,
    bound,
  );
  const blocks = ledger.all<{ span: number; newest: number }>(
    'SELECT span, newest FROM block WHERE epoch = ? ORDER BY newest DESC',
    epoch,
  );
  let newest = rows?.at ?? 0;
  for (const block of blocks) {
    if (block.newest <= newest) break;
    // Some of it is after the bound, the rest may not be.
    const dates =
      block.newest <= bound
        ? [block.newest]
        : blockRows(ledger, epoch, block.span)
            .map(({ internal_date }) => internal_date)
            .filter((at) => at <= bound);
    newest = Math.max(newest, ...dates);
  }
  return newest;
}
