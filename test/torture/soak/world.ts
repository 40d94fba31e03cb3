/** One daemon of the soak with all that is around it: its Dovecot, its directories, its consumer; and when all is well again. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Consumed, startConsumer } from '../../dovecot/consumer.ts';
import { listingFaults } from '../../dovecot/differences.ts';
import {
  accountOn,
  createWorkplace,
  type MailboxStatus,
  type RunningDaemon,
  type Workplace,
} from '../../dovecot/workplace.ts';
import { type Dovecot, startDovecot } from '../../servers/dovecot.ts';
import { until } from '../../servers/until.ts';
import type { Fault } from '../attack.ts';
import { statusOf } from '../crash/stage.ts';
import { filesWith } from '../secrets/canaries.ts';
import type { House } from './houses.ts';
import { type Folder, openPost, type Post } from './mail.ts';
import { type Monitor, monitor } from './vitals.ts';

/** Every one is an account with a user of that name on the server. */
const ACCOUNTS: Record<string, { folders: string[]; after?: object }> = {
  ann: { folders: ['INBOX', 'Archive', 'Rechnungen/März'] },
  bob: { folders: ['INBOX', 'Leads'], after: { seen: true } },
  carol: { folders: ['INBOX'], after: { move: 'Done' } },
  dave: { folders: ['INBOX'], after: { delete: true } },
  eve: { folders: ['INBOX', 'Zettel'] },
};
export const USERS = Object.keys(ACCOUNTS);
export const FOLDERS: Folder[] = Object.entries(ACCOUNTS).flatMap(([account, { folders }]) =>
  folders.map((folder) => ({ account, folder })),
);
const MOVED: Folder = { account: 'carol', folder: 'Done' };

/** Looked for at the end. */
const PASSWORD = 'canary of the soak';

/** Anybody but root, for whom there are no permissions. */
const NOBODY = 65534;
const STORAGE_SIZE = '128m';

const SETTINGS = {
  limits: { operationSeconds: 5, connectsPerSecond: 50 },
  reconcileEvery: '20s',
};
/** The least that is allowed, so that files are rotated all the time. */
const LOG = { console: true, maxSize: '64kb' };

/** A start, and what it settles. */
const STARTS_WITHIN = 60_000;
/** 5 s for what is in flight, 3 s for farewells, and a machine that is busy. */
const STOPS_WITHIN = 15_000;
/** Once SIGHUP asked for another try; a busy machine takes a minute, what is stuck takes for ever. */
const WELL_WITHIN = 3 * 60_000;
/** docs/operations.md: connection trouble is tried again within 5 min. */
const WELL_BY_ITSELF_WITHIN = 5 * 60_000 + 30_000;
/** … and what needs somebody's help within 15. */
const NEEDS_HELP = /^(FOLDER_MISSING|AUTH_|STARTTLS_|TLS_|SECRET_|MESSAGE_UNFETCHABLE)/;
/** From when all mailboxes are well to when all that was found is published and listed. */
const SETTLES_WITHIN = 90_000;
/** Why a message may be in quarantine: its parser was stopped or killed, or its daemon. */
const EXPLAINED = /^(PARSE_TIMED_OUT|PARSER_DIED|DAEMON_KILLED)/;

/** EXIT.SOFTWARE of src/errors.ts. */
const DEFECT = 70;
/** So many misfortunes are told with a fault. */
const HISTORY = 25;
const MOST_FILLERS = 20;
const READ_ONLY_WITHIN = 5_000;
const MOST_STARTS = 3;

export interface World extends AsyncDisposable {
  name: string;
  server: Dovecot;
  place: Workplace;
  post: Post;
  houses: House[];
  /** Of a daemon that is measured. */
  monitor: Monitor | null;
  faults: Fault[];
  /** What is being done to it, for whoever reads of a fault. */
  note(what: string): void;
  fault(kind: Fault['kind'], what: string): void;
  /** Null where it does not run. */
  daemon(): RunningDaemon | null;
  start(): void;
  started(): Promise<boolean>;
  kill(): Promise<void>;
  /** Resolves the moment that its consumer takes a document, or after so long. */
  documentTaken(milliseconds: number): Promise<void>;
  /** SIGTERM. */
  stop(): Promise<void>;
  /** Takes over a configuration with other accounts; null: one that is faulty. */
  reload(change: (accounts: Record<string, unknown>[]) => object[] | null): void;
  /** The whole of it, as at first. */
  restore(): void;
  /** What is done to it is root's to do. */
  spoilStorage: Record<'fill' | 'freeze' | 'forbid', () => Promise<() => void>> | null;
  /** The end: stops, and nothing of any run is left. */
  finish(): Promise<void>;
  /** Waits until every mailbox is well and compares; without `patient` the daemon is asked to try at once. */
  recover(patient: boolean): Promise<void>;
  counts(): { sent: number; optional: number; seen: number; quarantined: number };
}

export interface WorldOptions {
  name: string;
  houses: House[];
  measured: boolean;
}

export async function openWorld({ name, houses, measured }: WorldOptions): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const users = Object.fromEntries(USERS.map((user) => [user, PASSWORD]));
  const server = stack.use(await startDovecot({ users }));
  const post = openPost(server);
  stack.defer(() => post.close());
  for (const folder of [...FOLDERS, MOVED]) await post.create(folder);

  const accounts = () => [
    ...Object.entries(ACCOUNTS).map(([user, more]) => accountOn(server, user, user, PASSWORD, more)),
    ...houses.map(({ configured }) => configured),
  ];
  const isRoot = process.getuid?.() === 0;
  const within = isRoot
    ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--pdeathsig=KILL']
    : [];
  const place = stack.use(createWorkplace({ accounts: [], ...SETTINGS }, { within }));
  const { storage, directory } = place;
  const vitals = measured ? monitor(join(directory, 'vitals')) : null;
  if (vitals !== null) within.push(...vitals.within);
  if (isRoot) {
    const options = `size=${STORAGE_SIZE},uid=${NOBODY},gid=${NOBODY},mode=755`;
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'mailwatchd-torture', storage]);
    stack.defer(() => void execFileSync('umount', ['--lazy', storage]));
  }
  let isWhole = true;
  const configure = (those: unknown) => {
    place.configure({ accounts: those, log: { ...LOG, directory: join(directory, 'log') } });
    isWhole = false;
  };
  const configureWhole = () => {
    configure(accounts());
    isWhole = true;
  };
  configureWhole();
  if (isRoot) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, directory]);

  const seen: Consumed[] = [];
  let quarantined = 0;
  let consumer = startConsumer(storage);
  stack.defer(() => consumer.stop());
  const begun = performance.now();
  const history: string[] = [];
  /** What is being done to the storage directory. */
  const spoiled = new Set<string>();
  let life: { daemon: RunningDaemon; expected: boolean; storageWasBad: boolean } | null = null;

  function absorb(): void {
    seen.push(...consumer.consumed.splice(0).map(withoutText));
    for (const fault of consumer.faults.splice(0)) world.fault('other', `what the consumer found: ${fault}`);
  }

  /** What the running daemon tells; null before it did. */
  function told(): MailboxStatus[] | null {
    return life === null ? null : (statusOf(place, life.daemon.pid) as MailboxStatus[] | null);
  }

  const isWell = ({ state, healthy, missing }: MailboxStatus) =>
    healthy && missing === 0 && (state === 'idle' || state === 'polling');

  function ill(): MailboxStatus[] | null {
    const mailboxes = told();
    if (mailboxes === null || mailboxes.length < FOLDERS.length + houses.length) return null;
    return mailboxes.filter((mailbox) => !isWell(mailbox));
  }

  /** Whether it became true in time; a daemon that ended never makes it so. */
  async function comesTrue(
    condition: () => boolean | Promise<boolean>,
    milliseconds: number,
  ): Promise<boolean> {
    const end = performance.now() + milliseconds;
    const done = await until(
      'it',
      async () =>
        world.faults.length > 0 || performance.now() > end ? 'no' : (await condition()) ? 'yes' : null,
      2 * milliseconds,
      200,
    );
    return done === 'yes';
  }

  /** Before it is ready a SIGHUP would end it. */
  function hangUp(): void {
    if (life?.daemon.output().includes(' started ')) process.kill(life.daemon.pid, 'SIGHUP');
  }

  /** What an operator does where too many messages match nothing: they were not seen before. */
  async function decide(): Promise<void> {
    for (const { account, folder, reason } of told() ?? [])
      if (reason?.startsWith('EPOCH_UNCLEAR'))
        await place.command(['adopt', `${account}/${folder}`, '--publish', '--yes']);
  }

  async function becomesWell(patient: boolean): Promise<void> {
    const well = async () => {
      await decide();
      return ill()?.length === 0;
    };
    await comesTrue(() => ill() !== null, STARTS_WITHIN);
    if (patient && (await comesTrue(well, WELL_BY_ITSELF_WITHIN))) return;
    const trouble = ill();
    if (patient && trouble?.some(({ reason }) => !NEEDS_HELP.test(reason ?? '')))
      return world.fault('hang', `did not become well by itself: ${JSON.stringify(trouble)}`);
    hangUp();
    if (!(await comesTrue(well, WELL_WITHIN)))
      world.fault('hang', `did not become well in ${WELL_WITHIN} ms: ${JSON.stringify(ill())}`);
  }

  /** Messages that something else than themselves brought into quarantine; they come when they are replayed. */
  async function replay(): Promise<void> {
    const rows = await place.list('--state', 'quarantined');
    if (rows.length === 0) return;
    quarantined += rows.length;
    for (const { id, reason } of rows)
      if (!EXPLAINED.test(reason ?? '')) world.fault('other', `${id} is in quarantine: ${reason}`);
    await place.command(['replay', '--quarantined']);
    const left = async () => (await place.list('--state', 'quarantined')).length === 0;
    await until('the quarantine to be empty', left, SETTLES_WITHIN, 1000).catch(() =>
      world.fault('hang', `still in quarantine: ${rows.map(({ id }) => id).join(', ')}`),
    );
  }

  async function compare(): Promise<void> {
    absorb();
    const lacks = () => {
      absorb();
      return post.faults(seen).lost;
    };
    await comesTrue(() => lacks().length === 0, SETTLES_WITHIN);
    const { lost, doubled, paths } = post.faults(seen);
    for (const each of lost) world.fault('lost', each);
    for (const each of doubled) world.fault('doubled', each);
    for (const each of paths) world.fault('other', `a path used twice: ${each}`);

    let differences = listingFaults(seen, await place.list(), storage);
    const agrees = () => differences.unlisted.length + differences.unseen.length === 0;
    for (const end = performance.now() + SETTLES_WITHIN; !agrees() && performance.now() < end; ) {
      absorb();
      differences = listingFaults(seen, await place.list(), storage);
    }
    for (const each of differences.unlisted) world.fault('other', `seen, but not listed: ${each}`);
    for (const each of differences.unseen) world.fault('other', `listed, but not seen: ${each}`);
    for (const file of filesWith(PASSWORD, place)) world.fault('other', `the password is in ${file}`);
    const defect = life?.daemon.output().match(/^.* code=INTERNAL .*$/m);
    if (defect) world.fault('crash', defect[0]);
  }

  const world: World = {
    ...{ name, server, place, post, houses, monitor: vitals, faults: [] },
    note(what) {
      history.push(`${((performance.now() - begun) / 1000).toFixed(1)} ${what}`);
    },
    fault(kind, what) {
      const where = `${name}, after ${history.slice(-HISTORY).join('; ')}`;
      world.faults.push({ kind, where, what: `${what}\n${life?.daemon.output().slice(-5000) ?? ''}` });
    },
    daemon: () => life?.daemon ?? null,
    start() {
      const daemon = place.start();
      const own = { daemon, expected: false, storageWasBad: spoiled.size > 0 };
      life = own;
      daemon.process.once('exit', (status, signal) => {
        if (own.expected) return;
        // It may refuse to start where the storage cannot be used.
        const refused =
          !daemon.output().includes(' started ') && /^mailwatchd: [A-Z_]+: /m.test(daemon.output());
        const explained = own.storageWasBad && refused && status !== null && status !== DEFECT;
        if (explained) world.note(`ended with ${status}`);
        else world.fault('crash', `the daemon ended: ${status ?? signal}`);
        if (life === own) life = null;
      });
    },
    async started() {
      const own = life;
      if (own === null) return false;
      await comesTrue(() => life !== own || own.daemon.output().includes(' started '), STARTS_WITHIN);
      return life === own && own.daemon.output().includes(' started ');
    },
    async kill() {
      const own = life;
      if (own === null) return;
      own.expected = true;
      await own.daemon.kill();
      life = null;
    },
    async documentTaken(milliseconds) {
      const end = performance.now() + milliseconds;
      const before = seen.length + consumer.consumed.length;
      const taken = () => seen.length + consumer.consumed.length > before || performance.now() > end;
      await until('a document', taken, 2 * milliseconds, 1);
    },
    async stop() {
      const own = life;
      if (own === null) return;
      own.expected = true;
      const says = (event: string) => own.daemon.output().includes(` ${event} `);
      const isReady = says('started') || (says('starting') && !own.storageWasBad);
      const status = await Promise.race([own.daemon.stop(), wait(STOPS_WITHIN, 'late', { ref: false })]);
      if (status === 'late') {
        world.fault('hang', `still there ${STOPS_WITHIN} ms after SIGTERM`);
        return world.kill();
      }
      if (isReady && status !== 0) world.fault('crash', `SIGTERM: exit ${status}`);
      life = null;
    },
    reload(change) {
      configure(change(accounts() as Record<string, unknown>[]));
      hangUp();
    },
    restore() {
      configureWhole();
      hangUp();
    },
    spoilStorage: !isRoot
      ? null
      : {
          fill: () => during('full', () => fill(storage)),
          freeze: () =>
            during('read-only', async () => {
              // A consumer there can do nothing either.
              consumer.stop();
              absorb();
              // Impossible while a file is being written.
              const remount = () => spawnSync('mount', ['-o', 'remount,ro', storage]).status === 0;
              await comesTrue(remount, READ_ONLY_WITHIN);
              return () => {
                execFileSync('mount', ['-o', 'remount,rw', storage]);
                consumer = startConsumer(storage);
              };
            }),
          forbid: () =>
            during('forbidden', () => {
              chmodSync(storage, 0);
              return () => chmodSync(storage, 0o755);
            }),
        },
    async recover(patient) {
      for (const folder of [...FOLDERS, MOVED]) await post.create(folder);
      // One that was being started while the storage was bad may still end.
      for (
        let tries = 0;
        tries < MOST_STARTS && world.faults.length === 0 && !(await world.started());
        tries++
      )
        world.start();
      if (!isWhole) world.restore();
      await becomesWell(patient);
      if (world.faults.length > 0) return;
      await replay();
      await compare();
      for (const folder of [...FOLDERS, MOVED]) await post.tidy(folder);
      for (const house of houses) house.tidy();
    },
    async finish() {
      await world.stop();
      for (const run of readdirSync(join(storage, '.staging')))
        world.fault('other', `left in staging: ${run}`);
    },
    counts: () => ({ ...post.counts(), seen: seen.length, quarantined }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };

  async function during(what: string, spoil: () => (() => void) | Promise<() => void>): Promise<() => void> {
    spoiled.add(what);
    if (life !== null) life.storageWasBad = true;
    const mend = await spoil();
    return () => {
      mend();
      spoiled.delete(what);
    };
  }

  const kept = stack.move();
  return world;
}

/** What is compared, without what would fill our memory. */
function withoutText({ document, ...consumed }: Consumed): Consumed {
  const { id, account, folder, uid, uidValidity, messageId, receivedAt, size, sha256 } = document;
  const empty = {
    subject: null,
    sender: null,
    body: '',
    keywords: [],
    attachments: [],
    source: null,
    warnings: [],
  };
  return {
    ...consumed,
    document: { ...empty, id, account, folder, uid, uidValidity, messageId, receivedAt, size, sha256 },
  };
}

/** Up to the last block; the daemon may take some meanwhile, or give some back. */
function fill(storage: string): () => void {
  const filler = join(storage, '.filler');
  mkdirSync(filler);
  for (let count = 0; count < MOST_FILLERS; count++) {
    const { bavail, bsize } = statfsSync(storage);
    if (bavail === 0) break;
    try {
      execFileSync('fallocate', ['-l', String(bavail * bsize), join(filler, String(count))], {
        stdio: 'ignore',
      });
    } catch {
      // ENOSPC: it was quicker.
    }
  }
  return () => rmSync(filler, { recursive: true });
}
