/** One message's way through parse → stage → publish, and what becomes of one that cannot be parsed. */
import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Budget } from './budget.ts';
import type { Clock } from './clock.ts';
import { type ErrorCode, type MailwatchdError, plainError, toMailwatchdError } from './errors.ts';
import { candidateOf, type Filter, judge } from './filter.ts';
import type { Log } from './logging.ts';
import type { ParserPool } from './message/pool.ts';
import { storableId } from './message-id.ts';
import type { Epoch, FetchedMessage, LeftOut, Mailbox, MessageIdentity, MessageMetadata } from './model.ts';
import type { Intake, Outcome } from './ports.ts';
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
  /** Told after each message is safe in the storage directory, or in the ledger where a rule left it out. */
  onHandled(mailbox: Mailbox, outcome: Outcome): void;
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

  /** The message is handled once this resolves. */
  async function recordLeftOut(epoch: Epoch, message: MessageMetadata, left: LeftOut): Promise<void> {
    const identity = spool.identity(epoch, message);
    await spool.leaveOut({ epochId: epoch.id, identity, declaredSize: message.size, left });
    log.debug('filtered', { ...names(identity), rule: left.rule });
    onHandled(epoch, 'filtered');
  }

  /** What the metadata decides, or else the header; null where neither leaves it out. */
  async function judgeEarly(
    message: MessageMetadata,
    { account, id }: MessageIdentity,
    start: Buffer | null,
    filter: Filter,
  ): Promise<LeftOut | null> {
    const candidate = candidateOf(filter, message, clock.now());
    let verdict = judge(candidate, null, null);
    let messageId = storableId(message.messageId);
    if (start !== null && verdict.kind !== 'taken') {
      const judgement = await parsers.judge({ name: `${account}/${id}`, source: start, candidate });
      if (verdict.kind === 'undecided') verdict = judgement.verdict;
      // It is known by that later, also where its size alone leaves it out.
      messageId = judgement.messageId;
    }
    return verdict.kind === 'filtered' ? { rule: verdict.rule, messageId, size: null, sha256: null } : null;
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

    async accept(message, filter) {
      const { epoch, source } = message;
      const begun = clock.monotonic();
      const identity = spool.identity(epoch, message);
      const target = spool.target(identity, { many: inWork >= MANY });
      inWork += 1;
      try {
        const job = { identity, source, target };
        const staged =
          filter === null
            ? await parsers.parse(job)
            : await parsers.parseCandidate({ ...job, candidate: candidateOf(filter, message, clock.now()) });
        if ('rule' in staged) {
          await recordLeftOut(epoch, message, staged);
          return 'filtered';
        }
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
        return 'published';
      } catch (thrown) {
        const error = toMailwatchdError(thrown, 'INTERNAL', { where: `${identity.account}/${identity.id}` });
        if (!POISON.has(error.code)) {
          await leave(epoch, message.uid);
          throw await seekCause(error);
        }
        await quarantine(epoch, message, { source, complete: true }, error);
        return 'quarantined';
      } finally {
        inWork -= 1;
      }
    },

    async leaveOut({ epoch, start, ...message }, filter) {
      const left = await judgeEarly(message, spool.identity(epoch, message), start, filter);
      if (left !== null) await recordLeftOut(epoch, message, left);
      return left !== null;
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
