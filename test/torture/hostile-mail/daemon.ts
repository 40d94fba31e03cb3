/** Monstrous messages through the daemon, one after the other: each is published or quarantined, and the daemon goes on. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MessageDocument } from '../../../src/message/document.ts';
import { accountOn, createWorkplace, type RunningDaemon, type Workplace } from '../../dovecot/workplace.ts';
import { descendantsOf } from '../../servers/processes.ts';
import { type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import type { Fault } from '../attack.ts';
import type { Bomb } from './bombs.ts';
import { documentFaults } from './parse.ts';

/** Three attempts of limits.parseSeconds, and a machine that has other things to do. */
const HANDLED_WITHIN = 3 * 30_000 + 60_000;
/** Resident memory is looked at every 0.1 s: a parser gets beyond limits.parseMemoryMb, 512, in between. */
const MOST_PARSER_MB = 1024;
/** A message of 64 MB is never in the daemon as a whole. */
const MOST_DAEMON_MB = 400;

const ORDINARY = 'From: Ann <ann@example.org>\r\nSubject: ordinary\r\n\r\nHello\r\n';

export interface Blast {
  runs: number;
  faults: Fault[];
  peaks: { daemon: number; parser: number };
}

/** As many of them as there is time for, in their order, and one at least where there is one. */
export async function blast(bombs: readonly Bomb[], ends: number): Promise<Blast> {
  const peaks = { daemon: 0, parser: 0 };
  const result: Blast = { runs: 0, faults: [], peaks };
  if (bombs.length === 0) return result;
  await using server = await startScriptedServer();
  await using place = createWorkplace({
    accounts: [
      accountOn({ host: '127.0.0.1', imapPort: server.port }, 'a', 'ann@example.org', server.password),
    ],
  });
  place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
  const daemon = place.start();
  const watch = setInterval(() => measure(daemon.pid, peaks), 50);
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
async function drop(bomb: Bomb, { server, place, daemon, result }: Target): Promise<void> {
  const raw = bomb.make();
  const add = (kind: Fault['kind'], what: string) =>
    void result.faults.push({ kind, where: bomb.name, what });
  // The server tells of new mail only in IDLE.
  const idle = () => [...server.sessions].some(({ idling }) => idling);
  const paths = (uid: number) => {
    const id = `INBOX-1700000000-${uid}`;
    return {
      document: join(place.storage, 'a', `${id}.json`),
      error: join(place.storage, '.quarantine', 'a', `${id}.error`),
      files: join(place.storage, 'a', id),
    };
  };
  try {
    await daemon.until('IDLE', idle);
    const [uid, other] = [server.deliver('INBOX', raw), server.deliver('INBOX', ORDINARY)];
    const [of, beside] = [paths(uid), paths(other)];
    await daemon.until(
      'it to be handled',
      () => (existsSync(of.document) || existsSync(of.error)) && existsSync(beside.document),
      HANDLED_WITHIN,
    );
    const answer = JSON.parse(
      readFileSync(existsSync(of.document) ? of.document : of.error, 'utf8'),
    ) as MessageDocument & { code: string };
    if (existsSync(of.error)) {
      // None of these needs so much time or memory, but ten thousand files take as long as the disk wants.
      if (bomb.fillsDisk !== true || answer.code !== 'PARSE_TIMED_OUT')
        add('other', `quarantined with ${answer.code}`);
    } else for (const what of faultsOf(bomb, raw, answer, join(place.storage, 'a'))) add('other', what);
    for (const path of [...Object.values(of), ...Object.values(beside)])
      rmSync(path, { recursive: true, force: true });
    await daemon.until('IDLE', idle);
    for (const one of [uid, other]) server.expunge('INBOX', one);
  } catch (error) {
    const ended = daemon.process.exitCode !== null || daemon.process.signalCode !== null;
    add(ended ? 'crash' : 'hang', String(error).slice(0, 2000));
  }
  const { peaks } = result;
  if (peaks.parser > MOST_PARSER_MB) add('other', `a parser had ${peaks.parser} MiB`);
  if (peaks.daemon > MOST_DAEMON_MB) add('other', `the daemon had ${peaks.daemon} MiB`);
}

function faultsOf(bomb: Bomb, raw: Buffer, document: MessageDocument, output: string): string[] {
  const silent = (bomb.warns ?? []).filter((code) => !document.warnings.includes(code));
  return [
    ...documentFaults(raw, document, output),
    ...silent.map((code) => `no warning ${code}, but ${document.warnings.join(' ') || 'none'}`),
    ...(bomb.isWhole?.(document) === false ? ['not all of it is in the document'] : []),
  ];
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
