/** One message's way through parse → stage → publish, and what becomes of one that cannot be parsed. */
import type { Budget } from './budget.ts';
import type { Clock } from './clock.ts';
import { type ErrorCode, type MailwatchdError, plainError, toMailwatchdError } from './errors.ts';
import type { Log } from './logging.ts';
import type { ParserPool } from './message/pool.ts';
import type { Epoch, FetchedMessage, Mailbox, MessageIdentity } from './model.ts';
import type { Intake } from './ports.ts';
import type { Spool } from './spool/spool.ts';

/** The errors that are the message's own fault: it goes to quarantine, and the mailbox goes on. */
const POISON: ReadonlySet<ErrorCode> = new Set([
  'PARSE_FAILED',
  'PARSE_TIMED_OUT',
  'PARSE_MEMORY',
  'PARSER_DIED',
]);

/** A message this large is downloaded to a file; its name tells it from what parsers stage. */
const DOWNLOAD_SUFFIX = '.raw';

export interface IngestOptions {
  spool: Spool;
  parsers: ParserPool;
  budget: Budget;
  clock: Clock;
  log: Log;
  /** Whether the mailbox's account wants something done on the server once a message is published. */
  owesAfterAction(mailbox: Mailbox): boolean;
  /** Told after each message is safe in the storage directory. */
  onHandled(mailbox: Mailbox, outcome: 'published' | 'quarantined'): void;
}

/** Makes the intake that every mailbox hands its messages to. */
export function createIntake(options: IngestOptions): Intake {
  const { spool, parsers, budget, clock, log, owesAfterAction, onHandled } = options;

  async function quarantine(
    epoch: Epoch,
    identity: MessageIdentity,
    held: { size: number; source: FetchedMessage['source']; complete: boolean },
    error: MailwatchdError,
  ): Promise<void> {
    await spool.quarantine({ epochId: epoch.id, identity, ...held, error: plainError(error) });
    log.warn('quarantined', { ...names(identity), code: error.code, reason: error.message });
    onHandled(epoch, 'quarantined');
  }

  return {
    reserve: budget.reserve,

    async accept(message) {
      const { epoch, source } = message;
      const begun = clock.monotonic();
      const identity = spool.identity(epoch, message);
      try {
        const staged = await parsers.parse({ identity, source, target: spool.target(identity) });
        // Commit, then acknowledge: the promise is the acknowledgement, and resolves after the rename is durable.
        await spool.accept({ epochId: epoch.id, identity, staged, after: owesAfterAction(epoch) });
        log.info('published', {
          ...names(identity),
          size: staged.size,
          milliseconds: Math.round(clock.monotonic() - begun),
          ...(staged.warnings.length > 0 && { warnings: staged.warnings.join(',') }),
        });
        onHandled(epoch, 'published');
      } catch (thrown) {
        const error = toMailwatchdError(thrown, 'INTERNAL', { where: `${identity.account}/${identity.id}` });
        if (!POISON.has(error.code)) throw error;
        await quarantine(epoch, identity, { size: message.size, source, complete: true }, error);
      }
    },

    async quarantineUnread(epoch, message, header, error) {
      const identity = spool.identity(epoch, message);
      await quarantine(epoch, identity, { size: message.size, source: header, complete: false }, error);
    },

    downloadPath: (epoch, uid) => {
      const { directory, stem } = spool.target(
        spool.identity(epoch, { uid, size: 0, internalDate: epoch.openedAt, flags: [] }),
      );
      return `${directory}/${stem}${DOWNLOAD_SUFFIX}`;
    },
  };
}

const names = (identity: MessageIdentity) => ({
  mailbox: `${identity.account}/${identity.folder}`,
  id: identity.id,
});
