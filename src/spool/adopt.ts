/** What the commands change in the ledger from a process of their own: pairing, decisions, requests to replay. */
import { type PlainError, plainError, toMailwatchdError } from '../errors.ts';
import type { Mailbox } from '../model.ts';
import { decideUnclear } from './epochs.ts';
import { diskFiles } from './files.ts';
import { type Ledger, openLedger } from './ledger.ts';
import { adoptPair, type PairingState, pairingState } from './pairing.ts';
import { quarantinedMessages, type Replay, requestFiltered, requestReplay } from './replays.ts';

function withLedger<T>(stateDirectory: string, work: (ledger: Ledger) => T): T {
  const ledger = openLedger(stateDirectory);
  try {
    return work(ledger);
  } finally {
    ledger.close();
  }
}

/** What `adopt` says before it asks. */
export interface PairingReport extends PairingState {
  paired: boolean;
  /** Messages that the ledger knows. */
  messages: number;
}

/** The ids of both sides (null: new) and what the ledger holds. STORAGE_MISSING, STORAGE_*, LEDGER_FAILED. */
export function inspectPairing(stateDirectory: string, storageDirectory: string): PairingReport {
  return withLedger(stateDirectory, (ledger) => {
    const state = pairingState(ledger, storageDirectory);
    const count = ledger.get<{ count: number }>(
      'SELECT (SELECT count(*) FROM message) + (SELECT coalesce(sum(count), 0) FROM block) AS count',
    );
    const paired = state.ledger !== null && state.ledger === state.storage;
    return { ...state, paired, messages: count?.count ?? 0 };
  });
}

/** Pairs the two anew. No daemon may be running: the caller holds the state directory's lock. */
export function adoptStorage(stateDirectory: string, storageDirectory: string): void {
  withLedger(stateDirectory, (ledger) => adoptPair(ledger, storageDirectory, diskFiles));
}

/** The operator's decision for a mailbox that holds with EPOCH_UNCLEAR; a running daemon looks again by itself. */
export function decideEpoch(stateDirectory: string, mailbox: Mailbox, decision: 'publish' | 'skip'): void {
  withLedger(stateDirectory, (ledger) => decideUnclear(ledger, mailbox, decision));
}

/** One line of the answer to a request: what was left for the daemon, or why not. */
export type Requested = { name: string; replay: Replay } | { name: string; error: PlainError };

/**
 * Leaves requests to replay, by id or `account/id`, or for all that is in quarantine. Each is
 * answered by itself. LEDGER_FAILED is thrown.
 */
export function requestReplays(
  stateDirectory: string,
  ids: string[] | 'quarantined',
  options: { again: boolean; now: number },
): Requested[] {
  return withLedger(stateDirectory, (ledger) =>
    (ids === 'quarantined' ? quarantinedMessages(ledger) : ids).map((name) => {
      try {
        return { name, replay: requestReplay(ledger, name, options.again, options.now) };
      } catch (error) {
        const known = toMailwatchdError(error, 'INTERNAL');
        if (known.code === 'LEDGER_FAILED' || known.code === 'INTERNAL') throw error;
        return { name, error: plainError(known) };
      }
    }),
  );
}

/** Leaves requests to judge anew what rules left out; how many wait. A daemon answers them. LEDGER_FAILED. */
export function requestJudging(stateDirectory: string, now: number): number {
  return withLedger(stateDirectory, (ledger) => requestFiltered(ledger, now));
}
