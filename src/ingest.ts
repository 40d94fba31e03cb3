/** One message's way through parse → stage → publish, and what becomes of one that cannot be parsed. */
import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Budget } from './budget.ts';
import type { Clock } from './clock.ts';
import { type ErrorCode, type MailwatchdError, plainError, toMailwatchdError } from './errors.ts';
import type { Log } from './logging.ts';
import type { ParserPool } from './message/pool.ts';
import type { Epoch, FetchedMessage, Mailbox, MessageIdentity, MessageMetadata } from './model.ts';
import type { Intake } from './ports.ts';
import type { Spool } from './spool/spool.ts';

/** The errors that are the message's own fault: it goes to quarantine, and the mailbox goes on. */
const POISON: ReadonlySet<ErrorCode> = new Set([
  'PARSE_FAILED',
  'PARSE_TIMED_OUT',
  'PARSE_MEMORY',
  'PARSER_DIED',
]);

/** So many messages in work at once make one sync of all cheaper than one for each of their files. */
const MANY = 8;

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
  let inWork = 0;

  /** The message is handled once this resolves: its bytes, or its header, lie in quarantine. */
  async function quarantine(
    epoch: Epoch,
    message: MessageMetadata,
    held: { source: FetchedMessage['source']; complete: boolean },
    error: MailwatchdError,
  ): Promise<void> {
    const identity = spool.identity(epoch, message);
    await spool.quarantine({
      ...held,
      epochId: epoch.id,
      identity,
      size: message.size,
      sha256: held.complete ? await sha256Of(held.source) : null,
      messageId: message.messageId ?? null,
      error: plainError(error),
    });
    log.warn('quarantined', { ...names(identity), code: error.code, reason: error.message });
    onHandled(epoch, 'quarantined');
  }

  /** A message that is given back is no longer in work: should the daemon die now, it was not its fault. */
  async function leave(epoch: Epoch, uid: number): Promise<void> {
    try {
      await spool.endAlone(epoch.id, uid);
    } catch (error) {
      log.debug('end_alone_failed', { error: toMailwatchdError(error, 'LEDGER_FAILED') });
    }
  }

  /** A parser sees only that its directory is gone; the spool makes it again, or knows that its volume is gone too. */
  async function seekCause(error: MailwatchdError): Promise<MailwatchdError> {
    if (error.code !== 'STORAGE_MISSING') return error;
    try {
      await spool.settle();
      return error;
    } catch (cause) {
      return toMailwatchdError(cause, 'INTERNAL');
    }
  }

  return {
    reserve: budget.reserve,

    async accept(message) {
      const { epoch, source } = message;
      const begun = clock.monotonic();
      const identity = spool.identity(epoch, message);
      const target = spool.target(identity, { many: inWork >= MANY });
      inWork += 1;
      try {
        const staged = await parsers.parse({ identity, source, target });
        const item = { epochId: epoch.id, identity, target, staged, declaredSize: message.size };
        // Commit, then acknowledge: this resolves after the ledger's commit and the durable rename.
        await spool.accept({ ...item, after: owesAfterAction(epoch) });
        log.info('published', {
          ...names(identity),
          size: staged.size,
          milliseconds: Math.round(clock.monotonic() - begun),
          ...(staged.warnings.length > 0 && { warnings: staged.warnings.join(',') }),
        });
        onHandled(epoch, 'published');
      } catch (thrown) {
        const error = toMailwatchdError(thrown, 'INTERNAL', { where: `${identity.account}/${identity.id}` });
        if (!POISON.has(error.code)) {
          await leave(epoch, message.uid);
          throw await seekCause(error);
        }
        await quarantine(epoch, message, { source, complete: true }, error);
      } finally {
        inWork -= 1;
      }
    },

    quarantineUnread: (epoch, message, header, error) =>
      quarantine(epoch, message, { source: header, complete: false }, error),

    downloadPath: spool.downloadPath,
  };
}

/** Hex. A large message's file is read in pieces, so that neither memory nor the main thread is held. */
async function sha256Of(source: FetchedMessage['source']): Promise<string> {
  if (Buffer.isBuffer(source)) return hash('sha256', source);
  const digest = createHash('sha256');
  await pipeline(createReadStream(source.file), digest);
  return digest.digest('hex');
}

const names = (identity: MessageIdentity) => ({
  mailbox: `${identity.account}/${identity.folder}`,
  id: identity.id,
});
