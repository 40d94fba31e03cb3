/** Proves: whatever instruction a crash hits, each message is published exactly once and nothing stays in staging. */
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { outside } from '../../src/mailbox/ranges.ts';
import { ledgerPath, openLedger } from '../../src/spool/ledger.ts';
import type { Service } from '../../src/spool/service.ts';
import {
  INBOX,
  makePlace,
  observation,
  open,
  type Place,
  poison,
  type Step,
  staged,
  staging,
  tree,
  unsyncedFiles,
  watched,
} from '../spool/rig.ts';

/** No system error: nothing in the program may take it for one and go on. */
class Crash extends Error {}

const UIDS = [1, 2, 3, 4, 5, 6];

function arrivals(place: Place, service: Service, uids: number[]) {
  const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 7 }));
  const contents: Record<number, object> = {
    2: { attachments: true },
    3: { attachments: true, source: true },
    4: { source: true },
    6: { metadata: { internalDate: Date.UTC(2025, 0, 2) } },
  };
  return uids.map((uid) =>
    uid === 5 ? poison(epoch, uid) : staged(place, service, epoch, uid, contents[uid]),
  );
}

/**
 * One life of the daemon: what the ledger does not know is fetched and handed over, in two batches;
 * it ends cleanly or at the `crashAt`-th operation. Returns how many operations it took.
 */
function live(place: Place, crashAt: number, done: (step: Step) => void): number {
  let steps = 0;
  const parts = watched(
    () => {
      steps += 1;
      // After it everything is dead: whatever the program would tidy up does not happen either.
      if (steps >= crashAt) throw new Crash();
    },
    done,
    unsyncedFiles,
  );
  const ledgers: { close(): void }[] = [];
  const keeping = {
    ...parts,
    openLedger(directory: string) {
      const ledger = parts.openLedger(directory);
      ledgers.push(ledger);
      return ledger;
    },
  };
  try {
    const service = open(place, keeping);
    const { epoch } = service.calls.openEpoch(INBOX, observation({ uidNext: 7 }));
    const options = { messageBytes: 1e6, retryUnfetchable: false };
    const missing = outside(UIDS, service.calls.handled(epoch.id, 1, 100, options));
    service.batch(arrivals(place, service, missing.slice(0, 4)), []);
    service.batch(arrivals(place, service, missing.slice(4)), []);
    service.stop();
  } catch (error) {
    expect(error).toBeInstanceOf(Crash);
    for (const ledger of ledgers) {
      try {
        ledger.close();
      } catch (closed) {
        expect(String(closed)).toContain('not open');
      }
    }
  }
  return steps;
}

function ledgerRows(place: Place) {
  const ledger = openLedger(place.state);
  const messages = ledger.all('SELECT uid, state, copies FROM message ORDER BY uid');
  const inFlight = ledger.all('SELECT * FROM staging');
  ledger.close();
  return { messages: messages.map((row) => ({ ...row })), inFlight };
}

/** All that an observer can tell of the end, but for the random pairing id. */
function endState(place: Place) {
  const { '.mailwatchd': _id, ...files } = tree(place.storage);
  return { files, staging: staging(place), ...ledgerRows(place) };
}

const ignore = () => undefined;

/** The ledger's schema is there already: making it takes most of a short life's time. */
const template = mkdtempSync(join(tmpdir(), 'mailwatchd-template-'));
openLedger(template).close();
afterAll(() => rmSync(template, { recursive: true }));

function emptyPlace(): Place {
  const place = makePlace();
  copyFileSync(ledgerPath(template), ledgerPath(place.state));
  return place;
}

function undisturbed() {
  const place = emptyPlace();
  const steps = live(place, Number.POSITIVE_INFINITY, ignore);
  return { steps, end: endState(place) };
}

test('a run without a crash publishes everything once', () => {
  const { end } = undisturbed();
  expect(Object.keys(end.files)).toEqual([
    '.quarantine/support/INBOX-1700000000-5.eml',
    '.quarantine/support/INBOX-1700000000-5.error',
    'support/2025/01/02/INBOX-1700000000-6.json',
    'support/2026/11/20/INBOX-1700000000-1.json',
    'support/2026/11/20/INBOX-1700000000-2.json',
    'support/2026/11/20/INBOX-1700000000-2/1-a.txt',
    'support/2026/11/20/INBOX-1700000000-3.eml',
    'support/2026/11/20/INBOX-1700000000-3.json',
    'support/2026/11/20/INBOX-1700000000-3/1-a.txt',
    'support/2026/11/20/INBOX-1700000000-4.eml',
    'support/2026/11/20/INBOX-1700000000-4.json',
  ]);
  expect(end.staging).toEqual([]);
  expect(end.inFlight).toEqual([]);
  expect(end.messages).toEqual(
    UIDS.map((uid) => ({ uid, state: uid === 5 ? 'quarantined' : 'published', copies: uid === 5 ? 0 : 1 })),
  );
});

test('a crash at any operation ends in the same state after the next start', () => {
  const { steps, end } = undisturbed();
  for (let crashAt = 1; crashAt <= steps; crashAt++) {
    const place = emptyPlace();
    live(place, crashAt, ignore);
    live(place, Number.POSITIVE_INFINITY, ignore);
    expect(endState(place), `crash at operation ${crashAt}`).toEqual(end);
  }
}, 60_000);

test('a crash while settling, after a crash, ends in the same state too', () => {
  const { steps, end } = undisturbed();
  for (let first = 1; first <= steps; first += 2) {
    const place = emptyPlace();
    live(place, first, ignore);
    // Every operation of the second life comes up, spread over the first crashes.
    live(place, 1 + ((first * 7) % steps), ignore);
    live(place, Number.POSITIVE_INFINITY, ignore);
    expect(endState(place), `crash at operation ${first}, then at ${1 + ((first * 7) % steps)}`).toEqual(end);
  }
}, 60_000);

test("a crash at any operation while a message is taken back from a stranger's file loses nothing", () => {
  const { steps, end } = undisturbed();
  const json = 'support/2026/11/20/INBOX-1700000000-3.json';
  for (let crashAt = 1; crashAt <= steps; crashAt++) {
    const place = emptyPlace();
    // The first life ends between message 3's attachments and its JSON; then a stranger takes its place.
    let before = 0;
    live(place, Number.POSITIVE_INFINITY, ({ name, paths }) => {
      before += 1;
      if (name === 'rename' && paths[1]?.endsWith('-3.eml')) throw new Crash();
    });
    expect(before).toBeLessThan(steps);
    writeFileSync(join(place.storage, json), 'not ours');
    live(place, crashAt, ignore);
    rmSync(join(place.storage, json));
    live(place, Number.POSITIVE_INFINITY, ignore);
    expect(endState(place), `crash at operation ${crashAt}`).toEqual(end);
  }
}, 60_000);

/**
 * Takes each JSON the instant it is there, with what belongs to it, and tidies empty directories away
 * after every 29th operation, beginning with the `phase`-th: between any two steps in one test or another.
 */
function eagerConsumer(place: Place, phase: number) {
  const taken: string[] = [];
  let operations = phase;
  const tidy = (directory: string) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (!entry.isDirectory() || entry.name.startsWith('.')) continue;
      tidy(join(directory, entry.name));
      if (readdirSync(join(directory, entry.name)).length === 0) rmdirSync(join(directory, entry.name));
    }
  };
  const consume = ({ name, paths: [, to] }: Step) => {
    if (name === 'rename' && to?.endsWith('.json')) {
      const base = to.replace(/\.json$/, '');
      const complete = !/-[23]\.json$/.test(to) || existsSync(join(base, '1-a.txt'));
      taken.push(complete ? basename(to) : `${to} without its attachment`);
      for (const path of [base, `${base}.eml`, to]) rmSync(path, { recursive: true, force: true });
    }
    operations += 1;
    if (operations % 29 === 0) tidy(place.storage);
  };
  return { taken, consume };
}

test('with a consumer that takes everything at once, a crash at any operation publishes nothing twice', () => {
  const { steps } = undisturbed();
  const expected = UIDS.filter((uid) => uid !== 5).map((uid) => `INBOX-1700000000-${uid}.json`);
  // Tidying makes us look again, so there are more operations than without it.
  for (let crashAt = 1; crashAt <= 2 * steps; crashAt += 2) {
    const place = emptyPlace();
    const { taken, consume } = eagerConsumer(place, crashAt);
    live(place, crashAt, consume);
    live(place, Number.POSITIVE_INFINITY, consume);
    expect(taken.toSorted(), `crash at operation ${crashAt}`).toEqual(expected);
    expect(staging(place)).toEqual([]);
    expect(ledgerRows(place).inFlight).toEqual([]);
  }
}, 60_000);
