/** What the steps of a mailbox share: its connection and epoch, what it remembers between connections, its count. */
import type { Clock } from '../clock.ts';
import { MailwatchdError, toMailwatchdError } from '../errors.ts';
import type { Filter } from '../filter.ts';
import type { Log } from '../logging.ts';
import type { Epoch } from '../model.ts';
import type { Intake, MailboxLedger } from '../ports.ts';
import { type Connection, type Selected, Stopped } from './connection.ts';
import type { Flight } from './flight.ts';
import { MAX_IN_FLIGHT, outside } from './ranges.ts';

/** New mail, and what was there at the epoch's first opening. */
export type Lane = 'arrivals' | 'backfill';

/** What a comparison proved that missed nothing, and was shown all. */
export interface Complete {
  /** Nothing with a smaller UID is missing, nor can anything be added there (RFC 3501 §2.3.1.1): UIDNEXT of then. */
  below: number;
  /** EXISTS of then. */
  exists: number;
  /** Of these so many are wanted. */
  expected: number;
  /** Of these our after-actions have removed so many since: they do not make up for what the server shows late. */
  taken: number;
  /** When everything was compared, monotonic ms. */
  at: number;
}

/** What a mailbox remembers between connections. Nothing in it decides what is published: the ledger does. */
export interface Memory {
  epochId: number | null;
  /** Messages that one FETCH asks for: halved when a FETCH ends the connection, doubled by each that works. */
  rangeLimit: number;
  /** Whether the last messages were so small that asking for their starts gave most of them whole. */
  mostlySmall: boolean;
  /** The server answers a partial FETCH with whole messages, whose bytes nobody has reserved. */
  ignoresPartial: boolean;
  /** How often a UID failed alone. */
  failures: Map<number, number>;
  /** UIDs whose header was asked for by a FETCH that ended the connection: they are fetched whole. */
  unjudged: Set<number>;
  /** When a UID was found unfetchable, monotonic ms: its next try waits for a reconciliation by time. */
  unfetchable: Map<number, number>;
  /** UIDs with an INTERNALDATE before what is wanted, so that they are not asked for at each reconciliation. */
  tooOld: Set<number>;
  /** UIDs that are not compared with an earlier epoch: they match nothing of it, or are to be judged anew. */
  unmatched: Set<number>;
  /** Messages in whose place lies a stranger's file, until the next reconciliation. */
  obstructed: Map<number, MailwatchdError>;
  /** How many suspects are left in each lane after an unclean end (docs/reliability.md). */
  suspects: Record<Lane, number>;
  /** The highest UID listed, and so counted as arrived: what lies above `scannedThrough` is asked for again and again. */
  arrivedThrough: number;
  /** When the folder was last looked at for new mail, all of which is stored or left aside since, ms. */
  caughtUpAt: number | null;
  /** The last comparison that missed nothing. */
  complete: Complete | null;
  /** From when on the server may be asked which message stands at a place, monotonic ms: not at once where that ended the connection. */
  placesFrom: number;
  /** After a storage error: one message, and only when that got through many. */
  cautious: boolean;
  /** The connection brought a message, or its FETCH was narrowed: the next try is another one, so it need not wait long. */
  progress: boolean;
}

export function emptyMemory(epochId: number | null, suspects: boolean): Memory {
  const count = suspects ? MAX_IN_FLIGHT : 0;
  return {
    epochId,
    rangeLimit: MAX_IN_FLIGHT,
    mostlySmall: true,
    ignoresPartial: false,
    failures: new Map(),
    unjudged: new Set(),
    unfetchable: new Map(),
    tooOld: new Set(),
    unmatched: new Set(),
    obstructed: new Map(),
    suspects: { arrivals: count, backfill: count },
    arrivedThrough: 0,
    caughtUpAt: null,
    complete: null,
    placesFrom: 0,
    cautious: false,
    progress: false,
  };
}

/** The mailbox's `expected / stored / missing`. */
export interface Tally {
  /** A reconciliation counted anew. */
  counted(expected: number, stored: number): void;
  /** So many more are to be stored. */
  arrived(count: number): void;
  /**
   * One is safe: published, quarantined, left out by a rule, or known from an earlier epoch. `delay`: how long it took,
   * ms; null where that says nothing of us.
   */
  stored(published: boolean, delay?: number | null): void;
  /** One need not be stored: gone from the server, or too old. */
  dropped(): void;
}

export interface Session {
  /** `account/folder`, for errors and logs. */
  where: string;
  connection: Connection;
  selected: Selected;
  epoch: Epoch;
  /** As `epoch.scannedThrough`, kept up to date here. */
  scannedThrough: number;
  memory: Memory;
  flight: Flight;
  tally: Tally;
  /** Called before each range: throws `GaveWay` where it is another folder's turn. */
  giveWay(lane: Lane): void;
  ledger: MailboxLedger;
  intake: Intake;
  filter: Filter | null;
  limits: { messageBytes: number };
  reconcileEvery: number;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}

/** Thrown where storage or ledger cannot take mail: the mailbox holds, the connection is not to blame. */
export class Held extends Error {
  readonly error: MailwatchdError;
  constructor(error: MailwatchdError) {
    super(error.message, { cause: error });
    this.error = error;
  }
}

/** Marks what ledger and intake reject with, to tell it from trouble with the server. */
export async function holding<Result>(result: Promise<Result>): Promise<Result> {
  try {
    return await result;
  } catch (error) {
    throw error instanceof Held ? error : new Held(toMailwatchdError(error, 'LEDGER_FAILED'));
  }
}

/**
 * Of these UIDs, ascending, those that the ledger has not; `retryUnfetchable`: or only as unfetchable. It is asked for
 * no more than lies between the first and the last: of a folder that mail leaves again it knows many more.
 */
export async function unhandled(
  { ledger, epoch, limits: { messageBytes } }: Session,
  uids: readonly number[],
  { retryUnfetchable }: { retryUnfetchable: boolean },
): Promise<number[]> {
  const [low, high] = [uids[0], uids.at(-1)];
  if (low === undefined || high === undefined) return [];
  return outside(
    uids,
    await holding(ledger.handled(epoch.id, low, high, { messageBytes, retryUnfetchable })),
  );
}

/** Reserves bytes of limits.inFlightBytes; a stop meanwhile throws `Stopped`. */
export async function reserve(
  session: Session,
  bytes: number,
  { alone = false, byFile = false } = {},
): Promise<() => void> {
  const { signal } = session;
  try {
    if (signal.aborted) throw new Stopped();
    return await session.intake.reserve(bytes, { alone, byFile, signal });
  } catch (error) {
    throw signal.aborted ? new Stopped() : new Held(toMailwatchdError(error, 'INTERNAL'));
  }
}

/**
 * From which INTERNALDATE on (ms) the messages below the epoch's `firstUidNext` are wanted; null: none of
 * them. In a later epoch these are the messages that the mailbox held when it was numbered anew.
 */
export function backfillSince({ start, changedAt, watchedSince }: Epoch): number | null {
  if (start.kind === 'all') return 0;
  if (changedAt === null) return start.kind === 'date' ? start.at : null;
  if (start.kind === 'new') return watchedSince;
  // A date means everything from the first opening on as well. At or after the change it is `adopt --skip`'s.
  return start.at >= changedAt ? start.at : Math.min(start.at, watchedSince);
}

/** The error of a message that is left where it is, with its name. */
export function messageError(
  session: Session,
  uid: number,
  code: 'MESSAGE_TOO_LARGE' | 'MESSAGE_UNFETCHABLE' | 'FETCH_INCOMPLETE' | 'DAEMON_KILLED',
  detail?: string,
): MailwatchdError {
  return new MailwatchdError(code, {
    where: `${session.where} UID ${uid}`,
    ...(detail !== undefined && { detail }),
  });
}
