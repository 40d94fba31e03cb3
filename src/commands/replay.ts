/** `mailwatchd replay`: parses messages again and publishes them, or leaves that to the running daemon. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { authservIdsOf } from '../config/types.ts';
import { openEngine } from '../engine.ts';
import { EXIT, MailwatchdError, reviveError, toMailwatchdError } from '../errors.ts';
import { printableSentence } from '../escape.ts';
import { openLog } from '../logging.ts';
import { serveReplays } from '../replay.ts';
import { requestJudging, requestReplays } from '../spool/adopt.ts';
import { isLocked } from '../supervision/lock.ts';
import { assertOwner } from '../supervision/owner.ts';
import type { Invocation } from './invocation.ts';
import { startProgress } from './progress.ts';

/** As they were given. */
export interface ReplayOptions {
  quarantined: boolean;
  filtered: boolean;
  again: boolean;
}

/**
 * Exit status 1 where some messages could not be replayed (a line each says why). Errors: USAGE,
 * WRONG_USER, and those of `openEngine`.
 */
export async function replay(
  { configFile, environment, stdout, stderr }: Invocation,
  ids: string[],
  { quarantined, filtered, again }: ReplayOptions,
): Promise<number> {
  const ways = [ids.length > 0, quarantined, filtered].filter(Boolean).length;
  if (ways !== 1) {
    throw new MailwatchdError('USAGE', {
      detail: ways === 0 ? 'which messages?' : 'ids, --quarantined and --filtered exclude each other',
      remedy: 'give ids as `mailwatchd list` shows them, --quarantined or --filtered',
    });
  }
  const { config } = await loadConfig(configFile, environment);
  await assertOwner(config.state.directory);
  if (filtered) {
    const waiting = requestJudging(config.state.directory, systemClock.now());
    const who = isLocked(config.state.directory)
      ? 'the running daemon judges them by the rules that it has: `mailwatchd list --state filtered` tells what stays out'
      : 'the next `mailwatchd run` or `mailwatchd once` judges them';
    stdout.write(`${waiting} to be judged anew${waiting === 0 ? '' : `: ${who}`}\n`);
    return EXIT.OK;
  }
  const wanted = quarantined ? 'quarantined' : ids;
  const requested = requestReplays(config.state.directory, wanted, { again, now: systemClock.now() });
  const refused = requested.flatMap((each) => ('error' in each ? [each] : []));
  for (const { name, error } of refused) {
    const { message } = reviveError({ ...error, where: error.where ?? name });
    stderr.write(`mailwatchd: ${error.code}: ${printableSentence(message)}\n`);
  }
  const accepted = requested.length - refused.length;

  if (isLocked(config.state.directory)) {
    stdout.write(leftToDaemon(accepted));
    return refused.length === 0 ? EXIT.OK : EXIT.CHECK_FAILED;
  }
  const log = openLog({ ...config.log, console: config.log.console && !stderr.isTTY, clock: systemClock });
  const progress = startProgress(stderr, 'messages');
  try {
    const nothing = () => undefined;
    const engine = await openEngine({
      config,
      log,
      clock: systemClock,
      owesAfterAction: () => false,
      authservIds: (account) => authservIdsOf(config, account),
      onHandled: nothing,
    });
    try {
      const result = await serveReplays(engine, log, ({ published, failed }) =>
        progress.update(published + failed, accepted),
      );
      progress.stop();
      stdout.write(`${result.published} published, ${result.failed + refused.length} not\n`);
      return result.failed + refused.length === 0 ? EXIT.OK : EXIT.CHECK_FAILED;
    } finally {
      await engine.stop();
    }
  } catch (thrown) {
    const error = toMailwatchdError(thrown, 'INTERNAL');
    // The daemon was started in between: it serves what was left in the ledger.
    if (error.code !== 'ALREADY_RUNNING') throw error;
    stdout.write(leftToDaemon(accepted));
    return refused.length === 0 ? EXIT.OK : EXIT.CHECK_FAILED;
  } finally {
    progress.stop();
    await log.close();
  }
}

const leftToDaemon = (count: number): string =>
  `${count} left to the running daemon${count === 0 ? '' : ': `mailwatchd list` and its log tell what becomes of it'}\n`;
