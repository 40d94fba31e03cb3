/** What the server tells of messages before they are fetched: whether they are there, their size, date and flags. */
import { MailwatchdError } from '../errors.ts';
import type { MessageMetadata } from '../model.ts';
import { Stopped } from './connection.ts';
import { ATTEMPTS_ALONE, giveUp, narrow } from './failures.ts';
import { halves } from './ranges.ts';
import type { Session } from './session.ts';

/** Metadata of each message, in order; those gone meanwhile are dropped. What a server leaves out is asked for alone. */
export async function describe(session: Session, uids: readonly number[]): Promise<MessageMetadata[]> {
  const { tally } = session;
  const rows = await askMetadata(session, uids);
  const missing = uids.filter((uid) => !rows.has(uid));
  const present = await stillThere(session, missing);
  for (const uid of missing) {
    if (!present.has(uid)) {
      tally.dropped();
      continue;
    }
    for (let attempt = 1; attempt <= ATTEMPTS_ALONE && !rows.has(uid); attempt++) {
      for (const row of (await askMetadata(session, [uid])).values()) rows.set(uid, row);
    }
    if (!rows.has(uid)) await giveUp(session, unknown(session, uid));
  }
  return uids.flatMap((uid) => rows.get(uid) ?? []);
}

async function askMetadata(session: Session, uids: readonly number[]): Promise<Map<number, MessageMetadata>> {
  try {
    // One that a rule leaves out by its size or age would have no name that a later epoch could know it by.
    const messageId = session.epoch.changedAt !== null || session.filter !== null;
    return await session.connection.metadata(uids, { messageId });
  } catch (error) {
    if (error instanceof Stopped) throw error;
    if (!(error instanceof MailwatchdError && error.code === 'SERVER_REFUSED')) {
      await narrow(
        session,
        uids.map((uid) => unknown(session, uid)),
      );
      throw error;
    }
    if (uids.length === 1) return new Map();
    const rows = new Map<number, MessageMetadata>();
    for (const half of halves(uids)) for (const row of await askMetadata(session, half)) rows.set(...row);
    return rows;
  }
}

/** A message of which the server tells nothing. */
export const unknown = ({ clock }: Session, uid: number): MessageMetadata => ({
  uid,
  size: 0,
  internalDate: clock.now(),
  flags: [],
});

/** Which of these UIDs the server still has. */
export async function stillThere(session: Session, uids: readonly number[]): Promise<Set<number>> {
  return uids.length === 0 ? new Set() : new Set(await session.connection.existing(uids));
}
