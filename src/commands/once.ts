/** `mailwatchd once`: catches up on every mailbox, then exits. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { startDaemon } from '../daemon.ts';
import { EXIT, MailwatchdError } from '../errors.ts';
import { printable, printableSentence } from '../escape.ts';
import { openLog } from '../logging.ts';
import { assertOwner } from '../supervision/owner.ts';
import { handleSignals } from '../supervision/signals.ts';
import type { Invocation } from './invocation.ts';
import { startProgress } from './progress.ts';

/** Exit status 1 with CHECK_FAILED where a mailbox could not catch up; the others did. */
export async function once({ configFile, environment, version, stderr }: Invocation): Promise<number> {
  const { config, warnings } = await loadConfig(configFile, environment);
  // Before the log: files of another user in its directory would be in the daemon's way.
  await assertOwner(config.state.directory);
  const progress = startProgress(stderr, 'messages');
  // A bar and log lines would overwrite each other.
  const log = openLog({ ...config.log, console: config.log.console && !stderr.isTTY, clock: systemClock });
  for (const warning of warnings) log.warn('config_warning', { warning });

  const counts = new Map<string, { expected: number; stored: number }>();
  try {
    const daemon = await startDaemon({
      config,
      environment,
      log,
      clock: systemClock,
      version,
      mode: 'once',
      onReport: ({ account, folder, expected, stored }) => {
        counts.set(`${account}/${folder}`, { expected, stored });
        const all = [...counts.values()];
        progress.update(
          all.reduce((sum, each) => sum + each.stored, 0),
          all.reduce((sum, each) => sum + each.expected, 0),
        );
      },
    });
    const release = handleSignals({ stop: () => void daemon.stop(), reload: () => undefined }, systemClock);
    try {
      const failures = await daemon.finished;
      progress.stop();
      if (failures.length === 0) return EXIT.OK;
      for (const { mailbox, error } of failures) {
        stderr.write(
          `mailwatchd: ${error.code}: ${printable(mailbox)}: ${printableSentence(error.message)}\n`,
        );
      }
      throw new MailwatchdError('CHECK_FAILED', {
        detail: `${failures.length} of ${counts.size} mailboxes are not done`,
        remedy: 'the lines above say why',
      });
    } finally {
      await daemon.stop();
      release();
    }
  } finally {
    progress.stop();
    await log.close();
  }
}
