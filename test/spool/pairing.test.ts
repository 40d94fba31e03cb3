/** Proves: storage and ledger are used together or not at all, and an interrupted pairing is finished. */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import type { MailwatchdError } from '../../src/errors.ts';
import { adoptStorage, inspectPairing } from '../../src/spool/adopt.ts';
import { adoptPair } from '../../src/spool/pairing.ts';
import {
  codeOf,
  hand,
  INBOX,
  makePlace,
  observation,
  open,
  type Place,
  staged,
  uidsIn,
  watched,
} from './rig.ts';

const idOf = (place: Place) => readFileSync(join(place.storage, '.mailwatchd'), 'utf8');

function refusal(place: Place): MailwatchdError {
  try {
    open(place);
  } catch (error) {
    return error as MailwatchdError;
  }
  throw new Error('it was opened');
}

function fresh(directory: string): void {
  renameSync(directory, `${directory}.old`);
  mkdirSync(directory);
}

test('both hold one random id from the first start on', () => {
  const place = makePlace();
  open(place).stop();
  const id = idOf(place);
  expect(id).toMatch(/^[0-9a-f-]{36}\n$/);
  open(place).stop();
  expect(idOf(place)).toBe(id);
  expect(statSync(join(place.state, 'ledger.db')).mode & 0o777).toBe(0o600);
  const other = makePlace();
  open(other).stop();
  expect(idOf(other)).not.toBe(id);
});

test('a used ledger with an empty storage directory is refused and nothing is made in it', () => {
  const place = makePlace();
  open(place).stop();
  fresh(place.storage);
  expect(refusal(place)).toMatchObject({
    code: 'STORAGE_NOT_PAIRED',
    where: place.storage,
    detail: expect.stringContaining('the storage directory is new'),
    remedy: expect.stringContaining('mailwatchd adopt'),
  });
  expect(readdirSync(place.storage)).toEqual([]);
});

test('a new ledger with a used storage directory is refused', () => {
  const place = makePlace();
  open(place).stop();
  fresh(place.state);
  expect(refusal(place)).toMatchObject({
    code: 'STORAGE_NOT_PAIRED',
    detail: expect.stringContaining('the ledger is new'),
  });
});

test('two that each belong to another are refused', () => {
  const place = makePlace();
  open(place).stop();
  fresh(place.storage);
  fresh(place.state);
  open(place).stop();
  rmSync(place.storage, { recursive: true });
  renameSync(`${place.storage}.old`, place.storage);
  expect(refusal(place)).toMatchObject({
    code: 'STORAGE_NOT_PAIRED',
    detail: expect.stringContaining('each belong to another one'),
  });
});

test.each([
  ['nothing', ''],
  ['noise', '\u0000'.repeat(100)],
  ['a long file', 'x'.repeat(1_000_000)],
])('an id file that holds %s is nobody’s', (_, text) => {
  const place = makePlace();
  open(place).stop();
  writeFileSync(join(place.storage, '.mailwatchd'), text);
  expect(refusal(place).code).toBe('STORAGE_NOT_PAIRED');
});

test('an id file that is a link is not followed', () => {
  const place = makePlace();
  open(place).stop();
  renameSync(join(place.storage, '.mailwatchd'), join(place.root, 'id'));
  symlinkSync(join(place.root, 'id'), join(place.storage, '.mailwatchd'));
  expect(refusal(place).code).toBe('STORAGE_FAILED');
});

test.each(['state', 'storage'] as const)('a %s directory that does not exist is never made', (which) => {
  const place = makePlace();
  rmSync(place[which], { recursive: true });
  expect(refusal(place)).toMatchObject({ code: 'STORAGE_MISSING', where: place[which] });
  expect(readdirSync(place.root)).not.toContain(which);
});

class Crash extends Error {}

/** Runs `work` with a crash at its n-th step; false once n is beyond its end. */
function crashing(place: Place, crashAt: number): boolean {
  let steps = 0;
  try {
    open(
      place,
      watched(() => {
        steps += 1;
        if (steps >= crashAt) throw new Crash();
      }),
    );
  } catch (error) {
    expect(error).toBeInstanceOf(Crash);
    return true;
  }
  return false;
}

test('a pairing interrupted at any operation is finished by the next start', () => {
  let crashAt = 1;
  for (; ; crashAt++) {
    const place = makePlace();
    if (!crashing(place, crashAt)) break;
    open(place).stop();
    expect(idOf(place)).toMatch(/^[0-9a-f-]{36}\n$/);
    expect(readdirSync(place.storage).toSorted()).toEqual(['.mailwatchd', '.quarantine', '.staging']);
    open(place).stop();
  }
  expect(crashAt).toBeGreaterThan(10);
});

test('an adopting interrupted at any operation and repeated pairs the two and leaves nothing over', () => {
  let crashAt = 1;
  for (let crashed = true; crashed; crashAt++) {
    const place = makePlace();
    open(place).stop();
    fresh(place.state);
    let steps = 0;
    const parts = watched(() => {
      steps += 1;
      if (steps >= crashAt) throw new Crash();
    });
    const ledger = parts.openLedger(place.state);
    crashed = codeOf(() => adoptPair(ledger, place.storage, parts.files)) !== 'nothing thrown';
    ledger.close();
    adoptStorage(place.state, place.storage);
    expect(readdirSync(place.storage).toSorted()).toEqual(['.mailwatchd', '.quarantine', '.staging']);
    open(place).stop();
  }
  expect(crashAt).toBeGreaterThan(5);
});

test('the id is durable in the storage before the ledger calls them paired', () => {
  const place = makePlace();
  const steps: string[] = [];
  open(
    place,
    watched(
      ({ name, paths }) =>
        void steps.push(`${name} ${paths.map((path) => basename(String(path))).join(' ')}`.trim()),
    ),
  );
  const id = idOf(place).trim();
  const about = steps.slice(
    0,
    steps.findIndex((step) => step.startsWith('makeDirectory')),
  );
  expect(
    about.filter((step) => !/^(kind|remove)/.test(step)).map((step) => step.replace(/ [^ ]* 416$/, '')),
  ).toEqual([
    'commit',
    `writeFile .mailwatchd.${id}`,
    `syncFile .mailwatchd.${id}`,
    `link .mailwatchd.${id} .mailwatchd`,
    'syncDirectory storage',
    'commit',
  ]);
});

test('of two daemons that pair one storage directory at the same time, one is refused', () => {
  const place = makePlace();
  const rival = { ...makePlace(), storage: place.storage, settings: place.settings };
  const late = watched(({ name }) => {
    // The rival looked before us and writes after us.
    if (name === 'link') open(place);
  });
  expect(codeOf(() => open(rival, late))).toBe('STORAGE_NOT_PAIRED');
  expect(codeOf(() => open(rival))).toBe('STORAGE_NOT_PAIRED');
  open(place);
});

test('adopt says what both hold and pairs them anew', () => {
  const place = makePlace();
  expect(inspectPairing(place.state, place.storage)).toEqual({
    ledger: null,
    storage: null,
    paired: false,
    messages: 0,
  });
  const service = open(place);
  const { epoch } = service.calls.openEpoch(INBOX, observation());
  hand(service, staged(place, service, epoch, 1));
  service.stop();
  expect(inspectPairing(place.state, place.storage)).toMatchObject({ paired: true, messages: 1 });
  fresh(place.storage);
  expect(inspectPairing(place.state, place.storage)).toMatchObject({ storage: null, paired: false });
  adoptStorage(place.state, place.storage);
  expect(inspectPairing(place.state, place.storage)).toMatchObject({ paired: true, messages: 1 });
  open(place).stop();
  fresh(place.state);
  adoptStorage(place.state, place.storage);
  open(place).stop();
});

test('what was staged for the storage that was replaced is fetched again', () => {
  const place = makePlace();
  const service = open(
    place,
    watched(({ name, paths }) => {
      if (name === 'rename' && paths[1]?.endsWith('.json')) throw new Crash();
    }),
  );
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 9 }));
  expect(() => hand(service, staged(place, service, epoch, 1))).toThrow(Crash);
  fresh(place.storage);
  adoptStorage(place.state, place.storage);
  const next = open(place);
  expect(uidsIn(next.calls.handled(epoch.id, 1, 9, { messageBytes: 1, retryUnfetchable: false }))).toEqual(
    [],
  );
});
