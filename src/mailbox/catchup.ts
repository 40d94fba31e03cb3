/** New mail: every UID above `scannedThrough`, whatever woke us. */
import { fetchMessages } from './fetching.ts';
import { holding, type Session, unhandled } from './session.ts';
import { searchWindows, WINDOW } from './windows.ts';

/**
 * Fetches what is new and advances `scannedThrough` over it. EXISTS carries no UID and says nothing that
 * SEARCH does not (RFC 3501 §7.3.1), so this asks afresh each time.
 */
export async function catchUp(session: Session): Promise<void> {
  const { connection, selected, memory, clock } = session;
  const begun = clock.now();
  connection.takeNews();
  // All but what arrived since SELECT, in windows where it is much; then that, without an upper end.
  if (selected.exists > WINDOW) {
    const top = selected.uidNext > 0 ? selected.uidNext - 1 : await connection.highestUid();
    const bounds = { low: session.scannedThrough + 1, high: top - 1, exists: selected.exists };
    for await (const window of searchWindows(connection, bounds)) {
      await fetchNew(session, window.uids);
      await advance(session, window.high);
    }
  }
  const low = session.scannedThrough + 1;
  const uids = await connection.search(low, null);
  // A UID that was listed but is not there must not hide what comes below it.
  await advance(session, await fetchNew(session, uids));
  memory.caughtUpAt = begun;
}

/** The highest of the UIDs that the server has shown something of; 0 where all are known already. */
async function fetchNew(session: Session, listed: number[]): Promise<number> {
  const { tally, memory } = session;
  if (listed.length === 0) return 0;
  const fresh = await unhandled(session, listed, { retryUnfetchable: false });
  tally.arrived(fresh.filter((uid) => uid > memory.arrivedThrough).length);
  memory.arrivedThrough = Math.max(memory.arrivedThrough, ...listed.slice(-1));
  return fetchMessages(session, fresh, {
    lane: 'arrivals',
    between: async () => session.giveWay('arrivals'),
  });
}

/** Only after all up to `through` is stored, left aside or gone: what is below is not asked for again here. */
async function advance(session: Session, through: number): Promise<void> {
  if (through <= session.scannedThrough) return;
  await holding(session.ledger.advance(session.epoch.id, through));
  session.scannedThrough = through;
}
