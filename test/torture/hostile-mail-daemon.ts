/** Monstrous messages through the daemon, one after the other: each is published or quarantined, and the daemon goes on. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { accountOn, createWorkplace, type RunningDaemon, type Workplace } from '../dovecot/workplace.ts';
import { descendantsOf } from '../servers/processes.ts';
import { type ScriptedServer, startScriptedServer } from '../servers/scripted.ts';
import type { Fault } from './attack.ts';
import type { Bomb } from './hostile-mail-bombs.ts';
import { type Answer, documentFaults } from './hostile-mail-parse.ts';

/** Three attempts of limits.parseSeconds, and a machine that has other things to do. */
const HANDLED_WITHIN = 3 * 30_000 + 60_000;
/** What may become of a message beside its document. */
const QUARANTINE = ['PARSE_TIMED_OUT', 'PARSE_MEMORY'];
/** Resident memory is looked at every 0.1 s: a parser gets beyond limits.parseMemoryMb, 512, in between. */
const MOST_PARSER_MB = 1024;
/** A message of 64 MB is never in the daemon as a whole. */
const MOST_DAEMON_MB = 400;

const ORDINARY = 'From: Ann <ann@example.org>\r\nSubject: ordinary\r\n\r\nHello\r\n';

export interface Blast {
  runs: number;
  faults: Fault[];
  /** Of the messages, those that went to quarantine. */
  quarantined: string[];
  peaks: { daemon: number; parser: number };
}

/** As many of them as there is time for, in their order, and one at least. */
export async function blast(bombs: readonly Bomb[], ends: number): Promise<Blast> {
  await using server = await startScriptedServer();
  await using place = createWorkplace({
    accounts: [
      accountOn({ host: '127.0.0.1', imapPort: server.port }, 'a', 'ann@example.org', server.password),
    ],
  });
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const daemon = place.start();
  const peaks = { daemon: 0, parser: 0 };
  const watch = setInterval(() => measure(daemon.pid, peaks), 50);
  const result: Blast = { runs: 0, faults: [], quarantined: [], peaks };
  try {
    for (const bomb of bombs) {
      if ((result.runs > 0 && performance.now() > ends) || result.faults.length > 3) break;
      await drop(bomb, { server, place, daemon, result });
      result.runs += 1;
    }
    const status = await daemon.stop();
    if (status !== 0) result.faults.push({ kind: 'crash', where: 'the stop', what: `exit ${status}` });
  } finally {
    clearInterval(watch);
  }
  return result;
}

interface Target {
  server: ScriptedServer;
  place: Workplace;
  daemon: RunningDaemon;
  result: Blast;
}

/** The bomb, and an ordinary message that comes with it. */
async function drop({ name, make }: Bomb, { server, place, daemon, result }: Target): Promise<void> {
  const raw = make();
  const add = (kind: Fault['kind'], what: string) => void result.faults.push({ kind, where: name, what });
  // The server tells of new mail only in IDLE.
  await server.idle();
  const uid = server.deliver('INBOX', raw);
  const other = server.deliver('INBOX', ORDINARY);
  const paths = (one: number) => {
    const id = `INBOX-1700000000-${one}`;
    return {
      document: join(place.storage, 'a', `${id}.json`),
      error: join(place.storage, '.quarantine', 'a', `${id}.error`),
      files: join(place.storage, 'a', id),
    };
  };
  const [bomb, ordinary] = [paths(uid), paths(other)];
  try {
    await daemon.until(
      `${name} to be handled`,
      () => (existsSync(bomb.document) || existsSync(bomb.error)) && existsSync(ordinary.document),
      HANDLED_WITHIN,
    );
  } catch (error) {
    const ended = daemon.process.exitCode !== null || daemon.process.signalCode !== null;
    return add(ended ? 'crash' : 'hang', String(error).slice(0, 2000));
  }
  if (existsSync(bomb.document)) {
    const document = JSON.parse(readFileSync(bomb.document, 'utf8')) as Answer;
    for (const what of documentFaults(raw, document, join(place.storage, 'a'))) add('other', what);
  } else {
    const { code } = JSON.parse(readFileSync(bomb.error, 'utf8')) as { code: string };
    result.quarantined.push(`${name} (${code})`);
    if (!QUARANTINE.includes(code)) add('other', `quarantined with ${code}`);
  }
  const { peaks } = result;
  if (peaks.parser > MOST_PARSER_MB) add('other', `a parser had ${peaks.parser} MiB`);
  if (peaks.daemon > MOST_DAEMON_MB) add('other', `the daemon had ${peaks.daemon} MiB`);
  for (const path of [...Object.values(bomb), ...Object.values(ordinary)])
    rmSync(path, { recursive: true, force: true });
  await server.idle();
  for (const one of [uid, other]) server.expunge('INBOX', one);
}

function measure(pid: number, peaks: Blast['peaks']): void {
  peaks.daemon = Math.max(peaks.daemon, residentMb(pid));
  for (const { pid: parser } of descendantsOf(pid)) peaks.parser = Math.max(peaks.parser, residentMb(parser));
}

/** 0 where it is gone. */
function residentMb(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return Math.round(Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}
