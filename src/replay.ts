/** Serves the replay command's requests: messages that are parsed and published again. */
import type { Engine } from './engine.ts';
import { type MailwatchdError, plainError, toMailwatchdError } from './errors.ts';
import type { Log } from './logging.ts';

/** What became of the requests that were waiting. */
export interface ReplayResult {
  published: number;
  failed: number;
}

/**
 * Serves every waiting request, one after another. A message that cannot be parsed again stays in
 * quarantine, and its request is done; a storage error (retry `soon`) leaves the rest waiting and is thrown.
 * FILE_EXISTS is one message's own: it is thrown when the others are served.
 */
export async function serveReplays(
  { spool, parsers }: Pick<Engine, 'spool' | 'parsers'>,
  log: Log,
  onServed: (result: ReplayResult) => void = () => undefined,
): Promise<ReplayResult> {
  const result: ReplayResult = { published: 0, failed: 0 };
  let obstructed: MailwatchdError | null = null;
  for (const replay of await spool.pendingReplays()) {
    const fields = { mailbox: `${replay.account}/${replay.folder}`, id: replay.id };
    try {
      const { identity, file, target, declaredSize } = await spool.beginReplay(replay);
      const staged = await parsers.parse({ identity, source: { file }, target });
      const { epochId, number } = replay;
      await spool.accept({ epochId, identity, target, staged, declaredSize, after: false, replay: number });
      result.published += 1;
      log.info('replayed', { ...fields, name: target.name });
    } catch (thrown) {
      const error = toMailwatchdError(thrown, 'INTERNAL', { where: `${replay.account}/${replay.id}` });
      if (error.code === 'FILE_EXISTS') {
        obstructed ??= error;
        continue;
      }
      if (error.retry === 'soon') throw error;
      await spool.failReplay(replay, plainError(error));
      result.failed += 1;
      log.warn('replay_failed', { ...fields, error });
    }
    onServed(result);
  }
  if (obstructed !== null) throw obstructed;
  return result;
}
