/**
 * Hostile servers, and a hostile network before them: many mailboxes of one daemon, each with a misfortune
 * of its own, at first all at once, then at random.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunningDaemon } from '../dovecot/workplace.ts';
import { createCertificates } from '../servers/certificates.ts';
import { seededRandom } from '../servers/random.ts';
import { until } from '../servers/until.ts';
import type { Attack, AttackOptions, Fault, Report } from './attack.ts';
import type { Behaviour } from './hostile-server/behaviour.ts';
import { byName, NAMES, startNameServer } from './hostile-server/names.ts';
import { SPEECH } from './hostile-server/speech.ts';
import { buildTown, type House, type Town, type TownOptions, tells } from './hostile-server/town.ts';
import { WIRE } from './hostile-server/wire.ts';

/** Some of the misfortunes only, for whoever hunts one: a regular expression of their names. */
const CASES = new RegExp(process.env.TORTURE_CASES ?? '');
const OPERATION_SECONDS = 2;
/** How long all servers misbehave: each operation's longest time, and what else must come of them. */
const HOSTILE_MS = 30_000;
/** A server that behaves again has its mail published within this, once SIGHUP asked for another try. */
const RECOVERY_MS = 30_000;
/** A mailbox that is not concerned gets its mail within a second; now and then the machine has other things to do. */
const WITNESS = { every: 300, usually: 1_000, always: 5_000 };
/** What the daemon itself may take, bytes: its mailboxes, and the longest lines and literals of some at once. */
const MOST_MEMORY = 700 * 1024 * 1024;
/** SIGTERM to the end: 5 s for what is in flight, 2 s for farewells, and a machine that is busy. */
const STOP_MS = 12_000;

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
    CASES.test(name),
  );
  const faults = await allAtOnce(behaviours, town, options);
  return { runs: behaviours.length, faults };
}

/** Every behaviour at once, a mailbox each; then all servers behave. */
async function allAtOnce(
  behaviours: Behaviour[],
  townOptions: TownOptions,
  { tell }: AttackOptions,
): Promise<Fault[]> {
  await using town = buildTown(townOptions);
  const { faults } = town;
  const witness = await town.add({ security: 'tls' });
  for (const { security = 'none', host, large = false } of behaviours)
    await town.add({ security, large, ...(host !== undefined && { host }) });
  const victims = town.houses.slice(1);
  for (const [index, house] of victims.entries()) await house.spoil(behaviours[index]!);

  const begun = performance.now();
  const daemon = town.start();
  const watched = watch(town, witness, daemon);
  await daemon.until('the witness', () => town.missing(witness).length === 0);
  await pass(daemon, begun + HOSTILE_MS / 2);
  for (const house of victims) house.deliver();
  await pass(daemon, begun + HOSTILE_MS);

  const log = readLog(town);
  const hostileMs = performance.now() - begun;
  for (const [index, house] of victims.entries())
    faults.push(...judge(town, house, behaviours[index]!, log, hostileMs));
  tell(`${behaviours.length} misfortunes at once for ${Math.round(hostileMs / 1000)} s`);

  for (const house of victims) await house.mend();
  await recover(town, daemon, (index) => behaviours[index - 1]?.name ?? 'the witness');
  faults.push(...watched.stop(tell));
  await end(town, daemon);
  return faults;
}

/** Passes time, as long as the daemon lives. */
async function pass(daemon: RunningDaemon, end: number): Promise<void> {
  await daemon.until('time to pass', () => performance.now() >= end, end);
}

/** What became of a mailbox whose server misbehaved all the time. */
function judge(town: Town, house: House, behaviour: Behaviour, log: LogLine[], hostileMs: number): Fault[] {
  const { name, says, goesOn = false, syncs = false } = behaviour;
  const faults: Fault[] = [];
  const found = (kind: Fault['kind'], what: string) => faults.push({ kind, where: name, what });
  const own = log.filter(({ mailbox, code }) => mailbox === `${house.account}/INBOX` && code !== '');
  const codes = [...new Set(own.map(({ code }) => code))];
  const missing = town.missing(house);
  if (goesOn && missing.length > 0)
    found('hang', `${missing.join(', ')} did not come; said ${codes.join(', ') || 'nothing'}`);
  if (!goesOn && says.length > 0 && codes.length === 0) found('hang', `nothing was said in ${hostileMs} ms`);
  const wrong = codes.filter((code) => !says.some((each) => each === code));
  if (wrong.length > 0)
    found(
      'other',
      `said ${wrong.join(', ')} instead of ${says.join(', ') || 'nothing'}: ${own.map(({ line }) => line).join(' | ')}`,
    );
  const { connectedAt } = house.server;
  const attempts = connectedAt.length / (behaviour.connectionsPerAttempt ?? 1);
  const most = mostAttempts(
    hostileMs,
    syncs || goesOn ? 'synced' : codes.every(isLater) && codes.length > 0 ? 'later' : 'soon',
  );
  if (attempts > most) found('other', `${attempts} attempts in ${hostileMs} ms, ${most} at most`);
  return faults;
}

const LATER = /^(TLS_(EXPIRED|WRONG_HOST|UNKNOWN_ISSUER)|STARTTLS_MISSING|AUTH_\w+|FOLDER_MISSING)$/;
const isLater = (code: string): boolean => LATER.test(code);

/**
 * docs/operations.md: connection trouble is tried again after up to 1 s, doubled each time, at random, half a
 * second at least; what needs somebody's help after 15 s at least. So many attempts come of it in this time
 * that more of them happen once in ten million.
 */
function mostAttempts(milliseconds: number, kind: 'soon' | 'later' | 'synced'): number {
  const seconds = milliseconds / 1000;
  if (kind === 'later') return 1 + Math.floor(seconds / 15);
  if (kind === 'synced') return 2 + Math.ceil(seconds / 0.6);
  // The sum of n delays, uniform below 1, 2, 4 … s, is below t with probability t^n / (n! · 2^(n(n-1)/2)).
  let chance = 1;
  let attempts = 0;
  while (chance > 1e-7 || attempts < 3) {
    attempts++;
    chance *= seconds / attempts / 2 ** (attempts - 1);
    if (chance > 1) chance = Math.max(chance, 1);
  }
  return attempts + 1;
}

/** All servers behave: what is missing comes, then what is new, each once; one connection is left of each. */
async function recover(town: Town, daemon: RunningDaemon, nameOf: (index: number) => string): Promise<void> {
  const { houses, faults } = town;
  const name = (house: House) => nameOf(houses.indexOf(house));
  process.kill(daemon.pid, 'SIGHUP');
  const complete = () => houses.every((house) => town.missing(house).length === 0);
  await settle(daemon, complete, RECOVERY_MS);
  for (const house of houses)
    for (const missing of town.missing(house))
      faults.push({ kind: 'lost', where: name(house), what: `${missing} after the server behaved` });
  if (!complete()) return;

  const idle = (house: House) =>
    house.server.sessions.size === 1 && [...house.server.sessions].every(({ idling }) => idling);
  await settle(daemon, () => houses.every(idle), RECOVERY_MS);
  for (const house of houses)
    if (!idle(house))
      faults.push({
        kind: 'hang',
        where: name(house),
        what: `${house.server.sessions.size} connections, not one that waits`,
      });
  for (const house of houses) house.deliver();
  await settle(daemon, complete, WITNESS.always);
  for (const house of houses)
    for (const missing of town.missing(house))
      faults.push({
        kind: 'hang',
        where: name(house),
        what: `${missing}, new, not within ${WITNESS.always} ms`,
      });
  for (const house of houses)
    for (const tooMuch of town.tooMuch(house))
      faults.push({ kind: 'doubled', where: name(house), what: tooMuch });
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
    stop(tell: AttackOptions['tell']): Fault[] {
      clearInterval(timer);
      const delays = deliveries
        .map(({ sha256, at }) => (town.publishedAt(witness, sha256) ?? Number.POSITIVE_INFINITY) - at)
        .sort((a, b) => a - b);
      const [usual, worst] = [delays[Math.floor(delays.length / 2)] ?? Infinity, delays.at(-1) ?? Infinity];
      const memory = peakMemory(daemon.pid);
      tell(
        `the mailbox beside them: ${delays.length} messages, median ${Math.round(usual)} ms, worst ${Math.round(worst)} ms; ${Math.round(memory / 1024 / 1024)} MB at most`,
      );
      const faults: Fault[] = [];
      if (usual > WITNESS.usually || worst > WITNESS.always)
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

/** SIGTERM; nothing of the run is left, no secret anywhere, no line that a server wrote. */
async function end(town: Town, daemon: RunningDaemon): Promise<void> {
  const { faults, place } = town;
  const ended = daemon.stop();
  const status = await Promise.race([
    ended,
    until('the daemon to end', () => null, STOP_MS).catch(() => 'late'),
  ]);
  if (status === 'late')
    faults.push({ kind: 'hang', where: 'SIGTERM', what: `still there after ${STOP_MS} ms` });
  else if (status !== 0) faults.push({ kind: 'crash', where: 'SIGTERM', what: `exit status ${status}` });
  const left = readdirSync(join(place.storage, '.staging'));
  if (left.length > 0)
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
      code: / code=(\w+)/.exec(line)?.[1] ?? '',
    }));
}
