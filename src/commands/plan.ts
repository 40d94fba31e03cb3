/** `mailwatchd plan`: what a first start would fetch of each mailbox; writes nothing. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/types.ts';
import { openCredentials } from '../credentials.ts';
import { EXIT, MailwatchdError, toMailwatchdError } from '../errors.ts';
import { candidateOf, type Filter } from '../filter.ts';
import { silentLog } from '../logging.ts';
import { type Judged, type PlannedRule, planMailbox } from '../mailbox/plan.ts';
import { visitAccount } from '../mailbox/visit.ts';
import { type ParserPool, startParsers } from '../message/pool.ts';
import type { MessageMetadata } from '../model.ts';
import { paceConnections } from '../pace.ts';
import { cell, coloured, formatBytes, table } from '../terminal.ts';
import type { Invocation } from './invocation.ts';

/** CHECK_FAILED where a mailbox could not be looked at; the others are shown all the same. */
export async function plan({ configFile, environment, stdout }: Invocation): Promise<number> {
  const { config } = await loadConfig(configFile, environment);
  const takeTurn = paceConnections(config.limits.connectsPerSecond, systemClock);
  const { signal } = new AbortController();
  await using judging = createJudging(config);
  const { judgeStart } = judging;
  const options = { limits: config.limits, clock: systemClock, log: silentLog, takeTurn, signal };
  const credentials = openCredentials({
    stateDirectory: config.state.directory,
    environment,
    clock: systemClock,
  });
  let failed = 0;
  const ruleRows: string[][] = [];
  const rows = await Promise.all(
    config.accounts.map(async (account) => {
      await using visit = visitAccount({ ...account, credential: credentials.of(account) }, options);
      const start = account.start.kind === 'date' ? day(account.start.at) : account.start.kind;
      const ofAccount: string[][] = [];
      for (const folder of account.folders) {
        const mailbox = cell(`${account.name}/${folder}`);
        try {
          const plan = await planMailbox(visit, folder, { clock: systemClock, judgeStart });
          const { messages, bytes, oldest, newest, rules } = plan;
          for (const rule of rules)
            if (rule.name !== null || rule.messages > 0) ruleRows.push([mailbox, ...ruleCells(rule)]);
          const range = [
            cell(oldest === null ? null : day(oldest)),
            cell(newest === null ? null : day(newest)),
          ];
          ofAccount.push([mailbox, start, String(messages), formatBytes(bytes), ...range, '']);
        } catch (thrown) {
          const { code, message } = toMailwatchdError(thrown, 'INTERNAL');
          ofAccount.push([
            mailbox,
            start,
            '–',
            '–',
            '–',
            '–',
            `${coloured(stdout, 'red', code)}: ${cell(message)}`,
          ]);
          failed += 1;
        }
      }
      return ofAccount;
    }),
  );
  stdout.write(
    table(stdout, ['MAILBOX', 'START', 'MESSAGES', 'SIZE', 'OLDEST', 'NEWEST', 'FAULT'], rows.flat()),
  );
  if (ruleRows.length > 0)
    stdout.write(`\n${table(stdout, ['MAILBOX', 'RULE', 'MESSAGES', 'WHICH IT'], ruleRows)}`);
  if (failed === 0) return EXIT.OK;
  throw new MailwatchdError('CHECK_FAILED', {
    detail: `${failed} of ${rows.flat().length} mailboxes could not be looked at`,
    remedy: 'try `mailwatchd check`',
  });
}

const ruleCells = ({ name, takes, messages }: PlannedRule): string[] => [
  cell(name),
  String(messages),
  name === null ? 'decided once fetched' : takes ? 'takes' : 'leaves out',
];

/** Parsers that judge headers, started where a rule asks for one. */
function createJudging({ limits, parsers: processes }: Config) {
  const { parseSeconds, parseMemoryMb } = limits;
  let pool: ParserPool | undefined;
  return {
    judgeStart(filter: Filter, message: MessageMetadata, source: Buffer): Promise<Judged> {
      pool ??= startParsers({ size: processes, stagingDirectory: null, parseSeconds, parseMemoryMb });
      const candidate = candidateOf(filter, message, systemClock.now());
      return pool.judge({ name: `UID ${message.uid}`, source, candidate });
    },
    [Symbol.asyncDispose]: async () => pool?.stop(),
  };
}

/** An instant's day in UTC, as `start` is written. */
const day = (instant: number): string => new Date(instant).toISOString().slice(0, 10);
