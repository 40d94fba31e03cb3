/** A spool of real files and a real ledger in a temporary directory, whose file operations and commits can be watched and stopped. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { onTestFinished } from 'vitest';
import type { MailwatchdError } from '../../src/errors.ts';
import type { Epoch, LeftOut, Mailbox, MessageMetadata, StageTarget, UidRanges } from '../../src/model.ts';
import type { Observation } from '../../src/ports.ts';
import type { FileSystem } from '../../src/spool/file-system.ts';
import { diskFiles, type Files } from '../../src/spool/files.ts';
import type { AcceptItem, Arrival } from '../../src/spool/handover.ts';
import { openLedger } from '../../src/spool/ledger.ts';
import { messageIdentity, stagedStem } from '../../src/spool/names.ts';
import { openService, type Parts, type Riding, type Service } from '../../src/spool/service.ts';
import type { StorageSettings } from '../../src/spool/storage.ts';

export const INBOX: Mailbox = { account: 'support', folder: 'INBOX' };

/** 2026-11-20T10:00:02Z. */
export const MORNING = Date.UTC(2026, 10, 20, 10, 0, 2);

export interface Place {
  root: string;
  state: string;
  storage: string;
  settings: StorageSettings;
}

/** Empty state and storage directories, removed after the test. */
export function makePlace(settings: Partial<StorageSettings> = {}): Place {
  const root = mkdtempSync(join(tmpdir(), 'mailwatchd-spool-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const state = join(root, 'state');
  const storage = join(root, 'storage');
  mkdirSync(state);
  mkdirSync(storage);
  return {
    root,
    state,
    storage,
    settings: {
      directory: storage,
      path: '{account}/{yyyy}/{mm}/{dd}/{id}.json',
      attachments: 'files',
      source: 'keep',
      fileMode: 0o640,
      directoryMode: 0o2770,
      ...settings,
    },
  };
}

/** Opens the service; stopped by the test itself, or left behind as a crash would. */
export function open(place: Place, change: Partial<Parts> = {}): Service {
  const parts = { files: diskFiles, openLedger, now: () => MORNING, ...change };
  return openService({ stateDirectory: place.state, storage: place.settings }, parts);
}

export function observation(change: Partial<Observation> = {}): Observation {
  return { uidValidity: '1700000000', uidNext: 1, at: MORNING, start: { kind: 'all' }, ...change };
}

export function metadata(uid: number, change: Partial<MessageMetadata> = {}): MessageMetadata {
  return {
    uid,
    size: 100 + uid,
    internalDate: MORNING,
    flags: ['\\Seen'],
    messageId: `m${uid}@example.org`,
    ...change,
  };
}

export function hashOf(uid: number): string {
  return uid.toString(16).padStart(64, '0');
}

let stems = 0;

/** What a parser would be given. */
export function targetFor(
  place: Place,
  service: Service,
  epoch: Epoch,
  uid: number,
  name?: string,
): StageTarget {
  const identity = messageIdentity(epoch, metadata(uid));
  stems += 1;
  const { attachments, source, fileMode, directoryMode } = place.settings;
  return {
    directory: service.run.directory,
    writeThrough: true,
    stem: stagedStem(identity.account, name ?? identity.id, stems),
    name: name ?? identity.id,
    attachments,
    source,
    fileMode,
    directoryMode,
  };
}

export interface Content {
  attachments?: boolean;
  source?: boolean;
  name?: string;
  /** Synced with its batch. */
  withBatch?: boolean;
  change?: Partial<AcceptItem>;
  metadata?: Partial<MessageMetadata>;
}

/** Stages a message as a parser would and returns what `hand` takes. */
export function staged(
  place: Place,
  service: Service,
  epoch: Epoch,
  uid: number,
  parts: Content = {},
): Arrival {
  const writeThrough = !parts.withBatch;
  const target = { ...targetFor(place, service, epoch, uid, parts.name), writeThrough };
  const message = metadata(uid, parts.metadata);
  const base = join(target.directory, target.stem);
  if (parts.attachments) {
    mkdirSync(base);
    writeFileSync(join(base, '1-a.txt'), `attachment of ${uid}`);
  }
  if (parts.source) writeFileSync(`${base}.eml`, `source of ${uid}`);
  writeFileSync(`${base}.json`, `{"uid":${uid}}\n`);
  return {
    kind: 'document',
    item: {
      epochId: epoch.id,
      identity: messageIdentity(epoch, message),
      target,
      declaredSize: message.size,
      after: false,
      staged: {
        messageId: message.messageId ?? null,
        size: message.size,
        sha256: hashOf(uid),
        hasAttachments: parts.attachments ?? false,
        hasSource: parts.source ?? false,
        warnings: [],
      },
      ...parts.change,
    },
  };
}

/** A message on its way to quarantine. */
export function poison(epoch: Epoch, uid: number, change: Record<string, unknown> = {}): Arrival {
  return {
    kind: 'quarantine',
    item: {
      epochId: epoch.id,
      identity: messageIdentity(epoch, metadata(uid)),
      size: 100 + uid,
      sha256: hashOf(uid),
      messageId: `m${uid}@example.org`,
      source: Buffer.from(`source of ${uid}`),
      complete: true,
      error: { code: 'PARSE_TIMED_OUT', detail: 'took 31 s' },
      attempts: 3,
      ...change,
    },
  };
}

/** A message that a rule leaves out by its header. */
export function leftOut(epoch: Epoch, uid: number, change: Partial<LeftOut> = {}): Riding {
  const left = { rule: 'newsletters', messageId: `m${uid}@example.org`, size: null, sha256: null, ...change };
  const identity = messageIdentity(epoch, metadata(uid));
  return { kind: 'filtered', item: { epochId: epoch.id, identity, declaredSize: 100 + uid, left } };
}

/** The codes of a batch's answers, null where all went well. */
export function hand(service: Service, ...arrivals: Arrival[]): (string | null)[] {
  return service.batch(arrivals, []).answers.map((error) => error?.code ?? null);
}

/** The UIDs of ranges, one by one. */
export function uidsIn(ranges: UidRanges): number[] {
  const uids: number[] = [];
  for (let range = 0; range < ranges.length; range += 2) {
    for (let uid = ranges[range]!; uid <= ranges[range + 1]!; uid++) uids.push(uid);
  }
  return uids;
}

/** Every file and empty directory below a directory, sorted, with the files' content. */
export function tree(directory: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) found[relative(directory, path)] = readFileSync(path, 'utf8');
  }
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What lies in `.staging`. */
export function staging(place: Place): string[] {
  return readdirSync(join(place.storage, '.staging'));
}

/** Calls `before` with each file operation and each commit; it may throw. `after` sees what was done. */
export function watched(
  before: (step: Step) => void,
  after: (step: Step) => void = () => undefined,
  real: Files = diskFiles,
): Pick<Parts, 'files' | 'openLedger'> {
  const watchedFileSystem = (fileSystem: FileSystem | null): FileSystem | null =>
    fileSystem && {
      sync() {
        before({ name: 'syncFileSystem', paths: [] });
        fileSystem.sync();
        after({ name: 'syncFileSystem', paths: [] });
      },
    };
  const files = Object.entries(real).map(([name, operation]) => [
    name,
    (...paths: string[]) => {
      before({ name, paths });
      const result = (operation as (...args: unknown[]) => unknown)(...paths);
      after({ name, paths });
      return name === 'openFileSystem' ? watchedFileSystem(result as FileSystem | null) : result;
    },
  ]);
  return {
    files: Object.fromEntries(files) as Files,
    openLedger(directory) {
      const ledger = openLedger(directory);
      if (real === unsyncedFiles) ledger.get('PRAGMA synchronous = OFF');
      return {
        ...ledger,
        transaction(work) {
          before({ name: 'commit', paths: [] });
          const result = ledger.transaction(work);
          after({ name: 'commit', paths: [] });
          return result;
        },
      };
    },
  };
}

/** For tests that crash processes, not machines: a sync is only looked up, and the ledger spares its own. */
export const unsyncedFiles: Files = {
  ...diskFiles,
  syncDirectory: (path) => void statSync(path),
  syncFile: (path) => void statSync(path),
  openFileSystem: () => ({ sync: () => undefined }),
};

/** A file operation, or a commit. */
export interface Step {
  name: string;
  paths: string[];
}

/** A system error as Node throws it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}

/** The code of what `work` throws. */
export function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return (error as MailwatchdError).code;
  }
  return 'nothing thrown';
}
