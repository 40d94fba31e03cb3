/** Log lines: events with fields, to stderr and to files rotated by date and size. The only file that knows winston. */
import { readFileSync, rmSync } from 'node:fs';
import { chmod, mkdir, readdir, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import winston from 'winston';
import DailyRotateFile from 'winston-daily-rotate-file';
import { type Clock, systemClock } from './clock.ts';
import { MailwatchdError } from './errors.ts';
import { escapeUnprintable, printable } from './escape.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export type LogFields = Record<string, unknown>;

/**
 * Events with fields. `event` is a fixed name (`idle_lost`), never text from outside; what came from
 * mail or server goes into fields, where it is escaped and cut. An undefined field is left out; an
 * error becomes the fields `code` and its key. Never throws.
 */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A log whose every event carries these fields as well. */
  child(fields: LogFields): Log;
}

const unheard = () => undefined;

/** For commands that tell what they find by themselves. */
export const silentLog: Log = {
  debug: unheard,
  info: unheard,
  warn: unheard,
  error: unheard,
  child: () => silentLog,
};

export interface LogHandle extends Log {
  /** Writes out what is pending, for a second at most; later events are dropped. Never rejects. */
  close(): Promise<void>;
}

export interface LogOptions {
  /** Where the files go; null: no files. */
  directory: string | null;
  level: LogLevel;
  format: 'text' | 'json';
  /** Whether events go to stderr too. While the files fail they always do. */
  console: boolean;
  /** Bytes after which a file is rotated. */
  maxSize: number;
  /** Age after which a file is removed, milliseconds; counted in whole days. */
  keep: number;
  clock?: Clock;
}

/** A longer value is cut: enough for a path of PATH_MAX/4 or a server's longest sensible reply. */
const MAX_VALUE_CHARS = 1000;
/** A stack is for the author of mailwatchd, some ten frames. */
const MAX_STACK_CHARS = 2000;
/** Files that failed are tried again after this: a full disk is rarely mended sooner. */
const REOPEN_AFTER_MS = 15_000;
/** Writing into a file that was removed succeeds, so look whether it still has its name. */
const LOOK_EVERY_MS = 10_000;
/** A stop does not wait longer for a log disk that hangs. */
const CLOSE_WITHIN_MS = 1_000;
const DAY_MS = 86_400_000;

/** For the daemon's group to read: lines hold addresses and what servers say. */
const FILE_MODE = 0o640;
const FILE_NAME = /^mailwatchd-\d{4}-\d\d-\d\d(\.\d+)?\.log(\.gz)?$/;
const AUDIT_FILE = '.mailwatchd-audit.json';

const LEVELS: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 };

const survive = () => undefined;

/** Opens the log. Fails never: where files cannot be written, it says so on stderr and tries again later. */
export function openLog(options: LogOptions): LogHandle {
  const clock = options.clock ?? systemClock;
  const tell = (error: unknown) => {
    const fields = { directory: options.directory, error };
    process.stderr.write(`${formatEvent(options.format, clock.now(), 'warn', 'log_files_failed', fields)}\n`);
  };
  const files = options.directory === null ? null : openFiles(options, options.directory, clock, tell);
  let closed = false;

  // One transport for both, so that winston never adds, removes or un-pipes anything while it runs:
  // it re-adds a transport that reports an error after its removal, and a transport that throws stays stuck.
  const sink = new Writable({
    decodeStrings: false,
    write(line: string, _encoding, next) {
      const inFile = files?.write(line) ?? false;
      if (options.console || (files !== null && !inFile)) process.stderr.write(line);
      next();
    },
  });
  const logger = winston.createLogger({
    level: options.level,
    levels: LEVELS,
    format: winston.format.printf((info) => info.message as string),
    transports: new winston.transports.Stream({ stream: sink, eol: '\n' }),
  });

  // A reader of stderr that went away (EPIPE), or a full disk behind it, must not end the daemon; its
  // error may come after the log was closed.
  if (!process.stderr.listeners('error').includes(survive)) process.stderr.on('error', survive);

  const emit = (level: LogLevel, event: string, fields: LogFields) => {
    // Looked at first, since most events of most logs are `debug`.
    if (!closed && LEVELS[level] <= LEVELS[options.level])
      logger.log(level, formatEvent(options.format, clock.now(), level, event, fields));
  };
  return {
    ...logWith({}, emit),
    async close() {
      if (closed) return;
      closed = true;
      await files?.close();
      logger.close();
    },
  };
}

type Emit = (level: LogLevel, event: string, fields: LogFields) => void;

function logWith(own: LogFields, emit: Emit): Log {
  const at = (level: LogLevel) => (event: string, fields?: LogFields) =>
    emit(level, event, { ...own, ...fields });
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => logWith({ ...own, ...fields }, emit),
  };
}

/** winston's key of a formatted line (triple-beam). */
const MESSAGE = Symbol.for('message');

interface Files {
  /** False where the line is not going to a file now. */
  write(line: string): boolean;
  close(): Promise<void>;
}

/**
 * A rotating file that is dropped at its first error and opened anew by a later line. An error of
 * winston-daily-rotate-file's inner stream has no listener unless we add one, and a failing mkdir at
 * rotation is thrown out of `log`: each would end the process.
 */
function openFiles(
  options: LogOptions,
  directory: string,
  clock: Clock,
  report: (error: unknown) => void,
): Files {
  let current: { transport: DailyRotateFile; file: string | null } | null = null;
  let retryAt = 0;
  let lookAt = 0;
  let looking = false;
  let closed = false;

  const drop = (transport: DailyRotateFile, error: unknown) => {
    if (current?.transport !== transport) return;
    current = null;
    retryAt = clock.monotonic() + REOPEN_AFTER_MS;
    transport.close?.();
    report(error);
  };

  const open = () => {
    forgetBrokenAudit(directory);
    const transport = new DailyRotateFile({
      dirname: directory,
      filename: 'mailwatchd-%DATE%',
      extension: '.log',
      datePattern: 'YYYY-MM-DD',
      utc: true,
      zippedArchive: true,
      maxSize: options.maxSize,
      maxFiles: `${Math.ceil(options.keep / DAY_MS)}d`,
      auditFile: join(directory, AUDIT_FILE),
      eol: '',
      options: { flags: 'a', mode: FILE_MODE },
    });
    const opened = { transport, file: null as string | null };
    current = opened;
    lookAt = clock.monotonic() + LOOK_EVERY_MS;
    transport.on('error', (error) => drop(transport, error));
    transport.logStream.on('error', (error) => drop(transport, error));
    // It makes its archives with the mode that the umask gives.
    transport.on('archive', (file: string) => {
      chmod(file, FILE_MODE).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') drop(transport, error);
      });
    });
    transport.on('new', (file: string) => {
      opened.file = file;
      // The transport forgets its archives when it is started on another day, so age is ours too.
      removeOld(directory, clock.now() - options.keep).catch((error) => drop(transport, error));
    });
  };

  const tryOpen = () => {
    try {
      open();
    } catch (error) {
      current = null;
      retryAt = clock.monotonic() + REOPEN_AFTER_MS;
      report(error);
    }
  };

  /** Opening is synchronous: look first whether the disk answers, has room and lets us write. */
  const reopen = async () => {
    retryAt = Number.POSITIVE_INFINITY;
    try {
      await mkdir(directory, { recursive: true });
      const probe = join(directory, '.mailwatchd-probe');
      await writeFile(probe, 'x');
      await unlink(probe);
      if (!closed) tryOpen();
    } catch (error) {
      retryAt = clock.monotonic() + REOPEN_AFTER_MS;
      report(error);
    }
  };

  const look = async (transport: DailyRotateFile, file: string) => {
    looking = true;
    try {
      await stat(file);
    } catch (error) {
      if (current?.file === file) drop(transport, error);
    }
    looking = false;
  };

  tryOpen();
  return {
    write(line) {
      const now = clock.monotonic();
      if (closed) return false;
      if (current === null) {
        if (now >= retryAt) void reopen();
        return false;
      }
      const { transport, file } = current;
      if (now >= lookAt) {
        lookAt = now + LOOK_EVERY_MS;
        // Not answered since the last look: the disk hangs, and lines would pile up in memory.
        if (looking) drop(transport, new Error('the log disk does not answer'));
        else if (file !== null) void look(transport, file);
        if (current === null) return false;
      }
      try {
        transport.log?.({ [MESSAGE]: line }, () => undefined);
        return true;
      } catch (error) {
        drop(transport, error);
        return false;
      }
    },
    async close() {
      closed = true;
      const transport = current?.transport;
      if (transport === undefined) return;
      await new Promise<void>((resolve) => {
        const cancel = clock.after(CLOSE_WITHIN_MS, resolve);
        const done = () => {
          cancel();
          resolve();
        };
        transport.once('finish', done);
        transport.logStream.once('error', done);
        transport.close?.();
      });
    },
  };
}

/** With a damaged audit file the transport either never removes anything again or throws. */
function forgetBrokenAudit(directory: string): void {
  const path = join(directory, AUDIT_FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return; // absent, or unreadable: then the transport's own error tells
  }
  if (!isAudit(text)) rmSync(path, { force: true });
}

function isAudit(text: string): boolean {
  try {
    const audit = JSON.parse(text) as { files?: unknown } | null;
    return (
      Array.isArray(audit?.files) &&
      audit.files.every((file) => typeof file?.name === 'string' && typeof file?.hash === 'string')
    );
  } catch {
    return false; // cut short by a full disk
  }
}

async function removeOld(directory: string, before: number): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!FILE_NAME.test(name)) continue;
    const path = join(directory, name);
    try {
      if ((await stat(path)).mtimeMs < before) await unlink(path);
    } catch (error) {
      // The transport archives and removes at the same time.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/** One event as one line without its end: `<time> <level> <event> key=value …`, or an object of the same. */
export function formatEvent(
  format: 'text' | 'json',
  time: number,
  level: LogLevel,
  event: string,
  fields: LogFields,
): string {
  const at = new Date(time).toISOString();
  const flat = Object.entries(fields).flatMap(([key, value]) => flatten(key.replace(/[^\w.]/g, '_'), value));
  if (format === 'json') {
    // What JSON leaves as it is, but a viewer acts on: C1 controls, separators, directions.
    const json = JSON.stringify({ ...Object.fromEntries(flat), time: at, level, event });
    return escapeUnprintable(json, (hex) => `\\u${hex}`);
  }
  const words = flat.map(([key, value]) => `${key}=${quote(value)}`);
  return [at, level, printable(event), ...words].join(' ');
}

type Printable = string | number | boolean | null;

/** A field as one or more printable ones. */
function flatten(key: string, value: unknown): [string, Printable][] {
  if (value === undefined) return [];
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return [[key, value]];
  if (value instanceof MailwatchdError) {
    const row: [string, Printable][] = [
      ['code', value.code],
      [key, cut(value.message)],
    ];
    return value.code === 'INTERNAL' ? [...row, ...stackOf(value.cause ?? value)] : row;
  }
  if (value instanceof Error) {
    const code = (value as NodeJS.ErrnoException).code;
    return [
      ...(typeof code === 'string' ? ([['code', code]] as [string, Printable][]) : []),
      [key, cut(`${value.name}: ${value.message}`)],
      // A system's error has no defect of ours behind it.
      ...(typeof code === 'string' ? [] : stackOf(value)),
    ];
  }
  return [[key, cut(typeof value === 'object' ? asJson(value) : String(value))]];
}

function stackOf(error: unknown): [string, Printable][] {
  if (!(error instanceof Error) || error.stack === undefined) return [];
  const frames = error.stack.split('\n').filter((line) => /^\s+at /.test(line));
  return [['stack', cut(frames.map((line) => line.trim()).join('; '), MAX_STACK_CHARS)]];
}

/** A Secret's toJSON gives `[secret]`, at any depth. */
function asJson(value: object): string {
  try {
    return JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? '';
  } catch {
    return '[unprintable]'; // cyclic, or a getter that throws
  }
}

function cut(text: string, max = MAX_VALUE_CHARS): string {
  return text.length <= max ? text : `${text.slice(0, max)}…(${text.length} characters)`;
}

function quote(value: Printable): string {
  if (typeof value !== 'string') return String(value);
  if (/^[\w./:@+~,%-]+$/.test(value)) return value;
  return `"${printable(value.replace(/["\\]/g, '\\$&'), Number.POSITIVE_INFINITY)}"`;
}
