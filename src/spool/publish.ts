/** Publishing: staged files are renamed to their final places, a batch at a time, the JSON always last. */
import { dirname } from 'node:path';
import { MailwatchdError } from '../errors.ts';
import { errorCode, type Files, storageError } from './files.ts';

/** How often a consumer may tidy a directory away under our hands before we call it a fault. */
const MOST_TRIES = 20;

/** One rename. `done` once it has been seen to have happened. */
export interface Move {
  from: string;
  to: string;
  done: boolean;
}

/** One message between "staged" and its final place. All its moves lead into one directory. */
export interface Handoff {
  /** Attachments' directory, then the kept source or the quarantined message. */
  early: Move[];
  /** The JSON (or `.error`): once it is there, the message is the consumer's. */
  last: Move;
  /**
   * A former run began it: a source that is not in its directory has been moved. Within a run we know
   * what we moved, and a source that is not there was removed by somebody, as was a whole directory.
   */
  former: boolean;
  /** What stands at a final path is a stranger's and stays; in quarantine everything is ours. */
  exclusive: boolean;
  /** Removed once the message stands at its place: its quarantined form. */
  superseded: string[];
}

/** Makes target directories, each durable before anything is moved into it. */
export interface Directories {
  /** Makes the directory where it is missing, and its parents; each new name is synced. */
  ensure(directory: string): void;
  /** Somebody removed it or a parent: look again. */
  forget(directory: string): void;
}

/**
 * Directories below `root`, with exactly `mode` and `root`'s group. A directory is synced on its
 * first use in a run even where it exists: the run that made it may have died before it was.
 */
export function directoriesBelow(root: string, mode: number, gid: number, files: Files): Directories {
  const known = new Set<string>();
  const make = (directory: string) => {
    try {
      files.makeDirectory(directory, mode, gid);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
      // A symbolic link is refused as well: who may write here could lead us anywhere with it.
      const kind = files.kind(directory);
      if (kind !== null && kind !== 'directory') throw stranger(directory, 'a directory of the storage path');
    }
  };
  const settle = (directory: string) => {
    if (directory === root || known.has(directory)) return;
    settle(dirname(directory));
    make(directory);
    files.syncDirectory(directory);
    files.syncDirectory(dirname(directory));
    known.add(directory);
  };
  const forget = (directory: string) => {
    for (let at = directory; at !== root && at !== dirname(at); at = dirname(at)) known.delete(at);
  };
  return {
    forget,
    ensure: (directory) =>
      persist(
        () => settle(directory),
        () => forget(directory),
      ),
  };
}

/** Tries again where a directory vanished in between; the last failure is thrown. */
function persist(work: () => void, lookAgain: () => void): void {
  for (let tries = 1; ; tries++) {
    try {
      work();
      return;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT' || tries >= MOST_TRIES) throw error;
      lookAgain();
    }
  }
}

/** What failed of a batch, and why. */
export type Failed = Map<Handoff, MailwatchdError>;

/**
 * Moves a batch to its final places. Returns what failed and why (FILE_EXISTS, STAGED_MISSING, STORAGE_*); the rest
 * stands at its place, durably after `makeDurable`. Each move that happened is marked, so that a second call goes on
 * where the first one stopped.
 */
export function moveToPlace(handoffs: readonly Handoff[], files: Files, directories: Directories): Failed {
  const { failed, going, each, syncTargets } = steps(handoffs, files, directories);
  each((handoff) => inspect(handoff, files));
  each((handoff) => directories.ensure(dirname(handoff.last.to)));
  each((handoff) => {
    for (const step of handoff.early) move(step, files, directories);
  });
  syncTargets(going().filter(({ early, last }) => early.length > 0 && !last.done));
  each((handoff) => demandEarly(handoff, files));
  each((handoff) => move(handoff.last, files, directories));
  return failed;
}

/**
 * Makes what was moved durable, by one sync a directory unless all of the file system was `synced` since. Returns what
 * failed and why (STORAGE_*). What a message supersedes is removed only now.
 */
export function makeDurable(
  handoffs: readonly Handoff[],
  files: Files,
  directories: Directories,
  synced: boolean,
): Failed {
  const { failed, going, each, syncEach, syncTargets } = steps(handoffs, files, directories);
  if (!synced) syncTargets(going());
  each((handoff) => {
    for (const path of handoff.superseded) files.remove(path);
  });
  // Once "published" is committed nobody looks for them again.
  const replaced = going().filter(({ superseded }) => superseded.length > 0);
  syncEach(replaced, ({ superseded }) => superseded[0] as string);
  return failed;
}

/** One step after the other for a batch; what fails in one is left out of the next. */
function steps(handoffs: readonly Handoff[], files: Files, directories: Directories) {
  const failed: Failed = new Map();
  const going = () => handoffs.filter((handoff) => !failed.has(handoff));
  const each = (step: (handoff: Handoff) => void) => {
    for (const handoff of going()) {
      try {
        step(handoff);
      } catch (error) {
        failed.set(handoff, storageError(error, handoff.last.to));
      }
    }
  };
  const syncEach = (some: readonly Handoff[], changed: (handoff: Handoff) => string) => {
    for (const [directory, group] of Map.groupBy(some, (handoff) => dirname(changed(handoff)))) {
      try {
        files.syncDirectory(directory);
      } catch (error) {
        directories.forget(directory);
        // It was taken away with all that is in it. Whether that was ours to lose is asked below.
        if (errorCode(error) === 'ENOENT') continue;
        for (const handoff of group) failed.set(handoff, storageError(error, directory));
      }
    }
  };
  const syncTargets = (moved: readonly Handoff[]) => syncEach(moved, ({ last }) => last.to);
  return { failed, going, each, syncEach, syncTargets };
}

/** Finds out what is still to be moved, and refuses before the first move where a stranger is in the way. */
function inspect(handoff: Handoff, files: Files): void {
  for (const step of [...handoff.early, handoff.last]) {
    if (step.done) continue;
    if (files.kind(step.from) === null) {
      if (!handoff.former || isGone(dirname(step.from), files)) throw missing(step.from);
      step.done = true;
    } else if (handoff.exclusive && files.kind(step.to) !== null) {
      throw stranger(step.to, 'a document');
    }
  }
}

/** A JSON must not appear without what it points to: its directory may have been moved away since. */
function demandEarly(handoff: Handoff, files: Files): void {
  if (handoff.last.done) return;
  for (const step of handoff.early) if (files.kind(step.to) === null) throw missing(step.to);
}

/** ENOENT of a rename means a missing source or a missing target directory: look, do not guess. */
function move(step: Move, files: Files, directories: Directories): void {
  if (step.done) return;
  persist(
    () => files.rename(step.from, step.to),
    () => {
      if (files.kind(step.from) === null) throw missing(step.from);
      directories.forget(dirname(step.to));
      directories.ensure(dirname(step.to));
    },
  );
  step.done = true;
}

/**
 * Takes back the early moves of a message that cannot be published, so that nothing of it is left in
 * the consumer's tree. The caller takes "staged" back after this and removes the staged files last:
 * at each moment a crash leaves either a message that can be settled or one that is unknown.
 */
export function takeBack(handoff: Handoff, files: Files): void {
  for (const step of handoff.early.toReversed()) {
    if (!step.done || files.kind(step.from) !== null || files.kind(step.to) === null) continue;
    if (isGone(dirname(step.from), files)) files.remove(step.to);
    else files.rename(step.to, step.from);
    // One of its two directories makes a rename durable.
    files.syncDirectory(dirname(step.to));
    step.done = false;
  }
}

const isGone = (directory: string, files: Files): boolean => files.kind(directory) === null;

function missing(path: string): MailwatchdError {
  return new MailwatchdError('STAGED_MISSING', { where: path });
}

function stranger(path: string, what: string): MailwatchdError {
  return new MailwatchdError('FILE_EXISTS', {
    where: path,
    detail: `a file that is not ours stands where ${what} belongs`,
    remedy: 'move it away',
  });
}
