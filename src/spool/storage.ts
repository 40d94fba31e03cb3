/** The storage directory as the spool uses it: settings, our hidden directories, and this start's run directory. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { FileSystem } from './file-system.ts';
import { demandDirectory, type Files, onStorage } from './files.ts';
import { QUARANTINE, STAGING } from './names.ts';
import { type Directories, directoriesBelow } from './publish.ts';

/** `storage` of the configuration. */
export interface StorageSettings {
  directory: string;
  /** Template of the JSON's path below `directory`; holds {account}, ends in {id}.json. */
  path: string;
  attachments: 'files' | 'none';
  source: 'none' | 'keep';
  fileMode: number;
  directoryMode: number;
}

/** What begins with a dot is ours alone; setgid hands the storage directory's group on to what is staged. */
const PRIVATE_MODE = 0o2700;

/** Only directories of this form are runs of ours; whatever else lies in `.staging` is left alone. */
const RUN = /^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$/;

export interface Storage {
  settings: StorageSettings;
  files: Files;
  /** Syncs a whole batch at once; null where each file is synced by itself. */
  fileSystem: FileSystem | null;
  /** Target directories of documents. */
  published: Directories;
  /** Target directories in quarantine. */
  quarantined: Directories;
  /** A path below the storage directory, absolute. */
  at(path: string): string;
  runDirectory(run: string): string;
  /** Makes a run's directory where it is missing. */
  makeRun(run: string): void;
  /** The runs whose directory exists. */
  runs(): string[];
  removeRun(run: string): void;
}

/** STORAGE_MISSING unless the storage directory is there; makes `.staging` and `.quarantine` in it. */
export function openStorage(settings: StorageSettings, files: Files): Storage {
  const root = settings.directory;
  demandDirectory(root, 'storage directory');
  const gid = onStorage(root, () => statSync(root).gid);
  const at = (path: string) => join(root, path);
  const staging = directoriesBelow(root, PRIVATE_MODE, gid, files);
  const quarantined = directoriesBelow(root, PRIVATE_MODE, gid, files);
  onStorage(at(STAGING), () => staging.ensure(at(STAGING)));
  onStorage(at(QUARANTINE), () => quarantined.ensure(at(QUARANTINE)));
  return {
    settings,
    files,
    fileSystem: onStorage(root, () => files.openFileSystem(root)),
    published: directoriesBelow(root, settings.directoryMode, gid, files),
    quarantined,
    at,
    runDirectory: (run) => runDirectory(root, run),
    makeRun(run) {
      const directory = runDirectory(root, run);
      staging.forget(directory);
      onStorage(directory, () => staging.ensure(directory));
    },
    runs: () => onStorage(at(STAGING), () => files.list(at(STAGING)).filter((name) => RUN.test(name))),
    removeRun(run) {
      // Not synced: no row names it, so one that a power cut brings back is swept by the next start.
      onStorage(runDirectory(root, run), () => files.remove(runDirectory(root, run)));
    },
  };
}

/** Where a run's parsers stage, below the storage directory. */
export const runDirectory = (root: string, run: string): string => join(root, STAGING, run);

/** A new run's name: when it began and 8 hex digits, so that no two starts share one. */
export function newRun(now: number): string {
  const time = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '');
  return basename(`${time}-${randomBytes(4).toString('hex')}`);
}
