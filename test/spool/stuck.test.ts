/** Proves that what is staged and cannot be published is neither lost nor taken for published, whatever happens meanwhile. */
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { diskFiles } from '../../src/spool/files.ts';
import type { Service } from '../../src/spool/service.ts';
import {
  codeOf,
  hand,
  INBOX,
  MORNING,
  makePlace,
  metadata,
  observation,
  open,
  type Place,
  poison,
  type Step,
  staged,
  systemError,
  tree,
  uidsIn,
  watched,
} from './rig.ts';

const DOCUMENT = '2026/11/20/INBOX-1700000000-1.json';
const ATTACHMENT = '2026/11/20/INBOX-1700000000-1/1-a.txt';

/** A disk on which an operation whose last path ends so fails while it is `full`. */
function fillingDisk(name: string, ending: RegExp) {
  const disk = { full: true };
  const before = (step: Step) => {
    const refused = step.name === name && ending.test(String(step.paths.at(name === 'rename' ? 1 : 0)));
    if (disk.full && refused) throw systemError('ENOSPC');
  };
  return { disk, parts: watched(before) };
}
const noDirectory = () => fillingDisk('makeDirectory', /\/support/);
const noDocument = () => fillingDisk('rename', /\.json$/);

const epochOf = (service: Service, change = {}) => service.calls.openEpoch(INBOX, observation(change)).epoch;
const handled = (service: Service) =>
  uidsIn(service.calls.handled(1, 1, 9, { messageBytes: 1e6, retryUnfetchable: false }));
const published = (place: Place) =>
  Object.keys(tree(place.storage))
    .filter((path) => path.startsWith('support/'))
    .map((path) => path.slice('support/'.length));
const removeStaging = (place: Place) => rmSync(join(place.storage, '.staging'), { recursive: true });

test.each([
  ['nothing of them is published yet', noDirectory],
  ['their attachments are', noDocument],
])('the directory of a former run is removed while its messages are stuck, and %s: they are fetched again', (_, trouble) => {
  const place = makePlace();
  const { disk, parts } = trouble();
  const first = open(place, parts);
  const epoch = epochOf(first);
  expect(hand(first, staged(place, first, epoch, 1, { attachments: true }))).toEqual(['STORAGE_FULL']);
  const second = open(place, parts);
  // Somebody makes room.
  removeStaging(place);
  disk.full = false;
  second.calls.settle();
  expect(handled(second)).toEqual([]);
  expect(published(place)).toEqual([]);
  expect(hand(second, staged(place, second, epoch, 1, { attachments: true }))).toEqual([null]);
  expect(published(place)).toEqual([DOCUMENT, ATTACHMENT]);
});

test('the volume goes away while messages of a former run are stuck: they are published when it is back', () => {
  const place = makePlace();
  const { disk, parts } = noDirectory();
  const first = open(place, parts);
  const epoch = epochOf(first);
  expect(hand(first, staged(place, first, epoch, 1))).toEqual(['STORAGE_FULL']);
  const second = open(place, parts);
  const next = staged(place, second, epoch, 2);
  renameSync(place.storage, `${place.storage}.unmounted`);
  mkdirSync(place.storage);
  disk.full = false;
  expect(hand(second, next)).toEqual(['STORAGE_MISSING']);
  expect(codeOf(() => epochOf(second))).toBe('STORAGE_MISSING');
  expect(readdirSync(place.storage)).toEqual([]);
  rmSync(place.storage, { recursive: true });
  renameSync(`${place.storage}.unmounted`, place.storage);
  second.calls.settle();
  expect(published(place)).toEqual([DOCUMENT]);
});

test("the run's directory is removed while a message is stuck, another mailbox goes on, and the daemon dies", () => {
  const place = makePlace();
  const { disk, parts } = noDirectory();
  const first = open(place, parts);
  const epoch = epochOf(first);
  expect(hand(first, staged(place, first, epoch, 1))).toEqual(['STORAGE_FULL']);
  removeStaging(place);
  const other = { account: 'sales', folder: 'INBOX' };
  const sales = first.calls.openEpoch(other, observation()).epoch;
  expect(hand(first, poison(sales, 7))).toEqual([null]);
  disk.full = false;
  // A row whose files are not in a directory that exists would be taken for published here.
  expect(handled(open(place))).toEqual([]);
});

test('a new UIDVALIDITY while a message is stuck: the mailbox waits until it is certain what is published', () => {
  const place = makePlace();
  const { disk, parts } = noDirectory();
  const service = open(place, parts);
  expect(hand(service, staged(place, service, epochOf(service), 1))).toEqual(['STORAGE_FULL']);
  const next = { uidValidity: '1700000001', uidNext: 2, at: MORNING + 1000 };
  expect(codeOf(() => epochOf(service, next))).toBe('STORAGE_FULL');
  removeStaging(place);
  disk.full = false;
  const { id } = epochOf(service, next);
  // What was staged is gone: the message must not count as known.
  expect(service.calls.matchEarlier(id, [metadata(1)]).matched).toEqual([]);
});

test('what cannot be removed has a name: an error without one counts as a defect, and ends the daemon', () => {
  const place = makePlace();
  symlinkSync('loop', join(place.root, 'loop'));
  // Stands for EROFS and EIO, which a test cannot have: rmSync names none of them.
  expect(codeOf(() => diskFiles.remove(join(place.root, 'loop', 'x')))).toBe('ELOOP');
});

test('nobody may look into the storage directory while the spool tends it: it is told why, and goes on', () => {
  const place = makePlace();
  const disk = { closed: false };
  const service = open(
    place,
    watched(({ name }) => {
      if (disk.closed && name === 'kind') throw systemError('EACCES');
    }),
  );
  disk.closed = true;
  // Anything but an error of the table would end the daemon.
  expect(codeOf(() => service.calls.settle())).toBe('STORAGE_DENIED');
  disk.closed = false;
  service.calls.settle();
});
