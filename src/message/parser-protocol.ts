/** What the pool and a parser process say to each other. */
import type { PlainError } from '../errors.ts';
import type { MessageIdentity, StagedDocument, StageTarget } from '../model.ts';
import type { MessageDocument } from './document.ts';

/** The raw message, or a file of it that the parser may read (below the staging directory). */
export type Source = Buffer | { file: string };

/** A message of a mailbox, to be staged. */
export interface StageJob {
  identity: MessageIdentity;
  source: Source;
  target: StageTarget;
}

/** A message of `mailwatchd parse`: the document comes back. */
export interface DocumentJob {
  source: Source;
  /** Attachments are written into `<directory>/<stem>/`, below the staging directory; null: nowhere. */
  attachments: { directory: string; stem: string } | null;
}

export type Job = StageJob | DocumentJob;

export const isStageJob = (job: Job): job is StageJob => 'target' in job;

/** To the parser process. */
export interface Request {
  number: number;
  job: Job;
}

/** From the parser process. */
export type Reply =
  | { kind: 'ready' }
  /** Goes out before the message is touched, so that a death can name it. */
  | { kind: 'started'; number: number }
  /** `next`: the message that is started after this, where it is there already. */
  | { kind: 'done'; number: number; result: StagedDocument | MessageDocument; next?: number }
  | { kind: 'failed'; number: number; error: PlainError; next?: number };
