/** What a power cut leaves: the disk, and what everybody remembers of the time before. */
import { dirname } from 'node:path';
import type { Cut } from './cuts.ts';
import { type Disk, type Entry, isDurable, survivors, type Tree } from './disk.ts';
import { commanded, STRANGER } from './mailbox.ts';
import type { Recording } from './recording.ts';
import type { Call } from './trace.ts';
import type { Aftermath, Taken } from './verdict.ts';

/** A document's path in a recording; what begins with a dot is not the consumer's. */
const DOCUMENT = /^storage\/([^.][^/]*(?:\/[^/]+)*\.json)$/;

/** `consumer`: whether one had taken all that it could see. */
export function aftermathOf(
  { messages, calls, settings }: Recording,
  disk: Disk,
  cut: Cut,
  consumer: 'absent' | 'hasty',
  rubbish: boolean,
): { aftermath: Aftermath; key: string } {
  const { tree, key } = survivors(disk, cut.at, cut.fate);
  const happened = disk.operations.filter((one): one is Entry => one.kind === 'entry' && one.at <= cut.at);
  // The operator has moved it away before the next start.
  for (const [path, { content }] of tree) if (content?.equals(STRANGER)) tree.delete(path);
  const arrivals = new Map<string, Entry>();
  const taken = new Map<string, Taken>();
  const early = (arrival: Entry | undefined, at: number): Taken =>
    arrival === undefined || !isDurable(arrival, at) ? 'early' : 'durably';
  for (const one of happened) {
    const path = DOCUMENT.exec(nameOf(one.call))?.[1];
    if (path === undefined) continue;
    if (one.call.kind === 'rename') arrivals.set(path, one);
    if (one.call.kind === 'remove') {
      taken.set(path, tree.has(`storage/${path}`) ? 'in-vain' : early(arrivals.get(path), one.at));
    }
  }
  if (consumer === 'hasty') {
    for (const [path, arrival] of arrivals) {
      if (taken.has(path)) continue;
      taken.set(path, early(arrival, cut.at));
      takeAway(tree, path);
    }
  }
  const uids = messages.map(({ uid }) => uid);
  const setting = settings.findLast(({ from }) => from <= cut.at)!.setting;
  const sent = calls.filter(({ begin }) => begin <= cut.at);
  const owed = setting.start === 'all' ? new Set(uids) : commanded(sent, 'FETCH');
  const aftermath: Aftermath = {
    ...{ tree, setting, messages, taken, rubbish },
    owed,
    expunged: commanded(sent, 'EXPUNGE'),
  };
  const memory = [[...taken], [...aftermath.owed], [...aftermath.expunged]];
  return { aftermath, key: `${key} ${JSON.stringify(memory)}` };
}

const nameOf = (call: Call): string => (call.kind === 'rename' ? call.to : 'path' in call ? call.path : '');

/** A consumer's way: the document with its attachments and source, and every directory that became empty. */
function takeAway(tree: Tree, path: string): void {
  const stem = `storage/${path.replace(/\.json$/, '')}`;
  if (!tree.has(`${stem}.json`)) return;
  for (const each of [...tree.keys()]) {
    if ([`${stem}.json`, `${stem}.eml`, stem].includes(each) || each.startsWith(`${stem}/`))
      tree.delete(each);
  }
  for (let each = dirname(stem); each !== 'storage'; each = dirname(each)) {
    if ([...tree.keys()].some((other) => other.startsWith(`${each}/`))) return;
    tree.delete(each);
  }
}
