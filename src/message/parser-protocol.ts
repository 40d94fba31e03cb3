/** What the pool and a parser process say to each other. */
import { constants } from 'node:buffer';
import { ERRORS, type PlainError } from '../errors.ts';
import { type Candidate, reasonsOf, type Verdict } from '../filter.ts';
import type { LeftOut, MessageIdentity, StagedDocument, StageTarget } from '../model.ts';
import type { MessageDocument } from './document.ts';

/** The raw message, or a file of it that the parser may read (below the staging directory). */
export type Source = Buffer | { file: string };

interface Parsing {
  source: Source;
  /** As in `ParseOptions`. */
  authservIds?: readonly string[];
}

/** A message of a mailbox, to be staged. */
export interface StageJob extends Parsing {
  identity: MessageIdentity;
  target: StageTarget;
  /** Where the account has rules: one that they leave out is not staged. */
  candidate?: Candidate;
}

/** The first bytes of a message, to be judged by its header. */
export interface JudgeJob {
  /** For errors and logs: `account/id`. */
  name: string;
  source: Source;
  candidate: Candidate;
}

/** What the first bytes tell; `messageId` as in `LeftOut`. `takenBy`: the rule of `only` that takes it, where one is sure to. */
export interface Judgement {
  verdict: Verdict;
  takenBy: string | null;
  messageId: string | null;
}

/** A message of `mailwatchd parse`: the document comes back. */
export interface DocumentJob extends Parsing {
  /** Attachments are written into `<directory>/<stem>/`, below the staging directory; null: nowhere. */
  attachments: { directory: string; stem: string } | null;
}

export type Job = StageJob | JudgeJob | DocumentJob;
export type Result = StagedDocument | LeftOut | Judgement | MessageDocument;

export const isStageJob = (job: Job): job is StageJob => 'target' in job;
export const isDocumentJob = (job: Job): job is DocumentJob => !isStageJob(job) && !('candidate' in job);

/** `account/id`; undefined for a message of no mailbox. */
export function nameOf(job: Job): string | undefined {
  if (isDocumentJob(job)) return undefined;
  return isStageJob(job) ? `${job.identity.account}/${job.identity.id}` : job.name;
}

/** To the parser process. */
export interface Request {
  number: number;
  job: Job;
}

/** From the parser process, which a message may have taken over. */
export type Reply =
  | { kind: 'ready' }
  /** Goes out before the message is touched, so that a death can name it. */
  | { kind: 'started'; number: number }
  | { kind: 'done'; number: number; result: Result }
  | { kind: 'failed'; number: number; error: PlainError };

/**
 * Bytes of a reply at most: of a row, which holds no text of any length, so that reading it takes the main thread no
 * time; no document is longer than a string can be.
 */
export const MAX_ROW_BYTES = 256 * 1024;
export const MAX_DOCUMENT_BYTES = constants.MAX_STRING_LENGTH;

/** A reply from its JSON. Throws SyntaxError or TypeError for what is none. */
export function readReply(json: string): Reply {
  const reply: unknown = JSON.parse(json);
  if (!isReply(reply)) throw new TypeError(`no reply: ${json.slice(0, 100)}`);
  return reply;
}

type Fields = Record<string, unknown>;

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const isText = (value: unknown): boolean => typeof value === 'string';

function isReply(value: unknown): value is Reply {
  if (!isObject(value)) return false;
  if (value.kind === 'ready') return true;
  if (typeof value.number !== 'number') return false;
  if (value.kind === 'done') return isObject(value.result);
  return value.kind === 'started' || (value.kind === 'failed' && isPlainError(value.error));
}

function isPlainError(error: unknown): error is PlainError {
  if (!isObject(error) || typeof error.code !== 'string' || !Object.hasOwn(ERRORS, error.code)) return false;
  return [error.detail, error.where, error.remedy].every((text) => text === undefined || isText(text));
}

/** Whether a result is one that the job asks for. A document is not looked into. */
export function isAnswer(job: Job, result: Result): boolean {
  if (isDocumentJob(job)) return true;
  if (!isStageJob(job)) return isJudgement(result, job.candidate);
  return isStagedDocument(result) || (job.candidate !== undefined && isLeftOut(result, job.candidate));
}

function isJudgement(result: Result, { filter }: Candidate): boolean {
  const { verdict, takenBy, messageId }: Fields = { ...result };
  if (!isObject(verdict) || !isTextOrNull(takenBy) || !isTextOrNull(messageId)) return false;
  if (verdict.kind === 'filtered') return reasonsOf(filter).some((reason) => reason === verdict.rule);
  return verdict.kind === 'taken' || verdict.kind === 'undecided';
}

function isLeftOut(result: Result, { filter }: Candidate): boolean {
  const { rule, messageId, size, sha256 }: Fields = { ...result };
  const known = reasonsOf(filter).some((reason) => reason === rule);
  return known && isTextOrNull(messageId) && Number.isSafeInteger(size) && isHash(sha256);
}

const isTextOrNull = (value: unknown): boolean => value === null || isText(value);
const isHash = (value: unknown): boolean => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);

/** Whether the ledger can hold it as a row. */
function isStagedDocument(result: Result): boolean {
  const { messageId, size, sha256, hasAttachments, hasSource, warnings }: Fields = { ...result };
  return (
    isTextOrNull(messageId) &&
    Number.isSafeInteger(size) &&
    isHash(sha256) &&
    typeof hasAttachments === 'boolean' &&
    typeof hasSource === 'boolean' &&
    Array.isArray(warnings) &&
    warnings.every(isText)
  );
}
