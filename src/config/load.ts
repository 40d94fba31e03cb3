/** Reads the configuration: one file and the environment become one checked Config, or all faults at once. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve, sep } from 'node:path';
import { MailwatchdError } from '../errors.ts';
import { printable } from '../escape.ts';
import { nearest } from '../nearest.ts';
import { type CheckedAccount, checkAccount, toAccount } from './account.ts';
import { parseDuration, parseMode, parseSize, typeName } from './format.ts';
import { globalSchema, leavesOf } from './schema.ts';
import { secretWarning } from './secrets.ts';
import { asMapping, type Fault, keyText, validateSection, valueAt } from './section.ts';
import { type Config, type Limits, type LogConfig, type StorageConfig, secretsOf } from './types.ts';
import { type ParsedYaml, parseYaml } from './yaml.ts';

export interface LoadedConfig {
  config: Config;
  /** What the operator should hear: unknown variables, secrets that everybody can read. One line each. */
  warnings: string[];
}

/** Thousands of accounts fit; a device or a log given by mistake does not. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Beyond this the rest is counted: somebody gave the wrong file. */
const MAX_FAULTS_SHOWN = 100;
/** Parsers beyond the cores only wait for each other, and each takes memory. */
const MAX_AUTO_PARSERS = 4;
const VARIABLE_PREFIX = 'MAILWATCHD_';
/** Names this file itself; read by the command line. */
const CONFIG_VARIABLE = 'MAILWATCHD_CONFIG';

/**
 * Loads and checks the configuration as a whole; nothing connects before. Throws CONFIG_UNREADABLE,
 * or CONFIG_INVALID with a line for each fault (one line where it is the only one): key, place, what is allowed and the type of what was
 * found, never its content.
 */
export async function loadConfig(file: string, environment: NodeJS.ProcessEnv): Promise<LoadedConfig> {
  const { text, mode } = await readConfigFile(file);
  const yaml = parseYaml(text);
  const result = checkTree(yaml, environment, (mode & 0o044) !== 0);
  const { config, faults } = result;
  if (config === null || faults.length > 0) throw invalid(file, yaml, faults);
  const leaks = await Promise.all(config.accounts.flatMap(secretsOf).map(secretWarning));
  return { config, warnings: [...result.warnings, ...leaks.filter((warning) => warning !== null)] };
}

async function readConfigFile(path: string): Promise<{ text: string; mode: number }> {
  const unreadable = (detail: string, remedy = 'give the right --config') =>
    new MailwatchdError('CONFIG_UNREADABLE', { where: path, detail, remedy });
  try {
    // Not to hang on a pipe nobody writes to.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const info = await file.stat();
    if (!info.isFile()) throw unreadable('is not a regular file');
    if (info.size > MAX_FILE_BYTES) throw unreadable(`is larger than ${MAX_FILE_BYTES} bytes`);
    const bytes = await file.readFile();
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), mode: info.mode };
  } catch (error) {
    if (error instanceof MailwatchdError) throw error;
    if (error instanceof TypeError) throw unreadable('is not UTF-8', 'save it as UTF-8');
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw unreadable('does not exist', 'write it, or give the right --config');
    if (code === 'EACCES') throw unreadable('may not be read by this user', 'change its owner or mode');
    throw unreadable(`cannot be read (${code ?? 'unknown error'})`);
  }
}

function invalid(file: string, yaml: ParsedYaml, faults: Fault[]): MailwatchdError {
  const syntax = yaml.faults.map(({ message, place }) => ({ place, text: message, key: '' }));
  const others = faults.slice(0, MAX_FAULTS_SHOWN).map(({ path, part, message, variable }) => ({
    place: variable === undefined ? yaml.placeOf(path, part) : null,
    text: message,
    key: variable ?? keyText(path),
  }));
  const all = [...syntax, ...others].sort(
    (a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0) || (a.place?.column ?? 0) - (b.place?.column ?? 0),
  );
  const total = yaml.faults.length + faults.length;
  const lines = all.slice(0, MAX_FAULTS_SHOWN).map(({ place, text, key }) => {
    const where = place === null ? '' : ` (line ${place.line}, column ${place.column})`;
    return `  ${key === '' ? 'the file' : key}${where}: ${text}`;
  });
  if (total > lines.length) lines.push(`  and ${total - lines.length} more`);
  return new MailwatchdError('CONFIG_INVALID', {
    // Its line ends would look like those between faults.
    where: printable(file),
    detail: total === 1 ? lines.join('').trim() : [`${total} faults`, ...lines].join('\n'),
  });
}

interface Checked {
  /** Null where there are faults. */
  config: Config | null;
  faults: Fault[];
  warnings: string[];
}

function checkTree(yaml: ParsedYaml, environment: NodeJS.ProcessEnv, readByOthers: boolean): Checked {
  if (yaml.tree === null && yaml.faults.length > 0) return { config: null, faults: [], warnings: [] };
  const faults: Fault[] = [];
  const root = asMapping(yaml.tree, [], faults);
  if (faults.length > 0) return { config: null, faults, warnings: [] };
  const { accounts: rawAccounts, ...rest } = root;
  const globals = validateSection(globalSchema, rest, [], faults, environment, ['accounts']);
  const accounts = accountList(rawAccounts, faults).flatMap((raw, index) => {
    const path = ['accounts', index];
    const before = faults.length;
    const mapping = asMapping(raw, path, faults);
    // What is no mapping at all is one fault, not one for each key that it lacks.
    return faults.length > before ? [] : [checkAccount(mapping, path, faults, readByOthers)];
  });
  checkPlaces(globals, accounts, faults);
  const warnings = [
    ...checkTogether(accounts, (globals.storage as { path: unknown }).path, faults),
    ...unknownVariables(environment),
  ];
  if (faults.length > 0 || yaml.faults.length > 0) return { config: null, faults, warnings };
  return { config: toConfig(globals, accounts as CheckedAccount[]), faults, warnings };
}

/**
 * Consumers own the storage directory and may clear it, so nothing else of ours may lie in it. A file of tokens is one
 * account's: two would take each other's away.
 */
function checkPlaces(globals: Record<string, unknown>, accounts: CheckedAccount[], faults: Fault[]): void {
  const storage = valueAt(globals, 'storage.directory');
  const tokenFiles = accounts.flatMap(({ path, auth }) =>
    auth !== null && 'oauth2' in auth && auth.oauth2.tokenFile !== null
      ? [{ path: [...path, 'auth', 'oauth2', 'tokenFile'], place: auth.oauth2.tokenFile }]
      : [],
  );
  const directories = ['state.directory', 'log.directory'].map((key) => ({
    path: key.split('.'),
    place: valueAt(globals, key),
  }));
  for (const { path, place } of [...directories, ...tokenFiles]) {
    if (typeof place === 'string' && typeof storage === 'string' && isInside(place, storage))
      faults.push({ path, part: 'value', message: 'must not lie in storage.directory' });
  }
  for (const [index, { path, place }] of tokenFiles.entries()) {
    if (tokenFiles.findIndex((other) => other.place === place) < index)
      faults.push({ path, part: 'value', message: 'the same file as that of another account' });
  }
}

function isInside(path: string, directory: string): boolean {
  const closed = (text: string) => (text.endsWith(sep) ? text : `${text}${sep}`);
  return closed(path).startsWith(closed(directory));
}

function accountList(raw: unknown, faults: Fault[]): unknown[] {
  if (Array.isArray(raw) && raw.length > 0) return raw;
  const found = Array.isArray(raw) ? 'an empty list' : typeName(raw);
  faults.push({
    path: ['accounts'],
    part: 'value',
    message: `expected a list of one or more accounts, found ${found}`,
  });
  return [];
}

/** What no account shows alone; returns warnings. */
function checkTogether(accounts: CheckedAccount[], template: unknown, faults: Fault[]): string[] {
  const warnings: string[] = [];
  const names = new Set<string>();
  const watched = new Map<string, string>();
  for (const { path, name, host, user, folders, values } of accounts) {
    if (name !== null) {
      if (names.has(name))
        faults.push({ path: [...path, 'name'], part: 'value', message: 'the same name a second time' });
      names.add(name);
    }
    for (const folder of host === null || user === null ? [] : folders) {
      const mailbox = JSON.stringify([host?.toLowerCase(), values.port, user, folder]);
      const other = watched.get(mailbox);
      if (other !== undefined && other !== name) {
        warnings.push(
          `accounts ${other} and ${name} watch the same folder ${printable(folder)}: its mail is published twice`,
        );
      } else if (name !== null) watched.set(mailbox, name);
    }
  }
  const mixed = typeof template === 'string' ? mixedNames(template, [...names]) : null;
  if (mixed !== null) {
    const message = `{account} shares its segment with another token, and ${mixed[0]} begins like ${mixed[1]}: their paths could be the same; write {account}/`;
    faults.push({ path: ['storage', 'path'], part: 'value', message });
  }
  return warnings;
}

/** A final path must belong to one account: two names of which one begins the other, where it may run into the id. */
function mixedNames(template: string, names: string[]): [string, string] | null {
  const alone = template
    .split('/')
    .some((segment) => segment.includes('{account}') && segment.match(/\{/g)?.length === 1);
  if (alone) return null;
  // Sorted, a name that begins another stands right before one that it begins.
  const sorted = names.toSorted();
  for (const [index, name] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next?.startsWith(name)) return [next, name];
  }
  return null;
}

function unknownVariables(environment: NodeJS.ProcessEnv): string[] {
  const known = leavesOf(globalSchema).flatMap(([, leaf]) => leaf.env ?? []);
  return Object.keys(environment)
    .filter((name) => name.startsWith(VARIABLE_PREFIX) && name !== CONFIG_VARIABLE && !known.includes(name))
    .map((name) => {
      const meant = nearest(name, known);
      return `unknown variable ${printable(name)}${meant === null ? '' : `, did you mean ${meant}?`}`;
    });
}

/** A section before its text is converted. */
type Text<T, Keys extends keyof T> = Omit<T, Keys> & Record<Keys, string>;

/** Every value has passed its format, so the conversions cannot fail. */
function toConfig(globals: Record<string, unknown>, accounts: CheckedAccount[]): Config {
  const storage = globals.storage as Text<StorageConfig, 'fileMode' | 'directoryMode'>;
  const log = globals.log as Text<LogConfig, 'maxSize' | 'keep'>;
  const limits = globals.limits as Text<Limits, 'messageBytes' | 'inFlightBytes'>;
  return {
    accounts: accounts.map(toAccount),
    storage: {
      ...storage,
      directory: resolve(storage.directory),
      fileMode: parseMode(storage.fileMode) as number,
      directoryMode: parseMode(storage.directoryMode) as number,
    },
    state: { directory: resolve((globals.state as Config['state']).directory) },
    log: {
      ...log,
      directory: log.directory === null ? null : resolve(log.directory),
      maxSize: parseSize(log.maxSize) as number,
      keep: parseDuration(log.keep) as number,
    },
    limits: {
      ...limits,
      messageBytes: parseSize(limits.messageBytes) as number,
      inFlightBytes: parseSize(limits.inFlightBytes) as number,
    },
    reconcileEvery: parseDuration(globals.reconcileEvery as string) as number,
    parsers:
      globals.parsers === 'auto'
        ? Math.min(availableParallelism(), MAX_AUTO_PARSERS)
        : (globals.parsers as number),
  };
}
