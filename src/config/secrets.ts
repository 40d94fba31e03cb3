/** Passwords and other secrets: where they come from, and a value that cannot be printed. */
import { execFile } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { inspect } from 'node:util';
import { isDate } from '../clock.ts';
import { MailwatchdError } from '../errors.ts';

const HIDDEN = '[secret]';

/** Of this process alone, so that a fingerprint tells nobody anything. */
const fingerprintKey = randomBytes(32);

/** A value that prints as `[secret]` everywhere: in templates, JSON, `console.log` and the log. */
export class Secret {
  readonly #value: string;
  /** For comparisons: a deep one does not see private members, and would find all secrets equal. */
  readonly fingerprint: string;

  constructor(value: string) {
    this.#value = value;
    this.fingerprint = createHmac('sha256', fingerprintKey).update(value).digest('hex');
  }

  /** The value itself, for the login alone. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}

/** Where a secret is read from, each time anew. */
export type SecretSource = { file: string } | { env: string } | { command: string[] } | { plain: Secret };

/** Somebody may have to touch a hardware token, but a login does not wait longer. */
const COMMAND_TIMEOUT_MS = 10_000;
/** Far more than any password or token; keeps a wrong path (a log, a device) from filling memory. */
const MAX_SECRET_BYTES = 16 * 1024;
/** What a command gets of our environment: to be found, and to find its keys. */
const COMMAND_ENVIRONMENT = ['PATH', 'HOME', 'LANG'];

/**
 * Reads a secret. One line end at its end is not part of it. Throws SECRET_UNAVAILABLE, never with
 * the value, a command's arguments or what it wrote. `commandTimeout`: milliseconds.
 */
export async function readSecret(
  source: SecretSource,
  environment: NodeJS.ProcessEnv,
  commandTimeout: number = COMMAND_TIMEOUT_MS,
): Promise<string> {
  const text = await readSecretText(source, environment, commandTimeout);
  // A line end or NUL in a LOGIN command would be another command.
  if (hasControlCharacter(text))
    throw unavailable(nameOf(source), 'holds more than one line, or a control character');
  return text;
}

/** As `readSecret`, for a text of several lines, such as a key. */
export async function readSecretText(
  source: SecretSource,
  environment: NodeJS.ProcessEnv,
  commandTimeout: number = COMMAND_TIMEOUT_MS,
): Promise<string> {
  const where = nameOf(source);
  const raw = await readSource(source, where, environment, commandTimeout);
  const secret = raw.replace(/\r?\n$/, '');
  if (secret === '') throw unavailable(where, 'is empty');
  return secret;
}

async function readSource(
  source: SecretSource,
  where: string,
  environment: NodeJS.ProcessEnv,
  commandTimeout: number,
): Promise<string> {
  if ('plain' in source) return source.plain.reveal();
  if ('file' in source) return readSecretFile(source.file);
  if ('command' in source) return runSecretCommand(where, source.command, environment, commandTimeout);
  const value = environment[source.env];
  if (value === undefined) throw unavailable(where, 'is not set');
  return value;
}

function nameOf(source: SecretSource): string {
  if ('plain' in source) return 'the configuration';
  if ('file' in source) return source.file;
  return 'env' in source ? `environment variable ${source.env}` : `command ${source.command[0]}`;
}

/** What the operator should hear of a source: a secret's own file that everybody can read. */
export async function secretWarning(source: SecretSource): Promise<string | null> {
  if (!('file' in source)) return null;
  try {
    const { mode } = await stat(source.file);
    return (mode & 0o004) === 0
      ? null
      : `${source.file} can be read by every user: chmod o-r it if its mount allows`;
  } catch {
    return null; // readSecret says what is wrong with it, when it is needed
  }
}

/** When a secret's own file was changed last, ms; null for another source, or where it cannot be seen or is no date. */
export async function secretChangedAt(source: SecretSource): Promise<number | null> {
  if (!('file' in source)) return null;
  try {
    const { mtimeMs } = await stat(source.file);
    return isDate(mtimeMs) ? mtimeMs : null;
  } catch {
    return null; // readSecret says what is wrong with it, when it is needed
  }
}

/** Whether a text holds C0 controls or DEL, which no user name, password or path of ours may. */
export function hasControlCharacter(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
  return /[\u0000-\u001f\u007f]/.test(text);
}

async function readSecretFile(path: string): Promise<string> {
  try {
    // Not to hang on a pipe nobody writes to.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await file.stat();
    if (size > MAX_SECRET_BYTES) throw unavailable(path, `is larger than ${MAX_SECRET_BYTES} bytes`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_SECRET_BYTES), 0, MAX_SECRET_BYTES, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (error instanceof MailwatchdError) throw error;
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw unavailable(path, `cannot be read by user ${process.geteuid?.()} (${code})`);
  }
}

function runSecretCommand(
  where: string,
  command: string[],
  environment: NodeJS.ProcessEnv,
  timeout: number,
): Promise<string> {
  const [program = '', ...rest] = command;
  const inherited = COMMAND_ENVIRONMENT.flatMap((name) => {
    const value = environment[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return new Promise((resolve, reject) => {
    const options = {
      cwd: '/',
      env: Object.fromEntries(inherited),
      timeout,
      killSignal: 'SIGKILL' as const,
      maxBuffer: MAX_SECRET_BYTES,
    };
    execFile(program, rest, options, (error, stdout) => {
      if (error === null) return resolve(stdout);
      // Not `error.message` nor `cause`: they hold the arguments and what it wrote.
      const why = error.killed
        ? `did not answer within ${timeout / 1000} s, or said too much`
        : `failed (${error.signal ?? error.code ?? 'unknown error'})`;
      reject(unavailable(where, why));
    }).stdin?.end();
  });
}

function unavailable(where: string, detail: string): MailwatchdError {
  const remedy = 'see to it, as the user of the daemon, or correct the configuration';
  return new MailwatchdError('SECRET_UNAVAILABLE', { where, detail, remedy });
}
