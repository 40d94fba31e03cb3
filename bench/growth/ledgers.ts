/** What the ordinary operations of the spool cost on ledgers of any size. */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Epoch, Mailbox } from '../../src/model.ts';
import type { Observation } from '../../src/ports.ts';
import { diskFiles } from '../../src/spool/files.ts';
import type { Arrival } from '../../src/spool/handover.ts';
import { ledgerPath, openLedger } from '../../src/spool/ledger.ts';
import { messageIdentity } from '../../src/spool/names.ts';
import { listMessages } from '../../src/spool/reading.ts';
import { openService, type Service } from '../../src/spool/service.ts';
import type { StorageSettings } from '../../src/spool/storage.ts';
import type { BenchOptions, Result } from '../bench.ts';
import { median } from '../statistics.ts';
import { fillLedger } from './fill.ts';

const SIZES = [0, 100_000, 1_000_000, 10_000_000];
const MAILBOX: Mailbox = { account: 'ann', folder: 'INBOX' };
const LABEL = '1700000000';
/** As reconciliation asks (src/mailbox/windows.ts). */
const WINDOW = 50_000;
const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o2770;

export async function measureLedgers({ limit, tell }: BenchOptions): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-growth-'));
  const state = join(directory, 'state');
  const storage = join(directory, 'storage');
  for (const each of [state, storage]) mkdirSync(each);
  const rows: Result['rows'] = [];
  try {
    let filled = 0;
    for (const size of SIZES.filter((one) => one <= limit)) {
      if (size > 0) {
        tell(`a ledger of ${size} messages`);
        const ledger = openLedger(state);
        fillLedger(ledger, 1, LABEL, filled + 1, size);
        ledger.close();
      }
      const measured = measureService(state, storage, size);
      filled = measured.last;
      rows.push(measured.row);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  return { title: 'a ledger of so many settled messages: medians in ms, synced', rows };
}

function measureService(
  state: string,
  directory: string,
  size: number,
): { row: Result['rows'][0]; last: number } {
  const bytes = size === 0 ? 0 : statSync(ledgerPath(state)).size;
  const storage: StorageSettings = {
    directory,
    path: '{account}/{id}.json',
    attachments: 'files',
    source: 'none',
    fileMode: FILE_MODE,
    directoryMode: DIRECTORY_MODE,
  };
  const parts = { files: diskFiles, openLedger, now: () => Date.now() };
  const begun = performance.now();
  const service = openService({ stateDirectory: state, storage }, parts);
  const started = performance.now() - begun;
  const observation: Observation = {
    uidValidity: LABEL,
    uidNext: size + 1,
    at: Date.now(),
    start: { kind: 'all' },
  };
  const { epoch } = service.calls.openEpoch(MAILBOX, observation);
  let uid = Math.max(size, epoch.scannedThrough);
  let scannedThrough = uid;
  const low = Math.max(1, uid - WINDOW);
  const wanted = { messageBytes: 1e9, retryUnfetchable: true };
  const staged = (count: number) => () => Array.from({ length: count }, () => arrival(service, epoch, ++uid));
  const hand = (arrivals: Arrival[]) => service.batch(arrivals, []);
  const advance = () => {
    scannedThrough += 1;
    service.batch([], [{ kind: 'advance', epochId: epoch.id, scannedThrough }]);
  };
  const row = {
    messages: size,
    MB: Number((bytes / 1e6).toFixed(1)),
    'bytes a message': size === 0 ? null : Number((bytes / size).toFixed(1)),
    start: rounded(started),
    'open a mailbox': timed(50, () => service.calls.openEpoch(MAILBOX, { ...observation, uidNext: 0 })),
    'hand over 1': timed(200, hand, staged(1)),
    'hand over 256': timed(10, hand, staged(256)),
    advance: timed(50, advance),
    'a window of 50,000': timed(20, () => service.calls.handled(epoch.id, low, low + WINDOW - 1, wanted)),
    counts: timed(50, () => service.calls.counts(MAILBOX)),
    'list the last 50': timed(10, () => [...listMessages(state, { limit: 50 })]),
  };
  service.stop();
  return { row, last: uid };
}

/** The median of so many, ms; what `prepare` takes is not counted. */
function timed(times: number, work: () => unknown): number;
function timed<T>(times: number, work: (prepared: T) => unknown, prepare: () => T): number;
function timed<T>(times: number, work: (prepared?: T) => unknown, prepare?: () => T): number {
  const durations = Array.from({ length: times }, () => {
    const prepared = prepare?.();
    const begun = performance.now();
    work(prepared);
    return performance.now() - begun;
  });
  return rounded(median(durations));
}

const rounded = (milliseconds: number): number => Number(milliseconds.toFixed(3));

/** A message that a parser has staged. */
function arrival(service: Service, epoch: Epoch, uid: number): Arrival {
  const message = { uid, size: 1_000, internalDate: Date.now(), flags: [] };
  const identity = messageIdentity(epoch, message);
  const { directory } = service.run;
  const stem = `${identity.account}~${identity.id}.1`;
  writeFileSync(join(directory, `${stem}.json`), '{}\n', { flush: true });
  return {
    kind: 'document',
    item: {
      epochId: epoch.id,
      identity,
      declaredSize: message.size,
      after: false,
      target: {
        directory,
        stem,
        name: identity.id,
        attachments: 'files',
        source: 'none',
        writeThrough: true,
        fileMode: FILE_MODE,
        directoryMode: DIRECTORY_MODE,
      },
      staged: {
        messageId: `${uid}@example.org`,
        size: message.size,
        sha256: uid.toString(16).padStart(64, '0'),
        hasAttachments: false,
        hasSource: false,
        warnings: [],
      },
    },
  };
}
