/** `mailwatchd parse`: raw messages to documents, one JSON line each, in the order of the arguments. */
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createBudget } from '../budget.ts';
import { EXIT, MailwatchdError, toMailwatchdError } from '../errors.ts';
import type { MessageDocument } from '../message/document.ts';
import { type ParserPool, startParsers } from '../message/pool.ts';
import { print } from '../terminal.ts';

/** The Contract's defaults: `parse` reads no configuration. */
const MESSAGE_BYTES = 64 * 1024 * 1024;
const IN_FLIGHT_BYTES = 64 * 1024 * 1024;
const PARSE_SECONDS = 30;
const PARSE_MEMORY_MB = 512;
const MAX_PARSERS = 4;

/** Files that are read ahead of the one whose line is due; enough to keep every parser busy. */
const READ_AHEAD = 32;

/** A message costs more than its bytes while it is in work. */
const OVERHEAD = 64 * 1024;

export interface ParseIo {
  stdout: NodeJS.WritableStream;
  stdin: NodeJS.ReadableStream;
}

type Line = MessageDocument | { error: { code: string; message: string }; file: string };

/**
 * Prints a line a file; `-` is standard input. One attempt a message. Returns 65 where a file could not
 * be read or parsed, else 0. Throws PARSER_UNAVAILABLE, and what `--attachments` meets in its directory.
 */
export async function parse(
  files: string[],
  options: { attachments?: string },
  io: ParseIo,
): Promise<number> {
  const attachments = options.attachments === undefined ? null : await openAttachments(options.attachments);
  const parsers = startParsers({
    size: Math.min(availableParallelism(), MAX_PARSERS),
    stagingDirectory: attachments?.staging ?? null,
    parseSeconds: PARSE_SECONDS,
    parseMemoryMb: PARSE_MEMORY_MB,
    attempts: 1,
  });
  try {
    return await parseAll(files, parsers, attachments, io);
  } finally {
    await parsers.stop();
    await attachments?.close();
  }
}

async function parseAll(
  files: string[],
  parsers: ParserPool,
  attachments: Attachments | null,
  io: ParseIo,
): Promise<number> {
  const budget = createBudget(IN_FLIGHT_BYTES);
  const stopping = new AbortController();
  const due: Promise<{ line: Line; release(): void }>[] = [];
  const stdin = oneReader(io.stdin);
  let status: number = EXIT.OK;
  let next = 0;

  // In the order of the arguments: were a later one admitted first, it and an earlier one would wait for each other.
  let admitted: Promise<unknown> = Promise.resolve();
  const admit = (file: string): Promise<() => void> => {
    const admission = admitted.then(async () =>
      budget.reserve((await sizeOf(file)) + OVERHEAD, { alone: false, signal: stopping.signal }),
    );
    admitted = admission.catch(() => undefined);
    return admission;
  };

  const begin = async (file: string, number: number) => {
    const release = await admit(file);
    try {
      const source = await readMessage(file, stdin);
      const stem = String(number);
      const place = attachments && { directory: attachments.staging, stem };
      const document = await parsers.parseToDocument({ source, attachments: place });
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
      const taken = await print(io.stdout, `${JSON.stringify(line)}\n`);
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
async function sizeOf(file: string): Promise<number> {
  if (file === '-') return MESSAGE_BYTES;
  try {
    const found = await stat(file);
    return found.isFile() ? Math.min(found.size, MESSAGE_BYTES) : MESSAGE_BYTES;
  } catch {
    return 0;
  }
}

async function readMessage(file: string, stdin: () => NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of file === '-' ? stdin() : createReadStream(file)) {
      const bytes = Buffer.from(chunk as Uint8Array);
      size += bytes.length;
      if (size > MESSAGE_BYTES) {
        throw new MailwatchdError('MESSAGE_TOO_LARGE', {
          where: file,
          detail: `more than ${MESSAGE_BYTES} bytes`,
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

async function openAttachments(directory: string): Promise<Attachments> {
  const root = resolve(directory);
  const staging = await onDirectory(root, async () => {
    await makeDirectory(root);
    return mkdtemp(join(root, '.mailwatchd-'));
  });
  return {
    staging,
    publish: (stem, id) =>
      onDirectory(root, async () => {
        const target = join(root, id);
        try {
          await rename(target, join(staging, `${stem}.replaced`));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        }
        await rename(join(staging, stem), target);
      }),
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
