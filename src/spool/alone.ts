/** Remembers which message was in work alone when a run died: the third death names a killer. */
import type { Ledger } from './ledger.ts';
import type { Key } from './messages.ts';

/** At an unclean start (inside its transaction): who was in work alone then has died with the run once more. */
export function countDeaths(ledger: Ledger): void {
  ledger.run('UPDATE alone SET deaths = deaths + 1, in_work = 0 WHERE in_work = 1');
}

/** The message, and nothing else, is in work from this commit on; in how many runs that died it was before. */
export function beginAlone(ledger: Ledger, key: Key): number {
  return ledger.transaction(() => {
    ledger.run('UPDATE alone SET in_work = 0 WHERE in_work = 1');
    const row = ledger.get<{ deaths: number }>(
      `INSERT INTO alone (epoch, uid, deaths, in_work) VALUES (?, ?, 0, 1)
       ON CONFLICT (epoch, uid) DO UPDATE SET in_work = 1 RETURNING deaths`,
      key.epoch,
      key.uid,
    );
    return row?.deaths ?? 0;
  });
}

/** It got through: staged, or recorded as unfetchable (inside a transaction). */
export function forgetAlone(ledger: Ledger, key: Key): void {
  ledger.run('DELETE FROM alone WHERE epoch = ? AND uid = ?', key.epoch, key.uid);
}

/** An attempt ended with an error and nobody died: while its mailbox holds, the message is not in work. */
export function endAttempt(ledger: Ledger, key: Key): void {
  const sql = 'SELECT 1 FROM alone WHERE epoch = ? AND uid = ? AND in_work = 1';
  if (ledger.get(sql, key.epoch, key.uid) !== undefined) ledger.transaction(() => endAlone(ledger));
}

/** Nothing is in work any more and nobody died: a clean stop. */
export function endAlone(ledger: Ledger): void {
  ledger.run('UPDATE alone SET in_work = 0 WHERE in_work = 1');
}
