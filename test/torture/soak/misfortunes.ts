/** All that can happen to a daemon of the soak, to its server, its disk and its mail, each undone after a while. */
import { chmodSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { descendantsOf } from '../../servers/processes.ts';
import type { Random } from '../../servers/random.ts';
import { BEHAVIOURS, type House } from './houses.ts';
import { asStored, type Folder, makeMail } from './mail.ts';
import { FOLDERS, USERS, type World } from './world.ts';

export interface Misfortune {
  name: string;
  /** How much more often than others. */
  weight?: number;
  /** How long it lasts at most, ms. */
  lasts?: number;
  /** Returns what undoes it, if there is anything to undo. */
  strike(world: World, random: Random): unknown;
}

/** Those of a list come one after the other, those of different lists at the same time. */
export function lanesOf(world: World, mortal: boolean): Misfortune[][] {
  return [
    ...USERS.map(mailOf),
    ...world.houses.map(hostility),
    SERVER,
    disk(world),
    mortal ? [...PROGRAM, ...DEATHS] : PROGRAM,
  ];
}

let messages = 0;

function newMail(world: World, random: Random): Buffer {
  messages += 1;
  return makeMail(random, `soak-${world.name}-${messages}`);
}

const BURST = 8;

function mailOf(account: string): Misfortune[] {
  const own = FOLDERS.filter((folder) => folder.account === account);
  const pick = (random: Random) => random.pick(own);
  const removable = own.filter(({ folder }) => folder !== 'INBOX');
  const between = (random: Random): [Folder, Folder] => {
    const from = pick(random);
    return [from, random.pick(own.filter((folder) => folder !== from))];
  };
  const several: Misfortune[] = [
    {
      name: `copies of ${account}`,
      strike: ({ post }, random) => post.transfer('COPY', ...between(random), random),
    },
    {
      name: `moves of ${account}`,
      strike: ({ post }, random) => post.transfer('MOVE', ...between(random), random),
    },
    {
      name: `a folder of ${account} removed and made again`,
      async strike({ post }, random) {
        const folder = random.pick(removable);
        await post.remove(folder);
        return () => post.create(folder);
      },
    },
  ];
  return [
    {
      name: `mail for ${account}`,
      weight: 8,
      async strike(world, random) {
        let left = random.between(1, BURST);
        while (left > 0 && (await world.post.send(pick(random), asStored(newMail(world, random))))) left -= 1;
      },
    },
    { name: `flags of ${account}`, strike: ({ post }, random) => post.flag(pick(random), random) },
    { name: `expunged of ${account}`, strike: ({ post }, random) => post.expunge(pick(random), random) },
    ...(removable.length > 0 ? several : []),
  ];
}

function hostility(house: House): Misfortune[] {
  const deliver = (world: World, random: Random) => {
    const raw = newMail(world, random);
    world.post.expect({ account: house.account, folder: 'INBOX' }, raw, true);
    house.deliver(raw);
  };
  const behaviours = BEHAVIOURS.map((behaviour) => ({
    name: `${house.account}: ${behaviour.name}`,
    lasts: 8000,
    async strike(world: World, random: Random) {
      if (random.fraction() < 0.5) deliver(world, random);
      await house.spoil(behaviour, random);
      return () => house.mend();
    },
  }));
  return [
    { name: `mail for ${house.account}`, weight: BEHAVIOURS.length / 2, strike: deliver },
    ...behaviours,
  ];
}

/** Of a server that another lane has stopped or that lacks the folder at the moment. */
const ifPossible = (work: Promise<unknown>) => work.catch(() => undefined);

const SERVER: Misfortune[] = [
  { name: 'connections cut', weight: 3, strike: ({ server }) => void server.cutConnections() },
  { name: 'server restarted', strike: ({ server }) => server.restart() },
  {
    name: 'server stopped',
    lasts: 10_000,
    async strike({ server }) {
      await server.down();
      return () => server.up();
    },
  },
  { name: 'server frozen', lasts: 10_000, strike: ({ server }) => server.freeze() },
  {
    name: 'another UIDVALIDITY',
    weight: 2,
    async strike({ server }, random) {
      const { account, folder } = random.pick(FOLDERS);
      await ifPossible(server.changeUidValidity(account, folder));
    },
  },
  { name: 'indexes lost', strike: ({ server }, random) => server.loseIndexes(random.pick(USERS)) },
];

function disk({ spoilStorage }: World): Misfortune[] {
  const log: Misfortune[] = [
    {
      name: 'log files removed',
      strike({ place }) {
        const directory = join(place.directory, 'log');
        for (const name of readdirSync(directory)) rmSync(join(directory, name), { force: true });
      },
    },
    {
      name: 'log directory forbidden',
      strike({ place }) {
        const directory = join(place.directory, 'log');
        chmodSync(directory, 0);
        return () => chmodSync(directory, 0o755);
      },
    },
  ];
  if (spoilStorage === null) return log;
  return [
    ...log,
    { name: 'storage full', weight: 2, lasts: 8000, strike: spoilStorage.fill },
    { name: 'storage read-only', weight: 2, lasts: 8000, strike: spoilStorage.freeze },
    { name: 'storage forbidden', weight: 2, lasts: 8000, strike: spoilStorage.forbid },
  ];
}

const isParser = (pid: number): boolean => {
  try {
    return /parser-process/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
  } catch {
    return false; // ended meanwhile
  }
};

function signalParser(world: World, random: Random, signal: NodeJS.Signals): (() => void) | undefined {
  const parsers = descendantsOf(world.daemon()?.pid ?? -1).filter(({ pid }) => isParser(pid));
  if (parsers.length === 0) return;
  const parser = random.pick(parsers);
  parser.signal(signal);
  return () => parser.signal('SIGCONT');
}

/** Takes over other accounts; afterwards they are as before. */
const configured = (
  name: string,
  change: (accounts: Record<string, unknown>[], random: Random) => object[] | null,
): Misfortune => ({
  name,
  async strike(world, random) {
    if (!(await world.started())) return;
    world.reload((accounts) => change(accounts, random));
    return () => world.restore();
  },
});

const COMMANDS = [
  ['status'],
  ['status', '--check'],
  ['list', '--json', '--limit', '20'],
  ['list', '--state', 'quarantined'],
  ['replay', '--quarantined'],
  ['check', '--offline'],
  ['describe'],
];
/** EXIT.SOFTWARE and EXIT.TEMPFAIL of src/errors.ts. */
const [DEFECT, LATER] = [70, 75];
const COMMAND_WITHIN = 60_000;

async function command(world: World, parameters: string[]): Promise<number | null> {
  const { pid, finished } = world.place.launch(parameters);
  const late = setTimeout(() => {
    world.fault('hang', `${parameters.join(' ')} still ran after ${COMMAND_WITHIN} ms`);
    process.kill(pid, 'SIGKILL');
  }, COMMAND_WITHIN);
  const { status, stderr } = await finished;
  clearTimeout(late);
  if (status === null || status === DEFECT)
    world.fault('crash', `${parameters.join(' ')}: exit ${status}: ${stderr}`);
  return status;
}

const PROGRAM: Misfortune[] = [
  configured('an account removed', (accounts, random) => {
    const without = random.between(0, accounts.length - 1);
    return accounts.filter((_, index) => index !== without);
  }),
  configured('an account changed', (accounts, random) => {
    const changed = random.between(0, accounts.length - 1);
    return accounts.map((account, index) =>
      index === changed ? { ...account, idleRenewEvery: '7s', pollEvery: '7s' } : account,
    );
  }),
  configured('INBOX only', (accounts) => accounts.map((account) => ({ ...account, folders: ['INBOX'] }))),
  configured('a faulty configuration', () => null),
  {
    name: 'a parser killed',
    weight: 2,
    strike: (world, random) => void signalParser(world, random, 'SIGKILL'),
  },
  {
    name: 'a parser stopped',
    lasts: 8000,
    strike: (world, random) => signalParser(world, random, 'SIGSTOP'),
  },
  {
    name: 'a command',
    weight: 3,
    strike: (world, random) => command(world, random.pick(COMMANDS)),
  },
  {
    name: 'a second daemon',
    async strike(world) {
      if (!(await world.started())) return;
      const status = await command(world, ['run']);
      if (status !== LATER) world.fault('other', `a second daemon ended with ${status}, not ${LATER}`);
    },
  },
  {
    name: 'the daemon stopped for a while',
    strike(world) {
      const pid = world.daemon()?.pid;
      if (pid === undefined) return;
      process.kill(pid, 'SIGSTOP');
      return () => process.kill(pid, 'SIGCONT');
    },
  },
];

/** Until the next life begins, and how soon that may end again, ms: a start takes about 300. */
const MOST_ABSENCE = 4000;
const SHORT_LIFE = 1500;
/** How long a moment is waited for, ms. */
const MOMENT_WITHIN = 5000;

const DEATHS: Misfortune[] = [
  {
    name: 'SIGKILL',
    weight: 4,
    async strike(world, random) {
      await world.kill();
      await wait(random.between(0, MOST_ABSENCE));
      world.start();
    },
  },
  {
    // In between it was published, and nothing but its absence tells.
    name: 'SIGKILL the moment that a document is taken',
    weight: 6,
    async strike(world) {
      await world.documentTaken(MOMENT_WITHIN);
      await world.kill();
      world.start();
    },
  },
  {
    name: 'SIGKILL again and again',
    weight: 2,
    async strike(world, random) {
      for (let left = random.between(2, 4); left > 0; left--) {
        await world.kill();
        world.start();
        await wait(random.between(0, SHORT_LIFE));
      }
    },
  },
  {
    name: 'SIGTERM',
    weight: 4,
    async strike(world, random) {
      await world.stop();
      await wait(random.between(0, MOST_ABSENCE));
      world.start();
    },
  },
];
