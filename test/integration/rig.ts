/** A place for a whole daemon in this process: embedded IMAP server, temporary directories, its configuration. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret } from '../../src/config/secrets.ts';
import type { AccountConfig, Config } from '../../src/config/types.ts';
import type { Log, LogFields } from '../../src/logging.ts';
import type { MessageDocument } from '../../src/message/document.ts';

export interface Rig extends Disposable {
  directory: string;
  config: Config;
  /** The published documents, by path below the storage directory. */
  documents(): Map<string, MessageDocument>;
  /** What lies in a directory of ours, below the storage directory. */
  files(name: '.staging' | '.quarantine'): string[];
}

export const USER = 'ann';
export const PASSWORD = 'open sesame';

/** `port` is the server's; the accounts differ from one INBOX as `accounts` says. */
export async function makeRig(port: number, accounts: Partial<AccountConfig>[] = [{}]): Promise<Rig> {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-rig-'));
  const [storage, state] = ['storage', 'state'].map((name) => join(directory, name)) as [string, string];
  await Promise.all([storage, state].map((path) => mkdir(path)));
  const below = (name: string) =>
    readdirSync(join(storage, name), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(storage.length + 1))
      .toSorted();
  return {
    directory,
    config: {
      accounts: accounts.map((changes) => ({
        name: 'support',
        host: '127.0.0.1',
        port,
        security: 'none',
        provider: null,
        ca: null,
        user: USER,
        auth: { password: { plain: new Secret(PASSWORD) } },
        folders: ['INBOX'],
        start: { kind: 'all' },
        filter: null,
        after: { seen: false, move: null, delete: false },
        authservIds: [],
        canary: null,
        pollEvery: 60_000,
        idleRenewEvery: 300_000,
        maxConnections: null,
        ...changes,
      })),
      storage: {
        directory: storage,
        path: '{account}/{id}.json',
        attachments: 'files',
        source: 'none',
        fileMode: 0o640,
        directoryMode: 0o2770,
      },
      state: { directory: state },
      log: {
        directory: null,
        level: 'info',
        format: 'text',
        console: false,
        maxSize: 1 << 20,
        keep: 86_400_000,
      },
      limits: {
        messageBytes: 1 << 26,
        parseSeconds: 30,
        parseMemoryMb: 512,
        inFlightBytes: 1 << 26,
        operationSeconds: 60,
        connectionsPerAccount: 8,
        connectsPerSecond: 1000,
      },
      reconcileEvery: 900_000,
      parsers: 1,
    },
    documents: () =>
      new Map(
        below('.')
          .filter((path) => path.endsWith('.json') && !path.startsWith('.'))
          .map((path) => [path, JSON.parse(readFileSync(join(storage, path), 'utf8')) as MessageDocument]),
      ),
    files: below,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** A log that keeps its events, and resolves who waits for one. */
export function listeningLog(): Log & { events: string[]; heard(event: string): Promise<LogFields> } {
  const events: string[] = [];
  const waiting: { event: string; resolve(fields: LogFields): void }[] = [];
  const past: { event: string; fields: LogFields }[] = [];
  const tell = (event: string, fields: LogFields = {}) => {
    events.push(event);
    past.push({ event, fields });
    for (const waiter of waiting.splice(0)) {
      if (waiter.event === event) waiter.resolve(fields);
      else waiting.push(waiter);
    }
  };
  const log: Log = { debug: () => undefined, info: tell, warn: tell, error: tell, child: () => log };
  return {
    ...log,
    events,
    /** The next event of this name, one that was not asked for yet included. */
    heard(event) {
      const at = past.findIndex((each) => each.event === event);
      const [found] = at < 0 ? [] : past.splice(at, 1);
      if (found !== undefined) return Promise.resolve(found.fields);
      return new Promise((resolve) => {
        waiting.push({
          event,
          resolve: (fields) => {
            past.pop();
            resolve(fields);
          },
        });
      });
    },
  };
}
