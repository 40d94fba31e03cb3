/** Writes a parsed message into the staging directory: attachments, source, and the JSON last. Synchronous. */
import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type ErrorCode, MailwatchdError, toMailwatchdError } from '../errors.ts';
import { storableId } from '../message-id.ts';
import type { LeftOut, StagedDocument, StageTarget } from '../model.ts';
import { type MessageDocument, parseMessage } from './document.ts';
import { jsonOf } from './json.ts';
import { judgeDocument } from './judging.ts';
import type { DocumentJob, Source, StageJob } from './parser-protocol.ts';

/** O_EXCL and O_NOFOLLOW, since only we make these names. */
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Durable when `write` returns: Node's permission model switches fsync off, but not this. */
const WRITE_THROUGH = FLAGS | constants.O_DSYNC;

/** Modes where nobody configured any: what `mailwatchd parse --attachments` writes, less the user's umask. */
const PARSE_FILE_MODE = 0o666;
const PARSE_DIRECTORY_MODE = 0o777;

/** Parses and stages a message of a mailbox. A failure leaves nothing of it behind, nor does a rule that leaves it out. */
export function stageMessage(job: StageJob): StagedDocument | LeftOut {
  try {
    return stageOnce(job);
  } catch (error) {
    // An earlier attempt in this run died half way. What it left is removed by now.
    if (error instanceof MailwatchdError && errnoOf(error.cause) === 'EEXIST') return stageOnce(job);
    throw error;
  }
}

function stageOnce(job: StageJob): StagedDocument | LeftOut {
  const { identity, source, target, candidate, authservIds = [] } = job;
  const stem = join(target.directory, target.stem);
  const remove = () => {
    for (const path of [`${stem}.json`, `${stem}.eml`, stem]) rmSync(path, { recursive: true, force: true });
  };
  try {
    const message = readSource(source);
    const write = attachmentWriter(stem, target);
    const document = parseMessage(message, {
      identity,
      authservIds,
      source: target.source === 'keep' ? `${target.name}.eml` : null,
      ...(target.attachments === 'files' && {
        onAttachment: (file: string, content: Buffer) => {
          write(file, content);
          return `${target.name}/${file}`;
        },
      }),
    });
    const messageId = storableId(document.messageId);
    const { size, sha256, warnings } = document;
    const verdict = candidate && judgeDocument(document, candidate);
    if (verdict?.kind === 'filtered') {
      remove();
      return { rule: verdict.rule, messageId, size, sha256 };
    }
    if (target.source === 'keep') writeFile(`${stem}.eml`, target, [message]);
    writeFile(`${stem}.json`, target, jsonOf(document));
    return {
      messageId,
      size,
      sha256,
      hasAttachments: target.attachments === 'files' && document.attachments.length > 0,
      hasSource: target.source === 'keep',
      warnings,
    };
  } catch (thrown) {
    const error = toMailwatchdError(thrown, 'PARSE_FAILED');
    try {
      remove();
    } catch (failure) {
      // What is left has no row in the ledger, and is removed at the next start; the first error says more.
      return rethrow(error, failure);
    }
    throw error;
  }
}

function rethrow(error: MailwatchdError, failure: unknown): never {
  if (error.cause === undefined) error.cause = failure;
  throw error;
}

/** Parses a message for `mailwatchd parse`; `umask` is the one of the user who called it. */
export function parseDocument(
  { source, attachments, authservIds = [] }: DocumentJob,
  umask: number,
): MessageDocument {
  try {
    const message = readSource(source);
    if (attachments === null) return parseMessage(message, { identity: null, authservIds });
    const write = attachmentWriter(join(attachments.directory, attachments.stem), {
      directoryMode: PARSE_DIRECTORY_MODE & ~umask,
      fileMode: PARSE_FILE_MODE & ~umask,
      writeThrough: true,
    });
    return parseMessage(message, {
      identity: null,
      authservIds,
      onAttachment: (file, content, id) => {
        write(file, content);
        return `${id}/${file}`;
      },
    });
  } catch (error) {
    throw toMailwatchdError(error, 'PARSE_FAILED');
  }
}

/** A message's bytes. STAGED_MISSING where its file is gone. */
export function readSource(source: Source): Buffer {
  if (Buffer.isBuffer(source)) return source;
  if (source instanceof Uint8Array) return Buffer.from(source.buffer, source.byteOffset, source.byteLength);
  return onStorage(source.file, () => readFileSync(source.file), 'STAGED_MISSING');
}

type Writing = Pick<StageTarget, 'fileMode' | 'directoryMode' | 'writeThrough'>;

/** Makes the directory with the first attachment. */
function attachmentWriter(directory: string, writing: Writing) {
  let made = false;
  return (file: string, content: Buffer) => {
    if (!made) {
      onStorage(directory, () => {
        mkdirSync(directory);
        // mkdir takes no setgid bit.
        chmodSync(directory, writing.directoryMode);
      });
      made = true;
    }
    writeFile(join(directory, file), writing, [content]);
  };
}

/** The mode is exact: the process's umask is 0. */
function writeFile(
  path: string,
  { fileMode, writeThrough }: Pick<Writing, 'fileMode' | 'writeThrough'>,
  chunks: Iterable<Buffer>,
): void {
  onStorage(path, () => {
    const descriptor = openSync(path, writeThrough ? WRITE_THROUGH : FLAGS, fileMode);
    try {
      for (const chunk of chunks) {
        for (let written = 0; written < chunk.length; ) written += writeSync(descriptor, chunk, written);
      }
    } finally {
      closeSync(descriptor);
    }
  });
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'STORAGE_FULL',
  EDQUOT: 'STORAGE_FULL',
  EROFS: 'STORAGE_READ_ONLY',
  EACCES: 'STORAGE_DENIED',
  EPERM: 'STORAGE_DENIED',
  ERR_ACCESS_DENIED: 'STORAGE_DENIED',
};

const errnoOf = (error: unknown): string => (error as NodeJS.ErrnoException | undefined)?.code ?? '';

/** Storage's errors are no fault of the message: they must not look like a failed parse. */
function onStorage<T>(path: string, action: () => T, missing: ErrorCode = 'STORAGE_MISSING'): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof MailwatchdError || !(cause instanceof Error)) throw cause;
    const errno = errnoOf(cause);
    const code = errno === 'ENOENT' ? missing : (CODES[errno] ?? 'STORAGE_FAILED');
    throw new MailwatchdError(code, { where: path, detail: cause.message, cause });
  }
}
