/** After-actions: what is owed to the server once a message is published, until the server has confirmed it. */
import { type ErrorCode, MailwatchdError } from '../errors.ts';
import { countTaken } from './reconcile.ts';
import { holding, type Session } from './session.ts';

/** The account's `after` setting. */
export interface AfterActions {
  seen: boolean;
  /** A folder's name. */
  move: string | null;
  delete: boolean;
}

/** One command names at most so many: its sequence set stays short. */
const BATCH = 256;
/** Faults of an after-action that leave the connection as it was: reading goes on. */
const HARMLESS: ReadonlySet<ErrorCode> = new Set([
  'MOVE_UNSUPPORTED',
  'DELETE_UNSUPPORTED',
  'SERVER_REFUSED',
  'FOLDER_MISSING',
  'AFTER_FAILED',
]);

/**
 * Carries out what is owed, in UID commands; returns what the operator must mend, or null. Settled only
 * after the server's answer; a UID that is gone is no error to the server (RFC 3501 §6.4.8) and settled too.
 */
export async function settleAfterActions(
  session: Session,
  after: AfterActions,
): Promise<MailwatchdError | null> {
  if (!after.seen && after.move === null && !after.delete) return null;
  const { ledger, epoch } = session;
  try {
    assertSupported(session, after);
    for (;;) {
      const uids = await holding(ledger.owedAfterActions(epoch.id, BATCH));
      if (uids.length === 0) return null;
      await carryOut(session, after, uids);
      if (after.move !== null || after.delete) countTaken(session, uids);
      await holding(ledger.settleAfterActions(epoch.id, uids));
    }
  } catch (error) {
    if (!(error instanceof MailwatchdError) || !HARMLESS.has(error.code)) throw error;
    if (error.code !== 'SERVER_REFUSED') return error;
    return new MailwatchdError('AFTER_FAILED', {
      where: session.where,
      ...(error.detail && { detail: error.detail }),
    });
  }
}

/** Whether the server can do what `after` asks for; throws MOVE_UNSUPPORTED or DELETE_UNSUPPORTED. */
export function assertSupported(session: Pick<Session, 'connection' | 'where'>, after: AfterActions): void {
  const { connection, where } = session;
  if (after.move !== null && !connection.can('MOVE'))
    throw new MailwatchdError('MOVE_UNSUPPORTED', {
      where,
      remedy: 'the server lacks MOVE (RFC 6851): set `after.move` to null',
    });
  if (after.delete && !connection.can('UIDPLUS'))
    throw new MailwatchdError('DELETE_UNSUPPORTED', {
      where,
      remedy: 'the server lacks UIDPLUS (RFC 4315): set `after.delete` to false',
    });
}

/** The folder that `after.move` means; AFTER_FAILED where it is this one: each message would come again. FOLDER_MISSING. */
export async function moveTarget(
  { connection, selected, where }: Pick<Session, 'connection' | 'selected' | 'where'>,
  move: string,
): Promise<string> {
  const path = await connection.resolveFolder(move);
  if (path !== selected.path) return path;
  throw new MailwatchdError('AFTER_FAILED', {
    where,
    detail: `\`after.move\` names the watched folder itself`,
    remedy: 'set it to another folder, or to null',
  });
}

async function carryOut(
  { connection, selected, where }: Session,
  after: AfterActions,
  uids: number[],
): Promise<void> {
  if (selected.readOnly)
    throw new MailwatchdError('AFTER_FAILED', { where, detail: 'the server opens this folder read-only' });
  if (after.seen && !after.delete) await connection.addSeen(uids);
  if (after.move !== null)
    await connection.move(uids, await moveTarget({ connection, selected, where }, after.move));
  else if (after.delete) await connection.deleteAndExpunge(uids);
}
