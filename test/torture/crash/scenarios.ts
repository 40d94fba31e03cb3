/** What the program is doing when it is killed: what was before, what happens, and what must have come of it. */
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Consumed } from '../../dovecot/consumer.ts';
import { until } from '../../servers/until.ts';
import { endFaults, type Finding, type Reference } from './check.ts';
import {
  ACCOUNT,
  type Actor,
  forgetStatus,
  type Life,
  type Settings,
  type Stage,
  USER,
  WITHIN,
} from './stage.ts';

export interface Scenario {
  name: string;
  actors: Actor[];
  settings?: (folder: string) => Settings;
  /** The lives before the one that is attacked. */
  before?(stage: Stage): Promise<void>;
  /** The life that is attacked: `run` is traced from when it waits for mail on, other commands from their start. */
  command: (stage: Stage) => string[];
  /** Messages that are stored when `run` waits for mail. */
  stored?: number;
  /** What happens to `run` then. */
  provoke?(stage: Stage, life: Life): Promise<unknown>;
  /** `run` did what it had to, and is stopped. */
  done?(stage: Stage, life: Life): boolean | Promise<boolean>;
  /** The lives after it; it ends with nothing to do. `once` where none is given. */
  after?(stage: Stage): Promise<Finding[]>;
  check?(stage: Stage, reference: Reference | null): Promise<Finding[]>;
}

/** A small message; with attachments, one with two of them. */
export function letter(name: string, { attachments = false } = {}): Buffer {
  const header = [
    'From: Ann <ann@example.org>',
    `Subject: ${name}`,
    `Message-ID: <${name}@torture.example>`,
    'Date: Fri, 20 Nov 2026 11:00:00 +0100',
    'MIME-Version: 1.0',
  ];
  const text = ['Content-Type: text/plain; charset=utf-8', '', `Grüße, ${name}`, ''];
  const file = (filename: string) => [
    '--b',
    `Content-Type: application/octet-stream; name=${filename}`,
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from(`${filename} of ${name}`).toString('base64'),
  ];
  const lines = attachments
    ? [
        'Content-Type: multipart/mixed; boundary=b',
        '',
        '--b',
        ...text,
        ...file('a.bin'),
        ...file('b.bin'),
        '--b--',
        '',
      ]
    : text;
  return Buffer.from([...header, ...lines].join('\r\n'));
}

/** A life before the one that is attacked. */
async function lived(stage: Stage, parameters: string[], expected = [0]): Promise<void> {
  for (const { what } of await demand(stage, parameters, expected)) throw new Error(what);
}

const large = (name: string, bytes = 5_000, parts = {}): Buffer =>
  Buffer.concat([letter(name, parts), Buffer.from('x\r\n'.repeat(bytes / 3))]);

/** A UID behind the block that holds the first ones. */
const FAR = 5_000;

/** More that match nothing than a mailbox takes without asking. */
const UNCLEAR = 101;

/** A command that must do what it is for. */
export async function demand(stage: Stage, parameters: string[], expected = [0]): Promise<Finding[]> {
  const life = stage.live(parameters);
  await until(`${parameters.join(' ')} to end`, () => life.ended(), WITHIN);
  await life.end;
  const { exitCode } = life.process;
  if (expected.includes(exitCode ?? -1)) return [];
  return [
    { kind: 'other', what: `${parameters.join(' ')}: exit ${exitCode}: ${life.output().slice(-2000)}` },
  ];
}

/** Ends a daemon without warning, after it has done what `when` waits for. */
async function dieWhen(stage: Stage, inject: string | null, when: () => boolean): Promise<void> {
  const life = stage.live(['run'], 'spool');
  await life.trace('spool', inject ?? undefined);
  await until('a daemon to die', () => life.ended() || when() || null, WITHIN);
  life.signal('SIGKILL');
  await life.end;
  forgetStatus(stage.place);
}

/** As the ledger counts it: a message, alone in work, with which so many runs have died before. */
function aloneWith(stage: Stage, deaths: number): boolean {
  using ledger = new DatabaseSync(join(stage.place.state, 'ledger.db'), { readOnly: true, timeout: WITHIN });
  return ledger.prepare('SELECT 1 FROM alone WHERE in_work = 1 AND deaths = ?').get(deaths) !== undefined;
}

/** Runs that died over the same message, until the next one quarantines it. */
const DEATHS = 3;

/** A daemon that waits for mail is killed. */
async function unclean(stage: Stage): Promise<void> {
  const life = stage.live(['run']);
  await stage.untilIdle(life, 0);
  life.signal('SIGKILL');
  await life.end;
  forgetStatus(stage.place);
}

/** While these are worn three parsers die over it. */
const UNPARSABLE = {
  clothes: { environment: { TORTURE_PARSERS: 'die' } },
  message: () => large('one', 5_000_000, { attachments: true }),
};

/** So many documents were taken, and the daemon waits for mail again. */
const stored = (stage: Stage, count: number, life: Life): boolean =>
  stage.consumer.consumed.length >= count && stage.idles(life, count);

async function withQuarantine(
  stage: Stage,
  reference: Reference | null,
  codes: string[],
): Promise<Finding[]> {
  const faults = await endFaults(stage, { reference });
  const { place } = stage;
  const listed = (await place.list('--state', 'quarantined')).map(({ id, reason, path }) => ({
    id,
    reason,
    path,
  }));
  const quarantine = join(place.storage, '.quarantine', ACCOUNT);
  const found = existsSync(quarantine) ? readdirSync(quarantine).toSorted() : [];
  const due = listed.flatMap(({ id }) => [`${id}.eml`, `${id}.error`]).toSorted();
  const wrong =
    listed.length !== codes.length || codes.some((code, at) => !listed[at]?.reason?.includes(code));
  return [
    ...faults,
    ...(wrong
      ? [{ kind: 'lost' as const, what: `quarantined: ${JSON.stringify(listed)}, not ${codes}` }]
      : []),
    ...(found.join() === due.join()
      ? []
      : [{ kind: 'other' as const, what: `in quarantine: ${found}, not ${due}` }]),
  ];
}

/** Leaves out what has this in its subject: small ones once they are parsed, large ones by their headers. */
const NEWS = { only: [{ name: 'all', subject: '/./' }], except: [{ name: 'news', subject: 'news' }] };

async function sendNews(stage: Stage): Promise<void> {
  await stage.send(letter('first'));
  await stage.send(letter('news'));
  await stage.send(large('news with files', 50_000, { attachments: true }));
  await stage.send(large('second', 50_000));
  await stage.send(large('larger news', 5_000_000));
}

/** All is published but for what these rules leave out. */
async function withFiltered(stage: Stage, reference: Reference | null, names: string[]): Promise<Finding[]> {
  const faults = await endFaults(stage, { reference });
  const listed = await stage.place.list('--state', 'filtered');
  const found = listed.map(
    ({ messageId, reason }) => `${messageId?.replace('@torture.example', '')}: ${reason}`,
  );
  const due = names.map((name) => `${name}: news`);
  if (found.toSorted().join() === due.toSorted().join()) return faults;
  return [...faults, { kind: 'lost', what: `filtered: ${found}, not ${due}` }];
}

const run = () => ['run'];
const once = () => ['once'];
const sendTwo = async (stage: Stage) => {
  await stage.send(letter('first'));
  await stage.send(letter('second', { attachments: true }));
};

/** One message comes while the daemon waits. */
const arrival = (name: string, actors: Actor[], settings: Settings, attachments: boolean): Scenario => ({
  ...{ name, actors, settings: () => settings, command: run },
  provoke: (stage) => stage.send(letter('one', { attachments })),
  done: (stage, life) => stored(stage, 1, life),
});

/** A life that died while it published two messages; the next one settles them, and is killed too. */
const settling = (name: string, inject: string | null): Scenario => ({
  ...{ name, actors: ['spool'], settings: () => ({ storage: { source: 'keep' } }), command: once },
  async before(stage) {
    await sendTwo(stage);
    await dieWhen(stage, inject, () => inject === null && stage.consumer.consumed.length === 2);
  },
});

const after = (
  name: string,
  actions: (folder: string) => object,
  done: (stage: Stage) => Promise<boolean>,
): Scenario => ({
  ...{ name: `after ${name}`, actors: ['main', 'spool'] as Actor[], command: run },
  settings: (folder) => ({ account: { after: actions(folder) } }),
  done: async (stage, life) => stored(stage, 1, life) && (await done(stage)),
  async before(stage) {
    if (name === 'move') await stage.server.createFolder(USER, `${stage.folder}-done`);
  },
  provoke: (stage) => stage.send(letter('one')),
  async check(stage, reference) {
    const faults = await endFaults(stage, { reference });
    const what = `the after-action ${name} was not carried out`;
    return (await done(stage)) ? faults : [...faults, { kind: 'other', what }];
  },
});

/** The handoff and its recovery first: a short run gets to these always, and to some of the others. */
export const SCENARIOS: Scenario[] = [
  arrival('one message', ['spool', 'main', 'parser'], {}, false),
  arrival('attachments', ['spool', 'parser'], { storage: { source: 'keep' } }, true),
  settling('settling what was half published', 'rename:signal=SIGKILL:when=3'),
  {
    ...{ name: 'catch-up', actors: ['spool', 'main'], command: once },
    async before(stage) {
      await sendTwo(stage);
      for (const name of ['third', 'third', 'fifth']) await stage.send(letter(name));
      // So many that the last ones are synced with their batch.
      for (let number = 6; number <= 12; number++) await stage.send(letter(`letter-${number}`));
    },
  },
  {
    ...{ name: 'packing', actors: ['spool'], command: once },
    async before(stage) {
      await sendTwo(stage);
      await stage.server.raiseUidNext(USER, stage.folder, FAR);
      await stage.send(letter('far'));
      await lived(stage, ['once']);
    },
    async check(stage, reference) {
      using ledger = new DatabaseSync(join(stage.place.state, 'ledger.db'), { readOnly: true });
      const blocks = ledger.prepare('SELECT count FROM block').all();
      const packed = blocks.length === 1 && blocks[0]!.count === 2;
      const what = `packed: ${JSON.stringify(blocks)}, not the first two`;
      const faults = await endFaults(stage, { reference });
      return packed ? faults : [...faults, { kind: 'other', what }];
    },
  },
  settling('settling what was only recorded', 'rename:signal=SIGKILL:when=1'),
  settling('settling what was published', null),
  {
    // It is downloaded into a file first.
    ...{ name: 'a large message', actors: ['spool', 'pool'], command: run },
    provoke: (stage) => stage.send(large('one', 5_000_000)),
    done: (stage, life) => stored(stage, 1, life),
  },
  after(
    'seen',
    () => ({ seen: true }),
    async ({ messages, folder }) => (await messages(folder)).every(({ flags }) => flags.includes('\\Seen')),
  ),
  after(
    'move',
    (folder) => ({ move: `${folder}-done` }),
    async ({ messages, folder }) => {
      const left = await messages(folder);
      const moved = await messages(`${folder}-done`);
      return left.length === 0 && moved.length === 1;
    },
  ),
  after(
    'delete',
    () => ({ delete: true }),
    async ({ messages, folder }) => {
      return (await messages(folder)).length === 0;
    },
  ),
  {
    ...{ name: 'new UIDVALIDITY', actors: ['spool'], command: once },
    async before(stage) {
      await sendTwo(stage);
      // Without a Message-ID it can only be known by its bytes.
      await stage.send(
        Buffer.from(
          letter('third')
            .toString()
            .replace(/^Message-ID.*\r\n/m, ''),
        ),
      );
      await lived(stage, ['once']);
      await stage.server.changeUidValidity(USER, stage.folder);
      await stage.send(letter('fourth'));
    },
    check: (stage) => endFaults(stage, { key: 'content' }),
  },
  {
    ...{
      name: 'quarantine',
      actors: ['spool'],
      command: once,
      settings: () => ({ limits: { messageBytes: '4kb' } }),
    },
    async before(stage) {
      await stage.send(letter('first'));
      await stage.send(large('second'));
      await stage.send(letter('third'));
    },
    check: (stage, reference) => withQuarantine(stage, reference, ['MESSAGE_TOO_LARGE']),
  },
  {
    ...{ name: 'quarantine of what cannot be parsed', actors: ['spool', 'pool'], command: once },
    async before(stage) {
      stage.wear(UNPARSABLE.clothes);
      await stage.send(UNPARSABLE.message());
      await stage.send(letter('second'));
    },
    check: (stage, reference) => withQuarantine(stage, reference, ['PARSER_DIED']),
  },
  {
    ...{ name: 'quarantine of what killed three runs', actors: ['spool'], command: once },
    async before(stage) {
      await unclean(stage);
      // So large that it is in work for a while.
      await stage.send(large('one', 20_000_000));
      await stage.send(letter('second'));
      for (let deaths = 0; deaths < DEATHS; deaths++) {
        const life = stage.live(['once']);
        await until(
          `a message with ${deaths} deaths`,
          () => life.ended() || aloneWith(stage, deaths),
          WITHIN,
          5,
        );
        life.signal('SIGKILL');
        await life.end;
      }
    },
    check: (stage, reference) => withQuarantine(stage, reference, ['DAEMON_KILLED']),
  },
  {
    ...{ name: 'a limit that is raised', actors: ['spool'], command: once },
    async before(stage) {
      stage.configure({ limits: { messageBytes: '4kb' } });
      await stage.send(large('one'));
      await lived(stage, ['once']);
      stage.configure({});
    },
    check: (stage, reference) => withQuarantine(stage, reference, []),
  },
  {
    ...{ name: 'filters', actors: ['spool', 'main', 'pool'], command: once, before: sendNews },
    settings: () => ({ account: NEWS }),
    check: (stage, reference) => withFiltered(stage, reference, ['news', 'news with files', 'larger news']),
  },
  {
    ...{ name: 'replay --filtered', actors: ['spool', 'main'], command: once },
    async before(stage) {
      stage.configure({ account: NEWS });
      await sendNews(stage);
      await lived(stage, ['once']);
      stage.configure({ account: { except: [{ name: 'news', subject: 'larger news' }] } });
      await lived(stage, ['replay', '--filtered']);
    },
    check: (stage, reference) => withFiltered(stage, reference, ['larger news']),
  },
  {
    ...{ name: 'replay', actors: ['spool', 'parser'], command: run, stored: 1 },
    settings: () => ({ storage: { source: 'keep' } }),
    async before(stage) {
      await stage.send(letter('one', { attachments: true }));
      await lived(stage, ['once']);
      // What its consumer took it has kept, and puts the source back where it was.
      const [{ document, path }] = stage.consumer.consumed.splice(0) as [Consumed];
      const source = join(stage.place.storage, dirname(path), document.source ?? '');
      mkdirSync(dirname(source), { recursive: true, mode: 0o2770 });
      writeFileSync(source, letter('one', { attachments: true }));
    },
    async provoke(stage) {
      const [message] = await stage.place.list();
      return demand(stage, ['replay', message?.id ?? '', '--again']);
    },
    done: (stage, life) => stored(stage, 1, life),
    async after(stage) {
      const life = stage.live(['run']);
      await until('the second document', () => stage.consumer.consumed.length === 1 || null, WITHIN);
      await stage.untilIdle(life, 1);
      life.signal('SIGTERM');
      await life.end;
      return [];
    },
    async check(stage, reference) {
      for (const { path } of await stage.place.list()) {
        const source = (path ?? '').replace(/(~2)?\.json$/, '.eml');
        rmSync(source.startsWith('/') ? source : join(stage.place.storage, source), { force: true });
      }
      return endFaults(stage, { reference });
    },
  },
  {
    ...{ name: 'replay without a daemon', actors: ['spool', 'main'] },
    command: () => ['replay', '--quarantined'],
    async before(stage) {
      stage.wear(UNPARSABLE.clothes);
      await stage.send(UNPARSABLE.message());
      await stage.send(letter('second'));
      await lived(stage, ['once']);
      stage.wear({});
      if ((await stage.place.list('--state', 'quarantined')).length !== 1)
        throw new Error('nothing is quarantined');
    },
    after: async (stage) => [
      ...(await demand(stage, ['replay', '--quarantined'])),
      ...(await demand(stage, ['once'])),
    ],
    check: (stage, reference) => withQuarantine(stage, reference, []),
  },
  {
    ...{ name: 'suspects', actors: ['spool'], command: once },
    async before(stage) {
      await unclean(stage);
      await sendTwo(stage);
    },
  },
  {
    ...{ name: 'SIGHUP', actors: ['spool', 'main', 'pool'], command: run },
    async provoke(stage, life) {
      const second = `${stage.folder}-two`;
      await stage.server.createFolder(USER, second);
      await stage.send(letter('one'), { into: second });
      stage.configure({ account: { folders: [stage.folder, second] } });
      life.signal('SIGHUP');
    },
    done: (stage, life) => stored(stage, 1, life),
  },
  {
    ...{ name: 'log rotation', actors: ['main', 'pool'], command: once },
    settings: () => ({ log: { maxSize: '64kb', keep: '1d' } }),
    async before(stage) {
      await sendTwo(stage);
      const file = (time: number) =>
        join(stage.place.directory, 'log', `mailwatchd-${new Date(time).toISOString().slice(0, 10)}.log`);
      writeFileSync(file(Date.now()), `${'x'.repeat(64 * 1024 - 100)}\n`);
      // Too old to be kept.
      const past = Date.now() - 5 * 86_400_000;
      writeFileSync(file(past), 'x\n');
      utimesSync(file(past), past / 1000, past / 1000);
    },
  },
  {
    ...{ name: 'adopt', actors: ['main'], command: () => ['adopt', '--yes'] },
    async before(stage) {
      await sendTwo(stage);
      await lived(stage, ['once']);
      stage.consumer.consumed.length = 0;
      for (const name of readdirSync(stage.place.state)) rmSync(join(stage.place.state, name));
    },
    after: async (stage) => [
      ...(await demand(stage, ['adopt', '--yes'])),
      ...(await demand(stage, ['once'])),
    ],
  },
  {
    ...{ name: 'adopt a mailbox', actors: ['main'] },
    command: ({ folder }) => ['adopt', `${ACCOUNT}/${folder}`, '--publish', '--yes'],
    async before(stage) {
      await lived(stage, ['once']);
      // Older than what was seen last, so they should have been known.
      const date = new Date(Date.now() - 86_400_000);
      for (let count = 1; count <= UNCLEAR; count++) await stage.send(letter(`unclear ${count}`), { date });
      await stage.server.changeUidValidity(USER, stage.folder);
      await lived(stage, ['once'], [1]);
    },
    async after(stage) {
      // It may have been decided by the one that was killed.
      const { status, stderr } = await stage.place.command([
        ...['adopt', `${ACCOUNT}/${stage.folder}`, '--publish', '--yes'],
      ]);
      const decided = await demand(stage, ['once']);
      return decided.map(({ kind, what }) => ({ kind, what: `${what}; adopt: ${status} ${stderr}` }));
    },
    check: (stage) => endFaults(stage, { key: 'content' }),
  },
];
