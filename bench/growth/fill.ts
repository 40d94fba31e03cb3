/** Ledgers of any size, made by the program's own functions: the rows of messages that were published and packed. */
import { createHash } from 'node:crypto';
import type { Ledger } from '../../src/spool/ledger.ts';
import { type MessageFacts, recordSettled, recordStaged, type StagedRow } from '../../src/spool/messages.ts';
import { createPacker } from '../../src/spool/packing.ts';

/** One a half minute since then: a million in a year. */
const FIRST_CAME = Date.UTC(2020, 0, 1);
const EVERY = 30_000;

const BATCH = 256;

/** Published messages of UIDs `from..to` in an epoch of the mailbox account/INBOX. */
export function fillLedger(ledger: Ledger, epoch: number, label: string, from: number, to: number): void {
  // Only what it is filled with need not outlive a power cut.
  ledger.get('PRAGMA synchronous = OFF');
  const packer = createPacker(ledger);
  for (let uid = from; uid <= to; ) {
    const uids = Array.from({ length: Math.min(BATCH, to + 1 - uid) }, (_, index) => uid + index);
    ledger.transaction(() => {
      for (const one of uids) record(ledger, epoch, label, one);
    });
    packer.came(uids.map(() => epoch));
    while (packer.due()) packer.step();
    uid += uids.length;
  }
  ledger.run(
    'UPDATE epoch SET scanned_through = ?, highest_uid_next = ?, seen_at = ? WHERE id = ?',
    to,
    to + 1,
    Date.now(),
    epoch,
  );
  ledger.get('PRAGMA wal_checkpoint(TRUNCATE)');
}

function record(ledger: Ledger, epoch: number, label: string, uid: number): void {
  const sha256 = createHash('sha256').update(String(uid)).digest('hex');
  const internalDate = FIRST_CAME + uid * EVERY;
  const size = 2_000 + (Number.parseInt(sha256.slice(0, 6), 16) % 30_000);
  const staged: StagedRow = {
    epoch,
    uid,
    kind: 'document',
    run: 'filled',
    stem: `${uid}`,
    path: `ann/${new Date(internalDate).toISOString().slice(0, 10).replaceAll('-', '/')}/INBOX-${label}-${uid}.json`,
    hasAttachments: false,
    hasSource: false,
    code: null,
    reason: null,
    complete: true,
  };
  const facts: MessageFacts = {
    epoch,
    uid,
    // As unguessable as they are.
    messageId: `${sha256.slice(-32)}@mx${uid % 7}.example.org`,
    declaredSize: size,
    size,
    sha256,
    internalDate,
    flags: ['\\Seen'],
    owesAfter: false,
  };
  recordStaged(ledger, facts, staged, internalDate);
  recordSettled(ledger, staged, internalDate + 5);
}
