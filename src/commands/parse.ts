/** `mailwatchd parse`: raw messages to documents, one JSON line each, in the order of the arguments. */
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createBudget } from '../budget.ts';
import { loadConfig } from '../config/load.ts';
import { EXIT, MailwatchdError, toMailwatchdError } from '../errors.ts';
import type { MessageDocument } from '../message/document.ts';
import { type ParserPool, startParsers } from '../message/pool.ts';
import { asJson, type Output, print } from '../terminal.ts';

/** What of the configuration concerns parsing. */
interface ParseLimits {
  messageBytes: number;
  inFlightBytes: number;
  parseSeconds: number;
  parseMemoryMb: number;
  parsers: number;
}

/** The Contract's defaults: without `--config`, no configuration is read. */
const DEFAULTS: ParseLimits = {
  messageBytes: 64 * 1024 * 1024,
  inFlightBytes: 64 * 1024 * 1024,
  parseSeconds: 30,
  parseMemoryMb: 512,
  parsers: Math.min(availableParallelism(), 4),
};

/** Files that are read ahead of the one whose line is due; enough to keep every parser busy. */
const READ_AHEAD = 32;

/** A message costs more than its bytes while it is in work. */
const OVERHEAD = 64 * 1024;

export interface ParseIo {
  stdout: Output;
  stdin: NodeJS.ReadableStream;
  /** Overrides what a `--config` says; empty where absent. */
  environment?: NodeJS.ProcessEnv;
}

type Line = MessageDocument | { error: { code: string; message: string }; file: string };

/**
 * Prints a line a file; `-` is standard input. One attempt a message. Returns 65 where a file could not
 * be read or parsed, else 0. `authservId`: servers whose Authentication-Results are trusted. Throws PARSER_UNAVAILABLE, what `--attachments` meets in its directory,
 * and CONFIG_* of a `--config`, whose limits are taken.
 */
export async function parse(
  files: string[],
  options: { attachments?: string; authservId?: string[]; config?: string },
  io: ParseIo,
): Promise<number> {
  const limits =
    options.config === undefined ? DEFAULTS : await limitsOf(options.config, io.environment ?? {});
  const attachments = options.attachments === undefined ? null : await openAttachments(options.attachments);
  const parsers = startParsers({
    size: limits.parsers,
    stagingDirectory: attachments?.staging ?? null,
    parseSeconds: limits.parseSeconds,
    parseMemoryMb: limits.parseMemoryMb,
    attempts: 1,
  });
  try {
    const authservIds = (options.authservId ?? []).map((id) => id.toLowerCase());
    return await parseAll(files, limits, { parsers, attachments, authservIds }, io);
  } finally {
    await parsers.stop();
    await attachments?.close();
  }
}

async function limitsOf(file: string, environment: NodeJS.ProcessEnv): Promise<ParseLimits> {
  const { config } = await loadConfig(file, environment);
  return { ...config.limits, parsers: config.parsers };
}

interface Parsing {
  parsers: ParserPool;
  attachments: Attachments | null;
  authservIds: readonly string[];
}

async function parseAll(
  files: string[],
  { messageBytes, inFlightBytes }: ParseLimits,
  { parsers, attachments, authservIds }: Parsing,
  io: ParseIo,
): Promise<number> {
  const budget = createBudget(inFlightBytes);
  const stopping = new AbortController();
  const due: Promise<{ line: Line; release(): void }>[] = [];
  const stdin = oneReader(io.stdin);
  let status: number = EXIT.OK;
  let next = 0;

  // In the order of the arguments: were a later one admitted first, it and an earlier one would wait for each other.
  let admitted: Promise<unknown> = Promise.resolve();
  const admit = (file: string): Promise<() => void> => {
    const admission = admitted.then(async () =>
      budget.reserve((await sizeOf(file, messageBytes)) + OVERHEAD, {
        alone: false,
        signal: stopping.signal,
      }),
    );
    admitted = admission.catch(() => undefined);
    return admission;
  };

  const begin = async (file: string, number: number) => {
    const release = await admit(file);
    try {
      const source = await readMessage(file, stdin, messageBytes);
      const stem = String(number);
      const place = attachments && { directory: attachments.staging, stem };
      const document = await parsers.parseToDocument({ source, attachments: place, authservIds });
      if (attachments && document.attachments.length > 0) await attachments.publish(stem, document.id);
      return { line: document, release };
    } catch (thrown) {
      const error = toMailwatchdError(thrown, 'INTERNAL', { where: file });
      if (error.code === 'PARSER_UNAVAILABLE' || error.code.startsWith('STORAGE')) throw error;
      return { line: { error: { code: error.code, message: error.message }, file }, release };
    }
  };

  try {
    while (next < files.length || due.length > 0) {
      while (next < files.length && due.length < READ_AHEAD) {
        const begun = begin(files[next] as string, next);
        // It is looked at in its turn; until then its failure is nobody's.
        begun.catch(() => undefined);
        due.push(begun);
        next += 1;
      }
      const { line, release } = await (due.shift() as (typeof due)[0]);
      if ('error' in line) status = EXIT.DATA;
      const taken = await print(io.stdout, `${asJson(io.stdout, line)}\n`);
      release();
      if (!taken) break;
    }
    return status;
  } finally {
    stopping.abort();
    await Promise.all([parsers.stop(), ...due.map((begun) => begun.catch(() => undefined))]);
  }
}

/** Standard input can be read once. */
function oneReader(stdin: NodeJS.ReadableStream): () => NodeJS.ReadableStream {
  let taken = false;
  return () => {
    if (taken)
      throw new MailwatchdError('INPUT_UNREADABLE', {
        where: '-',
        detail: 'standard input was read already',
      });
    taken = true;
    return stdin;
  };
}

/** Bytes to reserve; what has no size (a pipe) counts as the largest message. A file that is missing is told when it is read. */
async function sizeOf(file: string, largest: number): Promise<number> {
  if (file === '-') return largest;
  try {
    const found = await stat(file);
    return found.isFile() ? Math.min(found.size, largest) : largest;
  } catch {
    return 0;
  }
}

async function readMessage(
  file: string,
  stdin: () => NodeJS.ReadableStream,
  messageBytes: number,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of file === '-' ? stdin() : createReadStream(file)) {
      const bytes = Buffer.from(chunk as Uint8Array);
      size += bytes.length;
      if (size > messageBytes) {
        throw new MailwatchdError('MESSAGE_TOO_LARGE', {
          where: file,
          detail: `more than ${messageBytes} bytes`,
        });
      }
      chunks.push(bytes);
    }
  } catch (error) {
    throw toMailwatchdError(error, 'INPUT_UNREADABLE', { where: file });
  }
  return Buffer.concat(chunks);
}

interface Attachments {
  /** A directory of ours in the user's, on the same device; the only place that parsers may write. */
  staging: string;
  /** Gives a message's attachments their name; those of an earlier run of the same message are replaced. */
  publish(stem: string, id: string): Promise<void>;
  close(): Promise<void>;
}

/** What names a document that belongs to no mailbox. */
const DOCUMENT_ID = /^[0-9a-f]{16}$/;

async function openAttachments(directory: string): Promise<Attachments> {
  const root = resolve(directory);
  const staging = await onDirectory(root, async () => {
    await makeDirectory(root);
    return mkdtemp(join(root, '.mailwatchd-'));
  });
  const replace = (stem: string, id: string) =>
    onDirectory(root, async () => {
      const target = join(root, id);
      try {
        await rename(target, join(staging, `${stem}.replaced`));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      await rename(join(staging, stem), target);
    });
  let last: Promise<unknown> = Promise.resolve();
  return {
    staging,
    // One at a time: the same message twice in a call would find the other's directory between its two steps.
    publish(stem, id) {
      // Whoever took a parser over would have us move any directory.
      if (!DOCUMENT_ID.test(id))
        return Promise.reject(new MailwatchdError('PARSE_FAILED', { detail: 'its id is none' }));
      const replaced = last.then(() => replace(stem, id));
      last = replaced.catch(() => undefined);
      return replaced;
    },
    close: () => rm(staging, { recursive: true, force: true }),
  };
}

/** With its parents. Not `recursive`: that tries for ever where a file system makes none (`/proc`). */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return;
    const parent = dirname(path);
    if (code !== 'ENOENT' || (await isDirectory(parent))) throw error;
    await makeDirectory(parent);
    await mkdir(path);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

async function onDirectory<T>(directory: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw toMailwatchdError(error, 'STORAGE_FAILED', { where: directory });
  }
}
