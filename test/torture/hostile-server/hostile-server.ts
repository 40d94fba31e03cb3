/**
 * Hostile servers, and a hostile network before them: many mailboxes of one daemon, each with a misfortune
 * of its own, at first all at once, then at random.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { RunningDaemon } from '../../dovecot/workplace.ts';
import { createCertificates } from '../../servers/certificates.ts';
import { type Random, seededRandom } from '../../servers/random.ts';
import type { Attack, AttackOptions, Fault, Report } from '../attack.ts';
import { type Behaviour, cutAfter } from './behaviour.ts';
import { byName, NAMES, startNameServer } from './names.ts';
import { SPEECH } from './speech.ts';
import { buildTown, type House, type Town, type TownOptions, tells } from './town.ts';
import { WIRE } from './wire.ts';

const OPERATION_SECONDS = 2;
/** How long all servers misbehave: each operation's longest time, and what else must come of them. */
const HOSTILE_MS = 30_000;
/** So many times as long on a busy machine, where something is still to come. */
const MOST_PATIENCE = 4;
/** A server that behaves again has its mail published within this, where SIGHUP asks for another try: so long on a busy machine only. */
const RECOVERY_MS = 60_000;
/** A try that fails takes OPERATION_SECONDS at most; all at once they need more than theirs. */
const HANG_UP_EVERY = 3_000;
/** A mailbox that is not concerned gets its mail within a second, as far as the daemon gets its turns on the machine. */
const WITNESS = { every: 300, usually: 1_000, always: 10_000 };
/** What the daemon itself may take, bytes: its mailboxes, and the longest lines and literals of some at once. */
const MOST_MEMORY = 700 * 1024 * 1024;
/** SIGTERM to the end: 5 s for what is in flight, 2 s for farewells, and a machine that is busy. */
const STOP_MS = 12_000;
/** How long servers change their behaviour at random before they all behave. */
const RANDOM_MS = 15_000;
/** About what a server says up to IDLE to a client that finds three messages. */
const TRANSCRIPT_BYTES = 2_200;
/** Mailboxes whose connections are cut, and how often each. */
const CUT_HOUSES = 50;
const CUTS = 3;

export const hostileServer: Attack = {
  name: 'hostile-server',
  description: 'servers and networks that misbehave in every way, all at once and at random',
  run,
};

async function run(options: AttackOptions): Promise<Report> {
  const random = seededRandom(options.seed);
  using certificates = createCertificates();
  // Port 53, and a view of the machine with another /etc/resolv.conf, are root's.
  const isRoot = process.getuid?.() === 0;
  await using names = isRoot
    ? await startNameServer(`127.${random.between(16, 250)}.${random.between(1, 250)}.53`)
    : null;
  if (!isRoot) options.tell('not root: what concerns DNS is left out');
  const town: TownOptions = {
    random,
    certificates,
    named: certificates.issue('named', NAMES),
    nameServer: names,
    operationSeconds: OPERATION_SECONDS,
  };
  const behaviours = [...WIRE, ...SPEECH, ...(names ? byName(names) : [])].filter(({ name }) =>
    options.only.test(name),
  );
  const ends = performance.now() + options.budget;
  const faults: Fault[] = [];
  let runs = 0;
  const stage = async (work: (town: Town) => Promise<number>) => {
    // What was found would be found again, and again.
    if (faults.length > 0) return;
    const built = buildTown(town);
    try {
      runs += await work(built);
    } catch (error) {
      const what = (error as Error).stack ?? String(error);
      built.faults.push({
        kind: /the daemon ended/.test(what) ? 'crash' : 'other',
        where: 'the daemon',
        what,
      });
    } finally {
      faults.push(...built.faults);
      await built[Symbol.asyncDispose]();
    }
  };
  if (behaviours.length > 0) await stage((built) => allAtOnce(behaviours, built, options));
  const cuts = chooseCuts(options).filter((each) => options.only.test(cutName(each)));
  for (let first = 0; first < cuts.length; first += CUT_HOUSES)
    await stage((built) => cutAt(cuts.slice(first, first + CUT_HOUSES), built, options));
  if (behaviours.length > 0)
    do {
      await stage((built) => atRandom(behaviours, built, random, options));
    } while (performance.now() < ends - RANDOM_MS && faults.length === 0);
  return { runs, faults };
}

/** After how many bytes of the server's a mailbox's first connections end: each number of them, or some at random. */
function chooseCuts({ seed, thorough }: AttackOptions): number[][] {
  const random = seededRandom(seed);
  const houses = thorough ? Math.ceil(TRANSCRIPT_BYTES / CUTS) : CUT_HOUSES;
  return Array.from({ length: houses }, (_, house) =>
    Array.from({ length: CUTS }, (_, index) =>
      thorough ? CUTS * house + index : random.between(0, TRANSCRIPT_BYTES),
    ),
  );
}

const cutName = (cuts: number[]): string => `cut at ${cuts.join(', ')}`;

/** Every behaviour at once, a mailbox each; then all servers behave. */
async function allAtOnce(behaviours: Behaviour[], town: Town, { tell }: AttackOptions): Promise<number> {
  const { faults } = town;
  const witness = await town.add({ security: 'tls' });
  for (const behaviour of behaviours) await town.add(behaviour);
  const victims = town.houses.slice(1);
  for (const [index, house] of victims.entries()) await house.spoil(behaviours[index]!);

  const begun = performance.now();
  const daemon = town.start();
  using watched = watch(town, witness, daemon);
  await daemon.until('the witness', () => town.missing(witness).length === 0, RECOVERY_MS);
  // A try may be 16 s away (docs/operations.md).
  await pass(daemon, begun + HOSTILE_MS / 3);
  for (const house of victims) house.deliver();
  await pass(daemon, begun + HOSTILE_MS);
  let log = readLog(town);
  const told = (house: House, index: number) => wants(town, house, behaviours[index]!, log) === null;
  const patience = () => Math.min(MOST_PATIENCE, slowness(daemon.pid));
  while (!victims.every(told) && performance.now() < begun + HOSTILE_MS * patience()) {
    await pass(daemon, performance.now() + 1_000);
    log = readLog(town);
  }
  const hostileMs = performance.now() - begun;
  for (const [index, house] of victims.entries())
    faults.push(...judge(town, house, behaviours[index]!, log, hostileMs));
  tell(`${behaviours.length} misfortunes at once for ${Math.round(hostileMs / 1000)} s`);
  faults.push(...watched.stop(tell));

  for (const house of victims) await house.mend();
  await recover(
    town,
    daemon,
    (house) => behaviours[victims.indexOf(house)]?.name ?? 'the mailbox beside them',
  );
  await end(town, daemon);
  return behaviours.length;
}

/** Connections that end after so many bytes of what the server says, one after the other of each mailbox. */
async function cutAt(cuts: number[][], town: Town, { tell }: AttackOptions): Promise<number> {
  for (const bytes of cuts) {
    const house = await town.add({ after: { seen: true } });
    house.server.transmit = cutAfter(
      ({ number }) => bytes[number - 1] ?? Number.POSITIVE_INFINITY,
      cuts.indexOf(bytes) % 2 === 0 ? 'reset' : 'close',
    );
  }
  const name = (house: House) => cutName(cuts[town.houses.indexOf(house)]!);
  const daemon = town.start();
  // By itself: three tries that fail are soon over.
  await publishAll(town, daemon, RECOVERY_MS, name, 'hang');
  await recover(town, daemon, name);
  await end(town, daemon);
  const all = cuts.flat();
  tell(`${all.length} connections cut, at bytes ${Math.min(...all)} to ${Math.max(...all)}`);
  return all.length;
}

/** Servers that change their behaviour all the time, and behave in between; a stop in the midst of it. */
async function atRandom(
  behaviours: Behaviour[],
  town: Town,
  random: Random,
  { tell }: AttackOptions,
): Promise<number> {
  for (const security of ['none', 'none', 'none', 'tls', 'starttls'] as const)
    for (let count = 0; count < 5; count++) await town.add({ security, after: { seen: count === 0 } });
  const histories = new Map<House, string[]>(town.houses.map((house) => [house, []]));
  const daemon = town.start();
  const stops = performance.now() + RANDOM_MS;
  let runs = 0;

  const behavioursOf = (house: House) =>
    behaviours.filter(
      ({ security = 'none', host }) => security === house.security && !host?.endsWith('.example'),
    );
  const live = async (house: House): Promise<void> => {
    // A random order of its own, whatever the others' pace is.
    const own = seededRandom(random.between(0, 2 ** 32 - 1));
    const possible = behavioursOf(house);
    while (performance.now() < stops && possible.length > 0) {
      const behaviour = own.pick(possible);
      histories.get(house)!.push(behaviour.name);
      runs++;
      await house.spoil(behaviour);
      if (own.fraction() < 0.3) house.deliver();
      await wait(own.between(200, 3000));
      await house.mend();
      if (own.fraction() < 0.3) house.deliver();
      await wait(own.between(100, 2000));
    }
  };
  {
    using _ = hangUp(daemon);
    await Promise.all(town.houses.map(live));
  }
  for (const house of town.houses) {
    const possible = behavioursOf(house);
    if (possible.length > 0) await house.spoil(random.pick(possible));
  }
  await end(town, daemon);
  for (const house of town.houses) await house.mend();
  const next = town.start();
  await recover(town, next, (house) => histories.get(house)!.join(', then '));
  await end(town, next);
  tell(`${runs} misfortunes at random`);
  return runs;
}

/** Passes time, as long as the daemon lives. */
async function pass(daemon: RunningDaemon, end: number): Promise<void> {
  await daemon.until('time to pass', () => performance.now() >= end, end);
}

/** What did not come of a behaviour yet although it must; null: all did. */
function wants(
  town: Town,
  house: House,
  { says, because, goesOn }: Behaviour,
  log: LogLine[],
): string | null {
  const codes = codesOf(house, log);
  const said = `said ${codes.join(', ') || 'nothing'}`;
  if (goesOn) {
    const missing = town.missing(house);
    return missing.length > 0 ? `${missing.join(', ')} did not come; ${said}` : null;
  }
  if (says.length > 0 && !says.some((code) => codes.includes(code))) return `${said}, not ${says.join(', ')}`;
  const lines = linesOf(house, log);
  return because && !because.test(lines) ? `${lines} does not say ${because}` : null;
}

/** What became of a mailbox whose server misbehaved all the time. */
function judge(town: Town, house: House, behaviour: Behaviour, log: LogLine[], hostileMs: number): Fault[] {
  const { name, says } = behaviour;
  const faults: Fault[] = [];
  const found = (kind: Fault['kind'], what: string) => faults.push({ kind, where: name, what });
  const wanting = wants(town, house, behaviour, log);
  if (wanting !== null) found('hang', `${wanting} in ${Math.round(hostileMs)} ms`);
  const codes = codesOf(house, log);
  const wrong = codes.filter((code) => !says.some((each) => each === code) && !isExcused(code, codes));
  if (wrong.length > 0)
    found(
      'other',
      `said ${wrong.join(', ')} instead of ${says.join(', ') || 'nothing'}: ${linesOf(house, log)}`,
    );
  const { connectedAt } = house.server;
  const attempts = connectedAt.length / (behaviour.connectionsPerAttempt ?? 1);
  const early = behaviour.narrowings ?? 0;
  const later = codes.length > 0 && codes.every(isLater);
  const caughtUp = house.server.commands.some((command) => /^(IDLE|NOOP|UID STORE)/.test(command));
  const most = early + mostAttempts(hostileMs, { later, caughtUp });
  if (attempts > most) found('other', `${attempts} attempts in ${hostileMs} ms, ${most} at most`);
  return faults;
}

/** On a busy machine a deadline is missed now and then; a message whose FETCH ends its connection each time is left aside. */
const isExcused = (code: string, codes: string[]): boolean =>
  code === 'OPERATION_TIMED_OUT' || (code === 'MESSAGE_UNFETCHABLE' && codes.length > 1);
const LATER = /^(TLS_(EXPIRED|WRONG_HOST|UNKNOWN_ISSUER)|STARTTLS_MISSING|AUTH_\w+|FOLDER_MISSING)$/;
const isLater = (code: string): boolean => LATER.test(code);

/**
 * docs/operations.md: connection trouble is tried again after up to 1 s, doubled each time up to 5 minutes, or 16 s
 * where it once caught up, at random, but half a second at least; what needs somebody's help after 15 s at least. So
 * many attempts come of it in this time that more of them happen once in ten million.
 */
function mostAttempts(milliseconds: number, how: { later: boolean; caughtUp: boolean }): number {
  const seconds = milliseconds / 1000;
  if (how.later) return 1 + Math.floor(seconds / 15);
  const [least, last] = [0.5, how.caughtUp ? 16 : 300];
  // The sum of n numbers that are uniform below c1 … cn is below t with probability t^n / (n! · c1 · … · cn) at most.
  let delays = 0;
  for (let scale = 1, chance = 1; chance > 1e-7; ) {
    delays++;
    scale *= delays * (Math.min(last, 2 ** (delays - 1)) - least);
    chance = Math.max(0, seconds - delays * least) ** delays / scale;
  }
  return delays;
}

/** All servers behave: what is missing comes, then what is new, each once; one connection is left of each. */
async function recover(town: Town, daemon: RunningDaemon, name: (house: House) => string): Promise<void> {
  const { houses, faults } = town;
  await daemon.until('the daemon to be ready', () => ready(daemon));
  {
    using _ = hangUp(daemon);
    if (!(await publishAll(town, daemon, RECOVERY_MS, name, 'lost'))) return;
  }

  // Each at some time: now and then one is busy.
  const restless = new Set(houses);
  const settled = () => {
    for (const house of restless) {
      const [only, ...others] = house.server.sessions;
      // In IDLE, or asking: a connection that could not have IDLE remembers that.
      if (only?.folder && others.length === 0) restless.delete(house);
    }
    return restless.size === 0;
  };
  await settle(daemon, settled, RECOVERY_MS);
  for (const house of restless)
    faults.push({
      kind: 'hang',
      where: name(house),
      what: `${house.server.sessions.size} connections, not one with an open folder`,
    });
  for (const house of houses) house.deliver();
  await publishAll(town, daemon, RECOVERY_MS, name, 'hang');
  for (const house of houses)
    for (const tooMuch of town.tooMuch(house))
      faults.push({ kind: 'doubled', where: name(house), what: tooMuch });
}

/** Waits until all is published; what is not is a fault of this kind. */
async function publishAll(
  town: Town,
  daemon: RunningDaemon,
  within: number,
  name: (house: House) => string,
  kind: Fault['kind'],
): Promise<boolean> {
  const late = () => town.houses.filter((house) => town.missing(house).length > 0);
  await settle(daemon, () => late().length === 0, within);
  const houses = late();
  const log = houses.length > 0 ? readLog(town) : [];
  for (const house of houses) {
    const what = `${town.missing(house).join(', ')} not within ${within} ms: ${linesOf(house, log)}`;
    town.faults.push({ kind, where: name(house), what });
  }
  return houses.length === 0;
}

/** Before it is ready a SIGHUP would end it. */
const ready = (daemon: RunningDaemon): boolean => daemon.output().includes(' started ');

/** Has every mailbox that waits for its next try make it now: again and again, for those that are just failing one. */
function hangUp(daemon: RunningDaemon): Disposable {
  const ask = () => {
    if (ready(daemon)) daemon.process.kill('SIGHUP');
  };
  ask();
  const timer = setInterval(ask, HANG_UP_EVERY);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Waits for a condition; whether it came true in time is the caller's to say. */
async function settle(daemon: RunningDaemon, condition: () => boolean, within: number): Promise<void> {
  const end = performance.now() + within;
  await daemon.until('the daemon to settle', () => condition() || performance.now() > end, 2 * within);
}

/** Mail for a mailbox whose server behaves, and the daemon's memory, all the time. */
function watch(town: Town, witness: House, daemon: RunningDaemon) {
  const deliveries: { sha256: string; at: number }[] = [];
  const timer = setInterval(() => {
    if (town.missing(witness).length === 0) deliveries.push(witness.deliver());
  }, WITNESS.every);
  return {
    [Symbol.dispose]: () => clearInterval(timer),
    stop(tell: AttackOptions['tell']): Fault[] {
      clearInterval(timer);
      const delays = deliveries
        .map(({ sha256, at }) => (town.publishedAt(witness, sha256) ?? performance.now()) - at)
        .sort((a, b) => a - b);
      const [usual, worst] = [delays[Math.floor(delays.length / 2)] ?? Infinity, delays.at(-1) ?? Infinity];
      const memory = peakMemory(daemon.pid);
      const slower = slowness(daemon.pid);
      tell(
        `the mailbox beside them: ${delays.length} messages, median ${Math.round(usual)} ms, worst ${Math.round(worst)} ms, on a machine that slows us down ${slower.toFixed(1)} times; ${Math.round(memory / 1024 / 1024)} MB at most`,
      );
      const faults: Fault[] = [];
      if (usual > slower * WITNESS.usually || worst > slower * WITNESS.always)
        faults.push({
          kind: 'hang',
          where: 'the mailbox beside them',
          what: `median ${usual} ms, worst ${worst} ms`,
        });
      if (memory > MOST_MEMORY)
        faults.push({ kind: 'other', where: 'memory', what: `${memory} bytes, ${MOST_MEMORY} at most` });
      return faults;
    },
  };
}

/** proc_pid_status(5): the most that was ever resident. */
const peakMemory = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

/** How many times as long as with a processor of its own a process's main thread took so far: running, and waiting for one. */
function slowness(pid: number): number {
  const [running, waiting] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8')
    .split(' ')
    .map(Number);
  return 1 + waiting! / running!;
}

/** SIGTERM; nothing of the run is left, no secret anywhere, no line that a server wrote. */
async function end(town: Town, daemon: RunningDaemon): Promise<void> {
  const { faults, place } = town;
  const slower = slowness(daemon.pid);
  const ended = daemon.stop();
  const tooLate = new AbortController();
  const late = wait(STOP_MS, 'late' as const, { signal: tooLate.signal }).catch(() => 'late' as const);
  const status = await Promise.race([ended, late]);
  tooLate.abort();
  // What is not done in 8 s it ends by SIGKILL, and leaves to the next start: on a busy machine only.
  const leftToNext = daemon.process.signalCode === 'SIGKILL' && slower > MOST_PATIENCE;
  const left = readdirSync(join(place.storage, '.staging'));
  if (status === 'late')
    faults.push({ kind: 'hang', where: 'SIGTERM', what: `still there after ${STOP_MS} ms` });
  else if (status !== 0 && !leftToNext)
    faults.push({ kind: 'crash', where: 'SIGTERM', what: `exit status ${status}` });
  if (left.length > 0 && !leftToNext)
    faults.push({ kind: 'other', where: 'SIGTERM', what: `.staging holds ${left.join(', ')}` });
  const written = Buffer.concat([
    Buffer.from(daemon.output()),
    ...['log', 'state']
      .flatMap((name) => filesIn(join(place.directory, name)))
      .map((file) => readFileSync(file)),
  ]);
  for (const { account, password } of town.houses)
    if (tells(written, `${account}@torture.example`, password))
      faults.push({
        kind: 'other',
        where: account,
        what: 'its password stands in a log or in the state directory',
      });
  for (const line of daemon.output().split('\n'))
    if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(line) || !/^$|^20\S+Z (warn|info|error) \w+( |$)/.test(line))
      faults.push({ kind: 'other', where: 'log', what: `a line that is not ours: ${JSON.stringify(line)}` });
}

const filesIn = (directory: string): string[] =>
  readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(directory, entry.name));

interface LogLine {
  mailbox: string;
  code: string;
  line: string;
}

function readLog(town: Town): LogLine[] {
  return filesIn(join(town.place.directory, 'log'))
    .filter((file) => file.endsWith('.log'))
    .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
    .map((line) => ({
      line,
      mailbox: / mailbox=(\S+)/.exec(line)?.[1] ?? '',
      code: / code=(\w+)/.exec(line)?.[1] ?? (/ warn unfetchable /.test(line) ? 'MESSAGE_UNFETCHABLE' : ''),
    }));
}

const mailboxOf = ({ account }: House): string => `${account}/INBOX`;

const codesOf = (house: House, log: LogLine[]): string[] => [
  ...new Set(log.flatMap(({ mailbox, code }) => (mailbox === mailboxOf(house) && code !== '' ? [code] : []))),
];

const linesOf = (house: House, log: LogLine[]): string =>
  log.flatMap(({ mailbox, line }) => (mailbox === mailboxOf(house) ? [line] : [])).join(' | ');
