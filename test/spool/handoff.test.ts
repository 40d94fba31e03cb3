/** Proves: the order of the handoff's steps, its number of syncs, and who is told what when a step fails. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { diskFiles, type Files } from '../../src/spool/files.ts';
import type { Answers, Arrival } from '../../src/spool/handover.ts';
import { listMessages } from '../../src/spool/reading.ts';
import type { Service } from '../../src/spool/service.ts';
import {
  codeOf,
  hand,
  INBOX,
  makePlace,
  observation,
  open,
  type Place,
  poison,
  type Step,
  staged,
  staging,
  systemError,
  tree,
  uidsIn,
  watched,
} from './rig.ts';

const DAY = 'support/2026/11/20';

function epochOf(service: Service) {
  return service.calls.openEpoch(INBOX, observation({ uidNext: 101 })).epoch;
}

function published(place: Place): string[] {
  return Object.keys(tree(place.storage)).filter((path) => !path.startsWith('.'));
}

/** Whatever the tests run on. */
const everyFileSystem: Files = { ...diskFiles, openFileSystem: () => ({ sync: () => undefined }) };

/** A service whose steps are recorded as `name path`, paths below the storage directory and staged stems shortened. */
function traced(place: Place, files: Files = diskFiles) {
  const steps: string[] = [];
  const short = (path: string) => path.replace(`${place.storage}/`, '').replace(/\.staging\/[^/]+/, 'RUN');
  const service = open(
    place,
    watched(
      () => undefined,
      ({ name, paths }) => {
        if (name === 'writeFile') paths = paths.slice(0, 1);
        if (name === 'makeDirectory') paths = paths.slice(0, 1);
        if (name !== 'kind') steps.push([name, ...paths.map(short)].join(' '));
      },
      files,
    ),
  );
  const epoch = epochOf(service);
  return { service, epoch, steps };
}

test('stage, sync, commit, make directories, attachments, source, sync, JSON, sync, and only then an answer', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place);
  const arrival = staged(place, service, epoch, 7, { attachments: true, source: true });
  const stem = (arrival.item as { target: { stem: string } }).target.stem;
  steps.length = 0;
  expect(hand(service, arrival)).toEqual([null]);
  const id = 'INBOX-1700000000-7';
  expect(steps).toEqual([
    `syncDirectory RUN/${stem}`,
    'syncDirectory RUN',
    'commit',
    ...['support', 'support/2026', 'support/2026/11', DAY].flatMap((directory) => [
      `makeDirectory ${directory}`,
      `syncDirectory ${directory}`,
      `syncDirectory ${dirname(directory) === '.' ? place.storage : dirname(directory)}`,
    ]),
    `rename RUN/${stem} ${DAY}/${id}`,
    `rename RUN/${stem}.eml ${DAY}/${id}.eml`,
    `syncDirectory ${DAY}`,
    `rename RUN/${stem}.json ${DAY}/${id}.json`,
    `syncDirectory ${DAY}`,
  ]);
  expect(service.due()).toBe(true);
  steps.length = 0;
  service.flush();
  expect(steps).toEqual(['commit']);
  expect(service.due()).toBe(false);
});

test('a quarantined message is written, synced, committed and moved, its .error last', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place);
  steps.length = 0;
  expect(hand(service, poison(epoch, 9))).toEqual([null]);
  const stem = 'support~INBOX-1700000000-9.1q';
  const target = '.quarantine/support/INBOX-1700000000-9';
  expect(steps).toEqual([
    `writeFile RUN/${stem}.eml`,
    `syncFile RUN/${stem}.eml`,
    `writeFile RUN/${stem}.error`,
    `syncFile RUN/${stem}.error`,
    'syncDirectory RUN',
    'commit',
    'makeDirectory .quarantine/support',
    'syncDirectory .quarantine/support',
    'syncDirectory .quarantine',
    `rename RUN/${stem}.eml ${target}.eml`,
    'syncDirectory .quarantine/support',
    `rename RUN/${stem}.error ${target}.error`,
    'syncDirectory .quarantine/support',
  ]);
});

test('a downloaded message is taken over and synced before it is committed', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place);
  writeFileSync(join(service.run.directory, 'large.download'), 'downloaded');
  steps.length = 0;
  expect(
    hand(service, poison(epoch, 9, { source: { file: join(service.run.directory, 'large.download') } })),
  ).toEqual([null]);
  const stem = 'RUN/support~INBOX-1700000000-9.1q';
  expect(steps.slice(0, 2)).toEqual([`rename RUN/large.download ${stem}.eml`, `syncFile ${stem}.eml`]);
});

test('the quarantined form that a document replaces is removed durably before "published" is committed', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place);
  hand(service, poison(epoch, 9, { complete: false, error: { code: 'MESSAGE_TOO_LARGE' } }));
  service.flush();
  const arrival = staged(place, service, epoch, 9);
  steps.length = 0;
  expect(hand(service, arrival)).toEqual([null]);
  const path = '.quarantine/support/INBOX-1700000000-9';
  const last = [`remove ${path}.error`, `remove ${path}.eml`, 'syncDirectory .quarantine/support'];
  expect(steps.slice(-4)).toEqual([`syncDirectory ${DAY}`, ...last]);
});

test('a batch costs one commit and one sync a directory, however many messages it holds', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place);
  hand(service, staged(place, service, epoch, 1));
  const costs = (uids: number[]) => {
    const arrivals = uids.map((uid) => staged(place, service, epoch, uid, { source: true }));
    steps.length = 0;
    expect(hand(service, ...arrivals)).toEqual(uids.map(() => null));
    return steps.filter((step) => /^(sync|commit)/.test(step));
  };
  const few = costs([2]);
  expect(few).toEqual(['syncDirectory RUN', 'commit', `syncDirectory ${DAY}`, `syncDirectory ${DAY}`]);
  expect(costs(Array.from({ length: 100 }, (_, index) => 10 + index))).toEqual(few);
});

test('what is synced with its batch is so once, after all of it was looked at and before the commit', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place, everyFileSystem);
  hand(service, staged(place, service, epoch, 1));
  const arrivals = [2, 3, 4].map((uid) =>
    staged(place, service, epoch, uid, { attachments: uid !== 4, withBatch: uid !== 4 }),
  );
  steps.length = 0;
  expect(hand(service, ...arrivals)).toEqual([null, null, null]);
  expect(steps.filter((step) => /^(sync|commit)/.test(step))).toEqual([
    'syncFileSystem',
    'commit',
    `syncDirectory ${DAY}`,
    `syncDirectory ${DAY}`,
  ]);
});

function stateOf(place: Place, uid: number): string | undefined {
  return [...listMessages(place.state, {})].find((message) => message.uid === uid)?.state;
}

/** Hands a batch over while arrivals wait behind it; what is answered later comes into `late`. */
function handBefore(service: Service, ...arrivals: Arrival[]) {
  const late: (string | null | undefined)[][] = [];
  const codes = (answers: Answers) =>
    answers.map((error) => (error instanceof MailwatchdError ? error.code : error));
  const { answers } = service.batch(arrivals, [], {
    waits: () => true,
    answer: (told) => late.push(codes(told)),
  });
  return { answers: codes(answers), late };
}

test('where arrivals wait, their sync makes a batch durable, and only then it is answered and marked', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place, everyFileSystem);
  hand(service, staged(place, service, epoch, 1));
  const stranger = join(place.storage, DAY, 'INBOX-1700000000-3.json');
  writeFileSync(stranger, 'not ours');
  const many = (...uids: number[]) =>
    uids.map((uid) => staged(place, service, epoch, uid, { withBatch: true }));
  steps.length = 0;
  const first = handBefore(service, ...many(2, 3, 2));
  expect(first).toEqual({ answers: [undefined, 'FILE_EXISTS', undefined], late: [] });
  const isSync = (step: string) => /^(sync|commit)/.test(step);
  expect(steps.filter(isSync)).toEqual(['syncFileSystem', 'commit', 'commit']);
  expect(published(place)).toContain(`${DAY}/INBOX-1700000000-2.json`);
  expect(stateOf(place, 2)).toBe('staged');
  steps.length = 0;
  expect(hand(service, ...many(4))).toEqual([null]);
  expect(first.late).toEqual([[null, undefined, null]]);
  expect(steps.filter(isSync)).toEqual(['syncFileSystem', 'commit', `syncDirectory ${DAY}`]);
  expect(stateOf(place, 2)).toBe('published');
  expect(tree(service.run.directory)).toEqual({});
});

test.each([
  [
    'a batch that is synced by its files',
    (service: Service, ...arrivals: Arrival[]) => void hand(service, ...arrivals),
  ],
  ['marks that are due', (service: Service) => service.flush()],
  ['a settling', (service: Service) => service.calls.settle()],
  ['the stop', (service: Service) => service.stop()],
])('a batch whose sync was left to what waited is synced by its directory before %s', (_, next) => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place, everyFileSystem);
  hand(service, staged(place, service, epoch, 1));
  const { late } = handBefore(service, staged(place, service, epoch, 2, { withBatch: true }));
  expect(service.due()).toBe(true);
  const arrival = staged(place, service, epoch, 3);
  steps.length = 0;
  next(service, arrival);
  expect(late).toEqual([[null]]);
  expect(steps.indexOf(`syncDirectory ${DAY}`)).toBeGreaterThanOrEqual(0);
  expect(steps.indexOf(`syncDirectory ${DAY}`)).toBeLessThan(steps.indexOf('commit'));
  expect(stateOf(place, 2)).toBe('published');
});

test('where neither the sync of what waited nor its own succeeds, a batch is refused, and so is what waited', () => {
  const place = makePlace();
  const { switchboard, parts } = failing('EIO', ({ name }) => name.startsWith('sync'), everyFileSystem);
  const service = open(place, parts);
  const epoch = epochOf(service);
  hand(service, staged(place, service, epoch, 1));
  const { late } = handBefore(service, staged(place, service, epoch, 2, { withBatch: true }));
  const arrival = staged(place, service, epoch, 3, { withBatch: true });
  switchboard.on = true;
  expect(hand(service, arrival)).toEqual(['STORAGE_FAILED']);
  expect(late).toEqual([['STORAGE_FAILED']]);
  switchboard.on = false;
  expect(hand(service, staged(place, service, epoch, 3, { withBatch: true }))).toEqual([null]);
  service.flush();
  const options = { messageBytes: 1, retryUnfetchable: false };
  expect(uidsIn(service.calls.handled(epoch.id, 1, 9, options))).toEqual([1, 2, 3]);
});

test('a mailbox does not go on where what was left to be synced fails: its next messages are refused as well', () => {
  const place = makePlace();
  const isTarget = ({ name, paths }: Step) => name === 'syncDirectory' && paths[0]?.endsWith(DAY) === true;
  const { switchboard, parts } = failing('EIO', isTarget);
  const service = open(place, parts);
  const epoch = epochOf(service);
  hand(service, staged(place, service, epoch, 1));
  const { late } = handBefore(service, staged(place, service, epoch, 2));
  switchboard.on = true;
  expect(hand(service, staged(place, service, epoch, 3))).toEqual(['STORAGE_FAILED']);
  expect(late).toEqual([['STORAGE_FAILED']]);
  switchboard.on = false;
  expect(hand(service, staged(place, service, epoch, 3))).toEqual([null]);
  service.flush();
  expect([1, 2, 3].map((uid) => stateOf(place, uid))).toEqual(['published', 'published', 'published']);
});

test('a batch that could not be synced is given back, and nothing of it is left', () => {
  const place = makePlace();
  let fails = false;
  const watching = watched(
    ({ name }) => {
      if (fails && name === 'syncFileSystem') throw systemError('EIO');
    },
    undefined,
    everyFileSystem,
  );
  const service = open(place, watching);
  const epoch = epochOf(service);
  fails = true;
  const arrivals = [2, 3].map((uid) =>
    staged(place, service, epoch, uid, { attachments: true, withBatch: true }),
  );
  expect(hand(service, ...arrivals)).toEqual(['STORAGE_FAILED', 'STORAGE_FAILED']);
  expect(readdirSync(service.run.directory)).toEqual([]);
  expect(published(place)).toEqual([]);
  fails = false;
  const again = [2, 3].map((uid) =>
    staged(place, service, epoch, uid, { attachments: true, withBatch: true }),
  );
  expect(hand(service, ...again)).toEqual([null, null]);
  expect(published(place)).toHaveLength(4);
});

test('what lay staged beside a batch that could not be synced is given back with it, and what came later is not', () => {
  const place = makePlace();
  let fails = false;
  const watching = watched(
    ({ name }) => {
      if (!fails || name !== 'syncFileSystem') return;
      // The kernel tells it once.
      fails = false;
      throw systemError('EIO');
    },
    undefined,
    everyFileSystem,
  );
  const service = open(place, watching);
  const epoch = epochOf(service);
  const [first, beside] = [2, 3].map((uid) => staged(place, service, epoch, uid, { withBatch: true }));
  fails = true;
  expect(hand(service, first!)).toEqual(['STORAGE_FAILED']);
  expect(hand(service, beside!)).toEqual(['STORAGE_FAILED']);
  const again = [2, 3].map((uid) => staged(place, service, epoch, uid, { withBatch: true }));
  expect(hand(service, ...again)).toEqual([null, null]);
});

test('other writes ride in the same commit, and later ones carry the marks of earlier messages', () => {
  const place = makePlace();
  const { service, epoch, steps } = traced(place);
  steps.length = 0;
  const riding = [{ kind: 'advance', epochId: epoch.id, scannedThrough: 150 } as const];
  service.batch([staged(place, service, epoch, 7, { change: { after: true } })], riding);
  service.batch([], [{ kind: 'settleAfterActions', epochId: epoch.id, uids: [] }]);
  expect(steps.filter((step) => step === 'commit')).toHaveLength(2);
  expect(service.due()).toBe(false);
  expect(service.calls.owedAfterActions(epoch.id, 10)).toEqual([7]);
  service.batch([], [{ kind: 'settleAfterActions', epochId: epoch.id, uids: [7] }]);
  expect(service.calls.owedAfterActions(epoch.id, 10)).toEqual([]);
  expect(service.calls.openEpoch(INBOX, observation({ uidNext: 200 })).epoch.scannedThrough).toBe(150);
});

test('scannedThrough never goes down', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  service.batch([], [{ kind: 'advance', epochId: epoch.id, scannedThrough: 170 }]);
  service.batch([], [{ kind: 'advance', epochId: epoch.id, scannedThrough: 103 }]);
  expect(service.calls.openEpoch(INBOX, observation({ uidNext: 200 })).epoch.scannedThrough).toBe(170);
});

test('a message that comes again, in the same batch, a later one or a later run, publishes nothing', () => {
  const place = makePlace();
  const first = open(place);
  const epoch = epochOf(first);
  const deliver = (service: Service) =>
    hand(
      service,
      staged(place, service, epoch, 1, { attachments: true }),
      staged(place, service, epoch, 1, { attachments: true }),
      poison(epoch, 2),
      poison(epoch, 2),
    );
  expect(deliver(first)).toEqual([null, null, null, null]);
  rmSync(join(place.storage, DAY), { recursive: true });
  expect(deliver(first)).toEqual([null, null, null, null]);
  first.stop();
  const second = open(place);
  expect(deliver(second)).toEqual([null, null, null, null]);
  expect(published(place)).toEqual([]);
  expect(staging(place)).toEqual([second.run.id]);
  expect(tree(second.run.directory)).toEqual({});
});

test('a message that comes twice in a batch gets one answer, also where it is a refusal', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const stranger = join(place.storage, DAY, 'INBOX-1700000000-1.json');
  mkdirSync(dirname(stranger), { recursive: true });
  writeFileSync(stranger, 'not ours');
  const twice = () => hand(service, staged(place, service, epoch, 1), staged(place, service, epoch, 1));
  expect(twice()).toEqual(['FILE_EXISTS', 'FILE_EXISTS']);
  rmSync(stranger);
  expect(twice()).toEqual([null, null]);
  expect(tree(service.run.directory)).toEqual({});
});

test('handled tells what is published at once, though its mark is not committed', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  hand(service, staged(place, service, epoch, 4_294_967_295), staged(place, service, epoch, 1));
  service.flush();
  const options = { messageBytes: 1, retryUnfetchable: false };
  expect(uidsIn(service.calls.handled(epoch.id, 1, 4_294_967_295, options))).toEqual([1, 4_294_967_295]);
  expect(uidsIn(service.calls.handled(epoch.id, 2, 4_294_967_294, options))).toEqual([]);
});

test.each([
  ['the document', '.json', false],
  ["the attachments' directory", '', true],
  ['the kept source', '.eml', false],
])("a stranger's file in place of %s stays, holds its message alone, and mends when it is gone", (_, ending, directory) => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const stranger = join(place.storage, DAY, `INBOX-1700000000-2${ending}`);
  mkdirSync(dirname(stranger), { recursive: true });
  if (directory) mkdirSync(stranger);
  else writeFileSync(stranger, 'not ours');
  const deliver = (...uids: number[]) =>
    hand(
      service,
      ...uids.map((uid) => staged(place, service, epoch, uid, { attachments: true, source: true })),
    );
  expect(deliver(1, 2, 3)).toEqual([null, 'FILE_EXISTS', null]);
  expect(tree(service.run.directory)).toEqual({});
  if (!directory) expect(readFileSync(stranger, 'utf8')).toBe('not ours');
  const about2 = published(place).filter((path) => path.includes('-2'));
  expect(about2).toEqual(directory ? [] : [`${DAY}/INBOX-1700000000-2${ending}`]);
  service.flush();
  expect(uidsIn(service.calls.handled(epoch.id, 1, 9, { messageBytes: 1, retryUnfetchable: false }))).toEqual(
    [1, 3],
  );
  expect(deliver(2)).toEqual(['FILE_EXISTS']);
  rmSync(stranger, { recursive: true });
  expect(deliver(2)).toEqual([null]);
  expect(published(place)).toContain(`${DAY}/INBOX-1700000000-2/1-a.txt`);
});

test("a stranger found while settling: the attachments come back, the stranger's file stays", () => {
  const place = makePlace();
  let crashed = false;
  class Crash extends Error {}
  const service = open(
    place,
    watched(({ name, paths }) => {
      if (name === 'rename' && paths[1]?.endsWith('.json')) crashed = true;
      if (crashed) throw new Crash();
    }),
  );
  const epoch = epochOf(service);
  const arrival = staged(place, service, epoch, 1, { attachments: true });
  expect(() => hand(service, arrival)).toThrow(Crash);
  const json = join(place.storage, DAY, 'INBOX-1700000000-1.json');
  writeFileSync(json, 'not ours');
  const next = open(place);
  expect(published(place)).toEqual([`${DAY}/INBOX-1700000000-1.json`]);
  expect(readFileSync(json, 'utf8')).toBe('not ours');
  expect(tree(join(place.storage, '.staging'))).toEqual({});
  rmSync(json);
  expect(hand(next, staged(place, next, epoch, 1, { attachments: true }))).toEqual([null]);
});

test('a symbolic link in place of a directory is refused: it could lead anywhere', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  mkdirSync(join(place.root, 'elsewhere'));
  symlinkSync(join(place.root, 'elsewhere'), join(place.storage, 'support'));
  expect(hand(service, staged(place, service, epoch, 1))).toEqual(['FILE_EXISTS']);
  expect(tree(join(place.root, 'elsewhere'))).toEqual({});
});

test('staged files that somebody removed are fetched again, not taken for published', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const whole = () => staged(place, service, epoch, 1, { attachments: true });
  const without = (ending: string) => {
    const arrival = whole();
    const { target } = arrival.item as { target: { stem: string } };
    rmSync(join(service.run.directory, target.stem + ending), { recursive: true });
    return arrival;
  };
  expect(hand(service, without('.json'))).toEqual(['STAGED_MISSING']);
  expect(hand(service, without(''))).toEqual(['STAGED_MISSING']);
  const lost = whole();
  rmSync(service.run.directory, { recursive: true });
  expect(hand(service, lost)).toEqual(['STAGED_MISSING']);
  expect(existsSync(service.run.directory)).toBe(true);
  expect(hand(service, whole())).toEqual([null]);
  expect(published(place)).toEqual([`${DAY}/INBOX-1700000000-1.json`, `${DAY}/INBOX-1700000000-1/1-a.txt`]);
});

test.each([
  '.json',
  '.eml',
  '',
])('staged files (%j) removed after the commit are not taken for published', (ending) => {
  const place = makePlace();
  let remove: string | null = null;
  const service = open(
    place,
    watched(
      () => undefined,
      ({ name }) => {
        if (name !== 'commit' || remove === null) return;
        rmSync(remove, { recursive: true });
        remove = null;
      },
    ),
  );
  const epoch = epochOf(service);
  const parts = { attachments: true, source: true };
  const arrival = staged(place, service, epoch, 1, parts);
  const { target } = arrival.item as { target: { stem: string } };
  remove = join(service.run.directory, target.stem + ending);
  expect(hand(service, arrival)).toEqual(['STAGED_MISSING']);
  expect(published(place)).toEqual([]);
  expect(hand(service, staged(place, service, epoch, 1, parts))).toEqual([null]);
  expect(published(place)).toHaveLength(3);
});

test('attachments that are moved away before their JSON is there: it waits, and comes whole', () => {
  const place = makePlace();
  let rotated = false;
  const service = open(
    place,
    watched(
      () => undefined,
      ({ name, paths }) => {
        if (rotated || name !== 'rename' || !paths[1]?.endsWith('INBOX-1700000000-1')) return;
        rotated = true;
        renameSync(join(place.storage, DAY), join(place.root, 'rotated'));
      },
    ),
  );
  const epoch = epochOf(service);
  const deliver = () => hand(service, staged(place, service, epoch, 1, { attachments: true }));
  expect(deliver()).toEqual(['STAGED_MISSING']);
  expect(published(place)).toEqual([]);
  expect(deliver()).toEqual([null]);
  expect(published(place)).toEqual([`${DAY}/INBOX-1700000000-1.json`, `${DAY}/INBOX-1700000000-1/1-a.txt`]);
});

test('a volume that goes away under us: nothing is made or published in what lies under it', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const staying = staged(place, service, epoch, 1);
  renameSync(place.storage, `${place.storage}.unmounted`);
  mkdirSync(place.storage);
  expect(hand(service, staying)).toEqual(['STORAGE_MISSING']);
  expect(codeOf(() => service.calls.settle())).toBe('STORAGE_MISSING');
  expect(readdirSync(place.storage)).toEqual([]);
  rmSync(place.storage, { recursive: true });
  expect(hand(service, staying)).toEqual(['STORAGE_MISSING']);
  renameSync(`${place.storage}.unmounted`, place.storage);
  expect(hand(service, staged(place, service, epoch, 1))).toEqual([null]);
});

test("settle makes the run's directory again: without it no parser gets as far as the handoff", () => {
  const place = makePlace();
  const service = open(place);
  rmSync(service.run.directory, { recursive: true });
  service.calls.settle();
  expect(statSync(service.run.directory).mode & 0o7777).toBe(0o2700);
});

test('a run directory that somebody removed between two runs: its messages are fetched again', () => {
  const place = makePlace();
  class Crash extends Error {}
  const service = open(
    place,
    watched(({ name, paths }) => {
      if (name === 'rename' && paths[1]?.endsWith('.json')) throw new Crash();
    }),
  );
  const epoch = epochOf(service);
  expect(() => hand(service, staged(place, service, epoch, 1))).toThrow(Crash);
  rmSync(service.run.directory, { recursive: true });
  const next = open(place);
  expect(uidsIn(next.calls.handled(epoch.id, 1, 9, { messageBytes: 1, retryUnfetchable: false }))).toEqual(
    [],
  );
  expect([...listMessages(place.state)]).toEqual([]);
  expect(hand(next, staged(place, next, epoch, 1))).toEqual([null]);
});

test('only what looks like a run of ours is removed from .staging', () => {
  const place = makePlace();
  open(place).stop();
  const foreign = join(place.storage, '.staging', 'lost+found');
  const abandoned = join(place.storage, '.staging', '20251120T100002Z-0123abcd');
  for (const directory of [foreign, abandoned]) mkdirSync(directory);
  writeFileSync(join(abandoned, 'support~INBOX-1-1.1.json'), '{}');
  const service = open(place);
  expect(staging(place).toSorted()).toEqual([service.run.id, 'lost+found']);
  service.stop();
  expect(staging(place)).toEqual(['lost+found']);
});

/** Fails the n-th file operation or commit once, as a disk would. */
function failing(code: string, fails: (step: Step) => boolean, files: Files = diskFiles) {
  const switchboard = { on: false, hits: 0 };
  const before = (step: Step) => {
    if (!switchboard.on || !fails(step)) return;
    switchboard.hits += 1;
    throw systemError(code);
  };
  const parts = watched(before, undefined, files);
  return { switchboard, parts };
}

test.each([
  ['ENOSPC', 'STORAGE_FULL'],
  ['EDQUOT', 'STORAGE_FULL'],
  ['EROFS', 'STORAGE_READ_ONLY'],
  ['EACCES', 'STORAGE_DENIED'],
  ['EIO', 'STORAGE_FAILED'],
])('%s becomes %s with its path, and what was staged is published once it has passed', (system, ours) => {
  const place = makePlace();
  const { switchboard, parts } = failing(system, ({ name }) => name === 'makeDirectory');
  const service = open(place, parts);
  const epoch = epochOf(service);
  switchboard.on = true;
  const { answers } = service.batch([staged(place, service, epoch, 1, { attachments: true })], []);
  expect(answers[0]?.code).toBe(ours);
  expect(answers[0]?.where).toContain(place.storage);
  expect(codeOf(() => service.calls.settle())).toBe(ours);
  // The mailbox's next message waits for it.
  expect(hand(service, staged(place, service, epoch, 2))).toEqual([ours]);
  expect(published(place)).toEqual([]);
  switchboard.on = false;
  expect(hand(service, staged(place, service, epoch, 2))).toEqual([null]);
  expect(published(place)).toHaveLength(3);
  service.stop();
  expect(staging(place)).toEqual([]);
});

test.each([
  ['attachments', 1, 0],
  ['the document', 2, 1],
])('a target directory that cannot be synced after %s: no answer, no mark, and no second document', (_, failAt, visible) => {
  const place = makePlace();
  let armed = false;
  let syncs = 0;
  const service = open(
    place,
    watched(({ name, paths }) => {
      if (!armed || name !== 'syncDirectory' || !paths[0]?.endsWith(DAY)) return;
      syncs += 1;
      if (syncs === failAt) throw systemError('EIO');
    }),
  );
  const epoch = epochOf(service);
  const deliver = () => hand(service, staged(place, service, epoch, 1, { attachments: true }));
  hand(service, staged(place, service, epoch, 9));
  armed = true;
  expect(deliver()).toEqual(['STORAGE_FAILED']);
  const documents = () => published(place).filter((path) => path.endsWith('-1.json'));
  expect(documents()).toHaveLength(visible);
  service.flush();
  expect(uidsIn(service.calls.handled(epoch.id, 1, 5, { messageBytes: 1, retryUnfetchable: false }))).toEqual(
    [],
  );
  // A consumer may take it meanwhile.
  rmSync(join(place.storage, DAY, 'INBOX-1700000000-1.json'), { force: true });
  expect(deliver()).toEqual([null]);
  expect(documents()).toHaveLength(1 - visible);
  service.flush();
  expect(uidsIn(service.calls.handled(epoch.id, 1, 5, { messageBytes: 1, retryUnfetchable: false }))).toEqual(
    [1],
  );
});

test('one mailbox whose directory cannot be written holds no other', () => {
  const place = makePlace();
  const { switchboard, parts } = failing(
    'EACCES',
    ({ name, paths }) => name === 'makeDirectory' && paths[0]?.endsWith('/support') === true,
  );
  const service = open(place, parts);
  const epoch = epochOf(service);
  const other = service.calls.openEpoch({ account: 'sales', folder: 'INBOX' }, observation()).epoch;
  switchboard.on = true;
  const batch = () => hand(service, staged(place, service, epoch, 1), staged(place, service, other, 1));
  expect(batch()).toEqual(['STORAGE_DENIED', null]);
  expect(batch()).toEqual(['STORAGE_DENIED', null]);
  expect(codeOf(() => service.stop())).toBe('STORAGE_DENIED');
  // Stopped all the same: the next start finishes it.
  open(place).stop();
  expect(published(place)).toEqual([
    `sales/2026/11/20/INBOX-1700000000-1.json`,
    `${DAY}/INBOX-1700000000-1.json`,
  ]);
  expect(staging(place)).toEqual([]);
});

test('any operation that fails once: who was refused comes again, and each is published once', () => {
  const deliver = (place: Place, service: Service, uids: number[]) => {
    const epoch = epochOf(service);
    return uids.map((uid) =>
      uid === 3
        ? poison(epoch, uid)
        : staged(place, service, epoch, uid, { attachments: uid === 2, source: uid === 2 }),
    );
  };
  const attempt = (failAt: number) => {
    const place = makePlace();
    let steps = 0;
    let counting = false;
    const service = open(
      place,
      watched(({ name }) => {
        if (!counting || name === 'kind') return;
        steps += 1;
        if (steps === failAt)
          throw name === 'commit' ? new MailwatchdError('LEDGER_FAILED') : systemError('EIO');
      }),
    );
    const arrivals = deliver(place, service, [1, 2, 3]);
    counting = true;
    let refused: number[];
    try {
      const answers = hand(service, ...arrivals);
      refused = [1, 2, 3].filter((_, index) => answers[index] !== null);
    } catch (error) {
      throw new Error(`operation ${failAt}`, { cause: error });
    }
    counting = false;
    expect(hand(service, ...deliver(place, service, refused)), `after operation ${failAt}`).toEqual(
      refused.map(() => null),
    );
    service.stop();
    expect(staging(place)).toEqual([]);
    const { '.mailwatchd': _id, ...files } = tree(place.storage);
    return { steps, files, refused };
  };
  const undisturbed = attempt(Number.POSITIVE_INFINITY);
  expect(undisturbed.refused).toEqual([]);
  let refusals = 0;
  for (let failAt = 1; failAt <= undisturbed.steps; failAt++) {
    const { files, refused } = attempt(failAt);
    expect(files, `operation ${failAt} failed`).toEqual(undisturbed.files);
    refusals += refused.length;
  }
  expect(refusals).toBeGreaterThan(undisturbed.steps / 2);
});

test('what is published has the configured modes, whatever the umask, and the storage directory its group', () => {
  const place = makePlace();
  chmodSync(place.storage, 0o750);
  const umask = process.umask(0o077);
  try {
    const service = open(place);
    const epoch = epochOf(service);
    hand(service, staged(place, service, epoch, 1), poison(epoch, 2));
  } finally {
    process.umask(umask);
  }
  const mode = (path: string) => statSync(join(place.storage, path)).mode & 0o7777;
  for (const directory of ['support', DAY]) expect(mode(directory)).toBe(0o2770);
  for (const directory of ['.staging', '.quarantine', '.quarantine/support'])
    expect(mode(directory)).toBe(0o2700);
  expect(mode('.quarantine/support/INBOX-1700000000-2.eml')).toBe(0o640);
  expect(statSync(join(place.storage, DAY)).gid).toBe(statSync(place.storage).gid);
});

test("a directory whose making a crash interrupted gets its mode; one that is somebody else's work keeps its own", () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const mode = (path: string) => statSync(join(place.storage, path)).mode & 0o7777;
  mkdirSync(join(place.storage, 'support'), { mode: 0o755 });
  mkdirSync(join(place.storage, 'support/2026'), { mode: 0o700 });
  expect(hand(service, staged(place, service, epoch, 1))).toEqual([null]);
  expect(mode('support')).toBe(0o755);
  expect(mode('support/2026')).toBe(0o2770);

  // What was closed with something in it was closed by somebody else: another run leaves it so.
  chmodSync(join(place.storage, 'support/2026'), 0o700);
  service.stop();
  const next = open(place);
  expect(hand(next, staged(place, next, epochOf(next), 2))).toEqual([null]);
  expect(mode('support/2026')).toBe(0o700);
});

test('the quarantined .error says what an operator needs', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const download = join(service.run.directory, 'large.download');
  writeFileSync(download, 'downloaded');
  expect(hand(service, poison(epoch, 2, { source: { file: download } }))).toEqual([null]);
  const base = join(place.storage, '.quarantine/support/INBOX-1700000000-2');
  expect(readFileSync(`${base}.eml`, 'utf8')).toBe('downloaded');
  expect(JSON.parse(readFileSync(`${base}.error`, 'utf8'))).toEqual({
    code: 'PARSE_TIMED_OUT',
    message: 'took 31 s',
    account: 'support',
    folder: 'INBOX',
    uid: 2,
    uidValidity: '1700000000',
    id: 'INBOX-1700000000-2',
    messageId: 'm2@example.org',
    size: 102,
    sha256: '2'.padStart(64, '0'),
    receivedAt: '2026-11-20T10:00:02.000Z',
    flags: ['\\Seen'],
    complete: true,
    attempts: 3,
    quarantinedAt: '2026-11-20T10:00:02.000Z',
  });
  expect(basename(base)).toBe('INBOX-1700000000-2');
});

test('a message quarantined unread is asked for again once the limit admits it, and then replaces its header', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const unread = { complete: false, sha256: null, error: { code: 'MESSAGE_TOO_LARGE' }, size: 5_000 };
  hand(service, poison(epoch, 1, unread), poison(epoch, 2, { ...unread, error: { code: 'DAEMON_KILLED' } }));
  service.flush();
  const handled = (messageBytes: number) =>
    uidsIn(service.calls.handled(epoch.id, 1, 9, { messageBytes, retryUnfetchable: false }));
  expect(handled(4_999)).toEqual([1, 2]);
  expect(handled(5_000)).toEqual([2]);
  expect(hand(service, staged(place, service, epoch, 1), staged(place, service, epoch, 2))).toEqual([
    null,
    null,
  ]);
  expect(published(place)).toEqual([`${DAY}/INBOX-1700000000-1.json`]);
  expect(existsSync(join(place.storage, '.quarantine/support/INBOX-1700000000-1.eml'))).toBe(false);
  expect(existsSync(join(place.storage, '.quarantine/support/INBOX-1700000000-2.eml'))).toBe(true);
  service.flush();
  expect(handled(5_000)).toEqual([1, 2]);
});

test('a message that turns out larger than a raised limit is not asked for again and again', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const unread = (size: number) =>
    poison(epoch, 1, { complete: false, sha256: null, error: { code: 'MESSAGE_TOO_LARGE' }, size });
  const handled = (messageBytes: number) =>
    uidsIn(service.calls.handled(epoch.id, 1, 9, { messageBytes, retryUnfetchable: false }));
  expect(hand(service, unread(1_001))).toEqual([null]);
  expect(hand(service, unread(2_001))).toEqual([null]);
  service.flush();
  expect(handled(2_000)).toEqual([1]);
});

test('what cannot be fetched is recorded, asked for on demand, and published when it comes after all', () => {
  const place = makePlace();
  const service = open(place);
  const epoch = epochOf(service);
  const message = { uid: 5, size: 10, internalDate: 0, flags: [] };
  service.calls.recordUnfetchable(epoch.id, message, { code: 'MESSAGE_UNFETCHABLE' });
  const handled = (retryUnfetchable: boolean) =>
    uidsIn(service.calls.handled(epoch.id, 1, 9, { messageBytes: 1e6, retryUnfetchable }));
  expect(handled(false)).toEqual([5]);
  expect(handled(true)).toEqual([]);
  expect(service.calls.counts(INBOX)).toEqual({ quarantined: 0, unfetchable: 1, filtered: 0 });
  const comes = () => staged(place, service, epoch, 5);
  expect(hand(service, comes(), comes(), staged(place, service, epoch, 6))).toEqual([null, null, null]);
  service.flush();
  const states = () => [...listMessages(place.state)].map(({ state }) => state);
  expect(service.calls.counts(INBOX)).toEqual({ quarantined: 0, unfetchable: 0, filtered: 0 });
  expect(states()).toEqual(['published', 'published']);
  service.calls.recordUnfetchable(epoch.id, message, { code: 'MESSAGE_UNFETCHABLE' });
  expect(service.calls.counts(INBOX)).toEqual({ quarantined: 0, unfetchable: 0, filtered: 0 });
  expect(states()).toEqual(['published', 'published']);
});
