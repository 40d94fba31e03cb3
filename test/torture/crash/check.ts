/** What must be true at the end, whatever crashed before: each message once, nothing left over, the ledger agreeing. */
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Consumed } from '../../dovecot/consumer.ts';
import { type KeyKind, listingFaults, publishingFaults } from '../../dovecot/differences.ts';
import type { Fault } from '../attack.ts';
import { filesWith } from '../secrets/canaries.ts';
import { PASSWORD, type Stage } from './stage.ts';

export type Finding = Pick<Fault, 'kind' | 'what'>;

/** Directories that we made carry exactly the configured mode (the Contract), a crash in between or not. */
const MODES = { published: 0o2770, own: 0o2700 };

/** Hashes of the documents of a run without a crash, by UID and the hash of the message. */
export type Reference = Map<string, string>;

export async function endFaults(
  stage: Stage,
  { key = 'uid', reference }: { key?: KeyKind; reference?: Reference | null },
): Promise<Finding[]> {
  const { consumer, truth, place } = stage;
  consumer.stop();
  const listed = await place.list();
  const set = new Set(
    listed
      .filter(({ state }) => state === 'quarantined' || state === 'filtered')
      .map(({ uid, folder }) => `${folder} ${uid}`),
  );
  const due = truth.filter(({ uid, folder }) => !set.has(`${folder} ${uid}`));
  const { lost, doubled, paths } = publishingFaults(consumer.consumed, due, key);
  const { unlisted, unseen } = listingFaults(consumer.consumed, listed, place.storage);
  const other = (what: string) => (each: string) => ({ kind: 'other' as const, what: `${what}: ${each}` });
  return [
    ...lost.map((what) => ({ kind: 'lost' as const, what })),
    ...doubled.map((what) => ({ kind: 'doubled' as const, what })),
    ...consumer.faults.map(other('what the consumer found')),
    ...paths.map(other('a path used twice')),
    ...unlisted.map(other('seen, but not listed')),
    ...unseen.map(other('listed, but not seen')),
    ...listed.filter(({ state }) => state === 'staged').map(({ id }) => other('still staged')(id)),
    ...leftovers(place.storage).map(other('left over')),
    ...wrongModes(place.storage, '').map(other('mode')),
    ...filesWith(PASSWORD, place).map(other('the password is in')),
    ...(reference ? contentFaults(consumer.consumed, reference).map(other('content')) : []),
  ];
}

/** Nothing in staging, and nothing of a message where its consumer took all that belonged to it. */
function leftovers(storage: string): string[] {
  return readdirSync(storage, { recursive: true, withFileTypes: true })
    .map((entry) => ({ entry, path: join(entry.parentPath, entry.name).slice(storage.length + 1) }))
    .filter(({ entry, path }) => {
      if (path.startsWith('.staging/')) return true;
      if (path.startsWith('.quarantine')) return !entry.isDirectory() && !/\.(eml|error)$/.test(path);
      return path !== '.mailwatchd' && !entry.isDirectory();
    })
    .map(({ path }) => path);
}

function wrongModes(storage: string, below: string): string[] {
  return readdirSync(join(storage, below), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => {
      const path = join(below, entry.name);
      const mode = statSync(join(storage, path)).mode & 0o7777;
      const wanted = path.startsWith('.') ? MODES.own : MODES.published;
      const wrong = mode === wanted ? [] : [`${path} has ${mode.toString(8)}, not ${wanted.toString(8)}`];
      return [...wrong, ...wrongModes(storage, path)];
    });
}

/** Documents of the same message differ in nothing but what names their mailbox, and the moment of receipt. */
export function referenceOf(consumed: Consumed[]): Reference {
  return new Map(consumed.map(({ document }) => [nameOf(document), contentOf(document)]));
}

const nameOf = ({ uid, sha256 }: Consumed['document']): string => `${uid} ${sha256}`;

function contentFaults(consumed: Consumed[], reference: Reference): string[] {
  return consumed
    .filter(({ document }) => reference.has(nameOf(document)))
    .filter(({ document }) => reference.get(nameOf(document)) !== contentOf(document))
    .map(({ document }) => `${document.id} is not what it is without a crash`);
}

function contentOf({ receivedAt: _, ...document }: Consumed['document']): string {
  const text = JSON.stringify(document)
    .replaceAll(document.uidValidity, 'V')
    .replaceAll(document.folder, 'F');
  return createHash('sha256').update(text).digest('hex');
}
