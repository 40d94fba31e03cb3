/** What a start makes of a disk after a power cut, and whether that is what is promised. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { outside } from '../../../src/mailbox/ranges.ts';
import type { StorageSettings } from '../../../src/spool/storage.ts';
import { type Document, readDocument } from '../../dovecot/documents.ts';
import { createWorkplace, PROGRAM } from '../../dovecot/workplace.ts';
import { publishedFiles } from '../../servers/published.ts';
import type { Fault } from '../attack.ts';
import type { Tree } from './disk.ts';
import { ACCOUNT, configure, idOf, type Sent, type Setting, startServer } from './mailbox.ts';
import { writeTree } from './recording.ts';

/** A disk, and what the world around it remembers. */
export interface Aftermath {
  tree: Tree;
  setting: Setting;
  messages: readonly Sent[];
  /** UIDs that must become documents: the others had not been asked for yet. */
  owed: ReadonlySet<number>;
  /** UIDs that the server has no more. */
  expunged: ReadonlySet<number>;
  /** What the consumer took, below the storage directory. */
  taken: ReadonlyMap<string, Taken>;
  /** What lies where the state that no start relies on was: nothing, or rubbish. */
  rubbish: boolean;
}

/**
 * `durably`: its directory had been synced. `early`: it had not, and the document may come again. `in-vain`:
 * what the consumer removed is there again, of which it has not synced anything either.
 */
export type Taken = 'durably' | 'early' | 'in-vain';

export type Finding = Pick<Fault, 'kind' | 'what'>;

/** What the program leaves in places that nothing is read from. */
const RUBBISH = ['heartbeat', 'status.json', 'mailboxes', 'ledger.db-shm'];

/** The defaults of the configuration. */
const FILE_MODE = 0o640;
const DIRECTORY_MODE = 0o2770;

const UIDVALIDITY = '1700000000';

function makeDisk(directory: string, { tree, rubbish }: Aftermath): void {
  writeTree(directory, tree);
  if (rubbish)
    for (const name of RUBBISH) writeFileSync(join(directory, 'state', name), Buffer.alloc(32_768, 0xa5));
}

/** The document's path below the storage directory. */
function pathOf({ uid, receivedAt }: Sent): string {
  return `${ACCOUNT}/${receivedAt.toISOString().slice(0, 10).replaceAll('-', '/')}/${idOf(uid)}.json`;
}

/** All that a consumer finds: documents by path, and what is not as it must be. */
function readStorage(
  storage: string,
  { messages, taken }: Aftermath,
  findings: Finding[],
): Map<string, Document> {
  const documents = new Map<string, Document>();
  for (const file of publishedFiles(storage)) {
    const path = file.slice(storage.length + 1);
    if (taken.get(path) === 'in-vain') continue;
    try {
      const document = readDocument(file);
      documents.set(path, document);
      const sent = messages.find(({ uid }) => uid === document.uid);
      if (document.sha256 !== sent?.sha256) findings.push({ kind: 'lost', what: `${path} has other bytes` });
      if (taken.get(path) === 'durably') findings.push({ kind: 'doubled', what: `${path} came again` });
    } catch (error) {
      // The consumer had it, and some of what it then removed is gone for good.
      if (taken.get(path) === 'early') continue;
      findings.push({ kind: 'lost', what: `${path} is not whole: ${error}` });
    }
  }
  return documents;
}

/** In quarantine, with the bytes that were sent, or their beginning, and the reason. */
function inQuarantine(storage: string, { uid, raw }: Sent): boolean {
  const stem = join(storage, '.quarantine', ACCOUNT, idOf(uid));
  try {
    const { id } = JSON.parse(readFileSync(`${stem}.error`, 'utf8')) as { id: string };
    const kept = readFileSync(`${stem}.eml`);
    return id === idOf(uid) && kept.length > 0 && raw.subarray(0, kept.length).equals(kept);
  } catch {
    return false;
  }
}

const namesIn = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);

/** What remains once the storage is settled and quiet. */
function readRemains(
  storage: string,
  { messages }: Aftermath,
  documents: Map<string, Document>,
  findings: Finding[],
): void {
  const wrong = (what: string) => findings.push({ kind: 'other', what });
  for (const name of namesIn(join(storage, '.staging'))) wrong(`.staging/${name} is left`);
  for (const name of namesIn(join(storage, '.quarantine', ACCOUNT))) {
    const sent = messages.find(({ uid }) => name.startsWith(`${idOf(uid)}.`));
    const published = [...documents.values()].some(({ uid }) => uid === sent?.uid);
    if (sent === undefined || !inQuarantine(storage, sent) || published) wrong(`.quarantine/${name} is left`);
  }
  for (const entry of readdirSync(storage, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(storage.length + 1);
    const mode = statSync(join(storage, path)).mode & 0o7777;
    if (!path.startsWith('.') && mode !== (entry.isDirectory() ? DIRECTORY_MODE : FILE_MODE))
      wrong(`${path} has the mode ${mode.toString(8)}`);
  }
}

/** The built program's spool, in this process: thousands of disks can be tried. */
export interface Settler extends Disposable {
  /** What is wrong with what it makes of the disk, or would be once mail is fetched. */
  settle(aftermath: Aftermath): Finding[];
}

/** What the program was built from lies beside it: the build is one file. */
const spoolModule = <Module>(name: string): Promise<Module> =>
  import(pathToFileURL(join(dirname(dirname(PROGRAM)), 'src/spool', `${name}.ts`)).href) as Promise<Module>;

export async function openSettler(directory: string): Promise<Settler> {
  const { openService } = await spoolModule<typeof import('../../../src/spool/service.ts')>('service');
  const { diskFiles: files } = await spoolModule<typeof import('../../../src/spool/files.ts')>('files');
  const { openLedger } = await spoolModule<typeof import('../../../src/spool/ledger.ts')>('ledger');
  const storage = join(directory, 'storage');
  const parts = { files, openLedger, now: () => Date.now() };
  const settings: StorageSettings = {
    directory: storage,
    path: '{account}/{yyyy}/{mm}/{dd}/{id}.json',
    attachments: 'files',
    source: 'keep',
    fileMode: FILE_MODE,
    directoryMode: DIRECTORY_MODE,
  };

  /** The UIDs that would be fetched again. */
  function wanted({ setting, messages }: Aftermath): Set<number> {
    const service = openService({ stateDirectory: join(directory, 'state'), storage: settings }, parts);
    try {
      const uidNext = messages.length + 1;
      const observation = {
        uidValidity: UIDVALIDITY,
        uidNext,
        at: Date.now(),
        start: { kind: setting.start },
      };
      const { epoch } = service.calls.openEpoch({ account: ACCOUNT, folder: 'INBOX' }, observation);
      const { messageBytes } = setting;
      const handled = service.calls.handled(epoch.id, 1, uidNext, { messageBytes, retryUnfetchable: true });
      const uids = messages.map(({ uid }) => uid).sort((a, b) => a - b);
      const unhandled = outside(uids, handled);
      return new Set(unhandled.filter((uid) => epoch.start.kind !== 'new' || uid >= epoch.firstUidNext));
    } finally {
      service.stop();
    }
  }

  return {
    settle(aftermath) {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory);
      makeDisk(directory, aftermath);
      const findings: Finding[] = [];
      // What a consumer finds before anything is settled.
      readStorage(storage, aftermath, findings);
      let unhandled: Set<number>;
      try {
        unhandled = wanted(aftermath);
      } catch (error) {
        return [...findings, { kind: 'crash', what: String(error) }];
      }
      const documents = readStorage(storage, aftermath, findings);
      readRemains(storage, aftermath, documents, findings);
      for (const sent of aftermath.messages) {
        const path = pathOf(sent);
        const taken = aftermath.taken.get(path);
        const there = documents.has(path) || taken !== undefined || inQuarantine(storage, sent);
        const fetched = unhandled.has(sent.uid) && !aftermath.expunged.has(sent.uid);
        if (!there && !fetched && aftermath.owed.has(sent.uid))
          findings.push({ kind: 'lost', what: `${path} is nowhere, and will not be fetched` });
        if (!fetched) continue;
        if (taken === 'durably') findings.push({ kind: 'doubled', what: `${path} would come again` });
        for (const each of [path, path.replace(/\.json$/, ''), path.replace(/json$/, 'eml')]) {
          if (existsSync(join(storage, each))) findings.push({ kind: 'hang', what: `${each} is in the way` });
        }
      }
      return findings;
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** The whole program, as a process at a server that still has the mail: catches up once. */
export async function startAfter(aftermath: Aftermath): Promise<Finding[]> {
  const { messages, expunged, owed, taken, setting } = aftermath;
  await using place = createWorkplace({ accounts: [] });
  await using server = await startServer(
    messages.filter(({ uid }) => !expunged.has(uid)),
    messages.length + 1,
  );
  configure(place, server, setting);
  makeDisk(place.directory, aftermath);
  const findings: Finding[] = [];
  readStorage(place.storage, aftermath, findings);
  const { status, stderr } = await place.command(['once']);
  if (status !== 0) {
    const kind = /FILE_EXISTS/.test(stderr) ? 'hang' : 'crash';
    return [...findings, { kind, what: `once ended with ${status}: ${stderr.slice(-1000)}` }];
  }
  const documents = readStorage(place.storage, aftermath, findings);
  readRemains(place.storage, aftermath, documents, findings);
  for (const sent of messages) {
    const path = pathOf(sent);
    const there = documents.has(path) || taken.has(path) || inQuarantine(place.storage, sent);
    if (!there && owed.has(sent.uid)) findings.push({ kind: 'lost', what: `${path} is nowhere` });
  }
  const listed = await place.list();
  for (const path of documents.keys()) {
    const row = listed.find((one) => documents.get(path)?.id === one.id);
    if (row?.state !== 'published')
      findings.push({ kind: 'other', what: `${path} is listed as ${row?.state}` });
  }
  return findings;
}
