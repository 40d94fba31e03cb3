/** `mailwatchd run`: the daemon in the foreground, until a signal or a fault that it cannot go on with. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { type Daemon, startDaemon } from '../daemon.ts';
import { EXIT, toMailwatchdError } from '../errors.ts';
import { type LogHandle, openLog } from '../logging.ts';
import { assertOwner } from '../supervision/owner.ts';
import { handleSignals } from '../supervision/signals.ts';
import type { Invocation } from './invocation.ts';

/** `onReady`: what the last run left is settled, and every mailbox is being connected to. Errors: those of the configuration and of `openEngine`; LEDGER_FAILED where the ledger ends under it. */
export async function run(
  { configFile, environment, version }: Invocation,
  { onReady }: { onReady: () => void },
): Promise<number> {
  const { config, warnings } = await loadConfig(configFile, environment);
  // Before the log: files of another user in its directory would be in the daemon's way.
  await assertOwner(config.state.directory);
  const log = openLog({ ...config.log, clock: systemClock });
  for (const warning of warnings) log.warn('config_warning', { warning });
  // From here on a signal is an orderly stop, also while the last run's work is being settled.
  const stopAsked = Promise.withResolvers<void>();
  let daemon: Daemon | null = null;
  const release = handleSignals(
    {
      stop: (signal) => {
        log.info('stopping', { signal });
        stopAsked.resolve();
      },
      reload: () => {
        if (daemon !== null) void reload(daemon, configFile, environment, log);
      },
    },
    systemClock,
  );
  try {
    log.info('starting', { version, pid: process.pid, config: configFile });
    daemon = await startDaemon({ config, environment, log, clock: systemClock, version, mode: 'run' });
    log.info('started', { mailboxes: config.accounts.reduce((sum, { folders }) => sum + folders.length, 0) });
    onReady();
    await Promise.race([stopAsked.promise, daemon.finished]);
    await daemon.stop();
    log.info('stopped');
    return EXIT.OK;
  } catch (thrown) {
    const error = toMailwatchdError(thrown, 'INTERNAL');
    log.error('stopped', { error });
    throw error;
  } finally {
    try {
      await daemon?.stop();
    } finally {
      release();
      await log.close();
    }
  }
}

/** A faulty configuration is refused, and the old one stays. */
async function reload(
  daemon: Daemon,
  configFile: string,
  environment: NodeJS.ProcessEnv,
  log: LogHandle,
): Promise<void> {
  try {
    const { config, warnings } = await loadConfig(configFile, environment);
    for (const warning of warnings) log.warn('config_warning', { warning });
    await daemon.reload(config);
  } catch (thrown) {
    log.error('reload_refused', { error: toMailwatchdError(thrown, 'INTERNAL') });
  }
}
