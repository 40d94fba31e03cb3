/** `mailwatchd replay`: parses messages again and publishes them, or leaves that to the running daemon. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { authservIdsOf } from '../config/types.ts';
import { openEngine } from '../engine.ts';
import { EXIT, MailwatchdError, reviveError, toMailwatchdError } from '../errors.ts';
import { printableSentence } from '../escape.ts';
import { openLog } from '../logging.ts';
import { serveReplays } from '../replay.ts';
import { requestReplays } from '../spool/adopt.ts';
import { isLocked } from '../supervision/lock.ts';
import { assertOwner } from '../supervision/owner.ts';
import type { Invocation } from './invocation.ts';
import { startProgress } from './progress.ts';

/**
 * Exit status 1 where some messages could not be replayed (a line each says why). Errors: USAGE,
 * WRONG_USER, and those of `openEngine`.
 */
export async function replay(
  { configFile, environment, stdout, stderr }: Invocation,
  ids: string[],
  { quarantined, again }: { quarantined: boolean; again: boolean },
): Promise<number> {
  if (quarantined === ids.length > 0) {
    throw new MailwatchdError('USAGE', {
      detail: quarantined ? 'ids and --quarantined exclude each other' : 'which messages?',
      remedy: 'give ids as `mailwatchd list` shows them, or --quarantined',
    });
  }
  const { config } = await loadConfig(configFile, environment);
  await assertOwner(config.state.directory);
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
