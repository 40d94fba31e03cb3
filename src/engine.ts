/** What run, once and replay share: the lock, the heartbeat, the spool, the parsers, and the intake that joins them. */
import { createBudget } from './budget.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config/types.ts';
import { createIntake, type IngestOptions } from './ingest.ts';
import type { Log } from './logging.ts';
import { giveMemoryBack } from './memory.ts';
import { type ParserPool, type ParserPoolOptions, startParsers } from './message/pool.ts';
import type { Intake } from './ports.ts';
import { openSpool, type Spool } from './spool/spool.ts';
import { newRun, runDirectory } from './spool/storage.ts';
import { startHeartbeat } from './supervision/heartbeat.ts';
import { takeLock } from './supervision/lock.ts';
import { assertOwner } from './supervision/owner.ts';

export interface Engine {
  spool: Spool;
  parsers: ParserPool;
  intake: Intake;
  /** Releases everything in reverse order. What is staged but not published is left to the next start. */
  stop(): Promise<void>;
}

export type EngineOptions = { config: Config; log: Log; clock: Clock } & Pick<
  IngestOptions,
  'owesAfterAction' | 'onHandled'
> &
  Required<Pick<ParserPoolOptions, 'authservIds'>>;

/**
 * Opens it all, in order; what the last run left is settled when this resolves. Errors: WRONG_USER,
 * ALREADY_RUNNING, STORAGE_NOT_PAIRED, STORAGE_MISSING and other storage errors, LEDGER_FAILED.
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { config, log, clock } = options;
  const releases = new AsyncDisposableStack();
  try {
    const { directory } = config.state;
    await assertOwner(directory);
    const lock = await takeLock(directory);
    releases.defer(() => lock.release());
    // Before the spool, so that a long settling does not look like a loop that hangs.
    const heartbeat = startHeartbeat({
      directory,
      clock,
      onError: (error) => log.warn('heartbeat_failed', { directory, error }),
    });
    releases.defer(() => heartbeat.stop());
    releases.defer(giveMemoryBack(clock));
    const run = newRun(clock.now());
    // The first parser starts while it opens, which takes as long.
    const opening = openSpool({ stateDirectory: directory, storage: config.storage, run });
    releases.defer(async () => (await opening).stop());
    const parsers = startParsers({
      size: config.parsers,
      stagingDirectory: runDirectory(config.storage.directory, run),
      parseSeconds: config.limits.parseSeconds,
      parseMemoryMb: config.limits.parseMemoryMb,
      authservIds: options.authservIds,
      clock,
      log,
    });
    releases.defer(() => parsers.stop());
    // A cold parser would be part of a suspect's time alone in work, and of the first message's delay.
    const [spool] = await Promise.all([opening, parsers.warm()]);
    const intake = createIntake({
      ...options,
      spool,
      parsers,
      budget: createBudget(config.limits.inFlightBytes),
    });
    return { spool, parsers, intake, stop: () => releases.disposeAsync() };
  } catch (error) {
    await releases.disposeAsync();
    throw error;
  }
}
