/** Brings rows that are "staged" to their end: after a crash, and after a publishing that failed. */
import { MailwatchdError } from '../errors.ts';
import { onStorage } from './files.ts';
import type { Ledger } from './ledger.ts';
import { knownMessage, recordSettled, recordWithdrawn, type StagedRow, stagedRows } from './messages.ts';
import { messageId, quarantinePath } from './names.ts';
import {
  type Directories,
  type Failed,
  type Handoff,
  makeDurable,
  moveToPlace,
  takeBack,
} from './publish.ts';
import type { Storage } from './storage.ts';

/** A row and the moves that bring its files to their place. */
export interface Pending {
  row: StagedRow;
  handoff: Handoff;
  account: string;
}

/** What became of a batch of pending messages. */
export interface Moved {
  /** At their place; durable, and to be marked "published", after `conclude`. */
  moved: Pending[];
  /** Taken back for good: unknown again, nothing of them left (FILE_EXISTS, STAGED_MISSING). */
  withdrawn: Map<Pending, MailwatchdError>;
  /** Still staged: to be tried again (STORAGE_*, LEDGER_FAILED). */
  stuck: Map<Pending, MailwatchdError>;
}

/** The moves of a staged row. `supersedes` names the message whose quarantined form it replaces. */
export function pendingOf(
  storage: Storage,
  row: StagedRow,
  owner: { account: string; former: boolean; supersedes: string | null },
): Pending {
  const { account, former } = owner;
  const stem = `${storage.runDirectory(row.run)}/${row.stem}`;
  const step = (from: string, to: string) => ({ from: stem + from, to: storage.at(to), done: false });
  if (row.kind === 'quarantine') {
    const early = [step('.eml', `${row.path}.eml`)];
    const last = step('.error', `${row.path}.error`);
    return { row, account, handoff: { early, last, former, exclusive: false, superseded: [] } };
  }
  const target = row.path.replace(/\.json$/, '');
  const early = [];
  if (row.hasAttachments) early.push(step('', target));
  if (row.hasSource) early.push(step('.eml', `${target}.eml`));
  const quarantined =
    owner.supersedes === null ? null : storage.at(quarantinePath(account, owner.supersedes));
  const superseded = quarantined === null ? [] : [`${quarantined}.error`, `${quarantined}.eml`];
  return {
    row,
    account,
    handoff: { early, last: step('.json', row.path), former, exclusive: true, superseded },
  };
}

/** Publishes what is pending, and takes back what cannot be: moves first, then the row, then the staged files. */
export function settle(pending: readonly Pending[], ledger: Ledger, storage: Storage): Moved {
  const failed = byKind(pending, storage, (handoffs, directories) =>
    moveToPlace(handoffs, storage.files, directories),
  );
  const result: Moved = {
    moved: pending.filter((item) => !failed.has(item)),
    withdrawn: new Map(),
    stuck: new Map(),
  };
  for (const [item, error] of failed) {
    if (error.code === 'FILE_EXISTS' || error.code === 'STAGED_MISSING') withdraw(item, error);
    else result.stuck.set(item, error);
  }
  return result;

  function withdraw(item: Pending, error: MailwatchdError): void {
    try {
      onStorage(item.handoff.last.to, () => takeBack(item.handoff, storage.files));
      ledger.transaction(() => recordWithdrawn(ledger, item.row));
      onStorage(item.handoff.last.from, () => removeStaged(storage, item.row));
      result.withdrawn.set(item, error);
    } catch (failure) {
      if (!(failure instanceof MailwatchdError)) throw failure;
      result.stuck.set(item, failure);
    }
  }
}

/**
 * Makes durable what was moved, where all of the file system was not `synced` since. Returns what failed (STORAGE_*) and
 * is still staged. Does not commit "published": the caller's next transaction does.
 */
export function conclude(
  moved: readonly Pending[],
  storage: Storage,
  { synced }: { synced: boolean },
): Map<Pending, MailwatchdError> {
  return byKind(moved, storage, (handoffs, directories) =>
    makeDurable(handoffs, storage.files, directories, synced),
  );
}

/** Documents and quarantine lie in directories of different modes. */
function byKind(
  pending: readonly Pending[],
  storage: Storage,
  step: (handoffs: Handoff[], directories: Directories) => Failed,
): Map<Pending, MailwatchdError> {
  const failed = new Map<Pending, MailwatchdError>();
  for (const [directories, group] of [
    [storage.published, pending.filter(({ row }) => row.kind === 'document')],
    [storage.quarantined, pending.filter(({ row }) => row.kind === 'quarantine')],
  ] as const) {
    const failures = step(
      group.map(({ handoff }) => handoff),
      directories,
    );
    for (const item of group) {
      const error = failures.get(item.handoff);
      if (error !== undefined) failed.set(item, error);
    }
  }
  return failed;
}

/** Removes a message's staged files. Only ever after no row names them, or before one did. */
export function removeStaged(storage: Storage, staged: { run: string; stem: string }): void {
  const stem = `${storage.runDirectory(staged.run)}/${staged.stem}`;
  for (const ending of ['.json', '.error', '.eml', '']) storage.files.remove(stem + ending);
}

/**
 * Settles what former runs left, in UID order. A run directory that is gone was removed by somebody:
 * its messages become unknown and are fetched again. Returns what is still stuck.
 */
export function settleFormer(ledger: Ledger, storage: Storage, now: number): Map<Pending, MailwatchdError> {
  const pending = stagedRows(ledger).map((row) =>
    pendingOf(storage, row, { ...ownerOf(ledger, row), former: true }),
  );
  const { moved, stuck } = settle(pending, ledger, storage);
  const failed = conclude(moved, storage, { synced: false });
  ledger.transaction(() => {
    for (const item of moved) if (!failed.has(item)) recordSettled(ledger, item.row, now);
  });
  return new Map([...stuck, ...failed]);
}

function ownerOf(ledger: Ledger, row: StagedRow): { account: string; supersedes: string | null } {
  const owner = ledger.get<{ account: string; folder: string; label: string }>(
    'SELECT account, folder, label FROM epoch WHERE id = ?',
    row.epoch,
  );
  if (owner === undefined) throw new MailwatchdError('INTERNAL', { detail: `no epoch ${row.epoch}` });
  const quarantined = knownMessage(ledger, row)?.state === 'quarantined';
  return {
    account: owner.account,
    supersedes: quarantined ? messageId(owner.folder, owner.label, row.uid) : null,
  };
}

/** Removes the directories of runs that no row names, with whatever was staged in them without a row. */
export function sweepRuns(ledger: Ledger, storage: Storage, current: string | null): void {
  const named = new Set(stagedRows(ledger).map((row) => row.run));
  for (const run of storage.runs()) if (run !== current && !named.has(run)) storage.removeRun(run);
}
