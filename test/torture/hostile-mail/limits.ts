/** Parsers that never end, take all memory or die: the limits hold, the message is quarantined, the others get through. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accountOn, createWorkplace, type RunningDaemon, type Workplace } from '../../dovecot/workplace.ts';
import { seededRandom, shuffled } from '../../servers/random.ts';
import { type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import type { Fault, Report } from '../attack.ts';
import { takeOver } from '../taken-over.ts';

/** What doomed.mjs does, and how it is told. */
const DOOMS: [doom: string, code: string][] = [
  ['loop', 'PARSE_TIMED_OUT'],
  ['buffers', 'PARSE_MEMORY'],
  ['regexp', 'PARSE_TIMED_OUT'],
  ['heap', 'PARSE_MEMORY'],
  ['stop', 'PARSE_TIMED_OUT'],
  ['deaf', 'PARSE_TIMED_OUT'],
  ['abort', 'PARSER_DIED'],
  ['exit', 'PARSER_DIED'],
  ['recursion', 'PARSER_DIED'],
];
/** Never left out. */
const FIRST = 2;

const LIMITS = { parseSeconds: 3, parseMemoryMb: 256 };
/** Three attempts, the start of three processes, and a machine that has other things to do. */
const WITHIN = 3 * LIMITS.parseSeconds * 1000 + 60_000;

/** The first, then others in an order of the seed while there is time; those whose name `only` matches. */
export async function exhaust(seed: number, ends: number, only: RegExp): Promise<Report> {
  const dooms = [...DOOMS.slice(0, FIRST), ...shuffled(seededRandom(seed), DOOMS.slice(FIRST))].filter(
    ([doom]) => only.test(nameOf(doom)),
  );
  if (dooms.length === 0) return { runs: 0, faults: [] };
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-doomed-'));
  try {
    const program = await takeOver(directory, 'hostile-mail/doomed.mjs');
    await using server = await startScriptedServer();
    await using place = createWorkplace(
      {
        accounts: [
          accountOn({ host: '127.0.0.1', imapPort: server.port }, 'a', 'ann@example.org', server.password),
        ],
        limits: LIMITS,
      },
      { program },
    );
    place.configure({ storage: { directory: place.storage, path: '{account}/{id}.json' } });
    const daemon = place.start();
    const report: Report = { runs: 0, faults: [] };
    for (const [doom, code] of dooms) {
      if (report.runs >= FIRST && performance.now() > ends) break;
      report.faults.push(...(await endure(doom, code, { server, place, daemon })));
      report.runs += 1;
    }
    const status = await daemon.stop();
    if (status !== 0) report.faults.push({ kind: 'crash', where: 'doomed parsers', what: `exit ${status}` });
    return report;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const nameOf = (doom: string): string => `a parser: ${doom}`;

interface Target {
  server: ScriptedServer;
  place: Workplace;
  daemon: RunningDaemon;
}

async function endure(doom: string, code: string, { server, place, daemon }: Target): Promise<Fault[]> {
  const fault = (kind: Fault['kind'], what: string): Fault[] => [{ kind, where: nameOf(doom), what }];
  try {
    await daemon.until('IDLE', () => [...server.sessions].some(({ idling }) => idling));
    const uid = server.deliver('INBOX', `X-Doom: ${doom}\r\n\r\nbody\r\n`);
    const other = server.deliver('INBOX', 'Subject: ordinary\r\n\r\nHello\r\n');
    const error = join(place.storage, `.quarantine/a/INBOX-1700000000-${uid}.error`);
    const ordinary = join(place.storage, `a/INBOX-1700000000-${other}.json`);
    await daemon.until(
      `${doom} to be quarantined, and the message behind it published`,
      () => existsSync(error) && existsSync(ordinary),
      WITHIN,
    );
    const told = (JSON.parse(readFileSync(error, 'utf8')) as { code: string }).code;
    return told === code ? [] : fault('other', `quarantined with ${told}, not ${code}`);
  } catch (error) {
    const { exitCode, signalCode } = daemon.process;
    return fault(exitCode === null && signalCode === null ? 'hang' : 'crash', String(error).slice(0, 2000));
  }
}
