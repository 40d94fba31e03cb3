/** Every key of the configuration: what it means, what is allowed, its default. The only file that knows convict. */
import { isAbsolute, normalize } from 'node:path';
import convict from 'convict';
import { PROVIDER_NAMES } from '../providers/index.ts';
import {
  isAddress,
  parseDate,
  parseDuration,
  parseMode,
  parseSize,
  textTestFault,
  typeName,
} from './format.ts';
import { isLoopback } from './host.ts';
import { hasControlCharacter } from './secrets.ts';

/** A key with a value. `default: null` means that it is required where its format does not allow null. */
export interface Leaf {
  doc: string;
  /** What is allowed, in words: the name of the format. */
  format: string;
  default: unknown;
  /** The variable that overrides it. */
  env?: string;
  /** Always: convict would print the values of the others. */
  sensitive: true;
}

/** A mapping of keys. */
export interface Section {
  [key: string]: Leaf | Section;
}

export const isLeaf = (node: Leaf | Section): node is Leaf => typeof node.doc === 'string';

/** Choices of each format that is an enumeration, for the nearest one to a mistyped one. */
const choices = new Map<string, readonly string[]>();

/** The words that a format allows, where it is an enumeration. */
export function choicesOf(format: string): readonly string[] {
  return choices.get(format) ?? [];
}

/**
 * Registers a format; its name is what a fault says is allowed. `accepts` gives false, or what is
 * wrong where the name does not tell enough. Formats are named, never functions: for those convict
 * turns strings into the type of the default ("12x" into 12, "no" into true).
 */
function format(
  name: string,
  accepts: (value: unknown) => boolean | string,
  coerce: (text: string) => unknown = (text) => text,
): string {
  convict.addFormat({
    name,
    validate(value: unknown) {
      const verdict = accepts(value);
      if (verdict === true) return;
      const why = typeof verdict === 'string' ? verdict : `found ${typeName(value)}`;
      throw new Error(`expected ${name}, ${why}`);
    },
    coerce,
  });
  return name;
}

const isText = (value: unknown, max: number): value is string =>
  typeof value === 'string' && value !== '' && value.length <= max && !hasControlCharacter(value);

function oneOf(...words: (string | null)[]): string {
  const name = `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
  choices.set(
    name,
    words.filter((word) => word !== null),
  );
  return format(name, (value) => words.some((word) => word === value));
}

/** A whole number. From the environment it comes as text. */
function integer(min: number, max: number): string {
  return format(
    `a whole number from ${min} to ${max}`,
    (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
    (text) => (/^\d{1,15}$/.test(text) ? Number(text) : text),
  );
}

const flag = format(
  'true or false',
  (value) => typeof value === 'boolean',
  (text) => (text === 'true' ? true : text === 'false' ? false : text),
);

function quantity(
  kind: string,
  parse: (text: string) => number | null,
  min: string,
  max: string,
  optional: boolean,
): string {
  const [low, high] = [parse(min) ?? 0, parse(max) ?? 0];
  return format(`${kind} from ${min} to ${max}${optional ? ', or null' : ''}`, (value) => {
    if (optional && value === null) return true;
    if (typeof value === 'number') return 'found a number without a unit';
    const amount = typeof value === 'string' ? parse(value) : null;
    if (amount === null) return false;
    return (amount >= low && amount <= high) || 'found one outside of that';
  });
}

const duration = (min: string, max: string, optional = false) =>
  quantity('a duration such as 500ms, 60s, 5m, 2h or 14d', parseDuration, min, max, optional);
const size = (min: string, max: string, optional = false) =>
  quantity('a size such as 64kb, 20mb or 1gb', parseSize, min, max, optional);

/** PATH_MAX less what we append. */
const MAX_PATH_CHARS = 3000;

const isDirectory = (value: unknown) =>
  isText(value, MAX_PATH_CHARS) &&
  isAbsolute(value) &&
  (normalize(value) === value || normalize(value) === `${value}/`);
/** A daemon's working directory is `/`, so a relative path would be somebody's surprise. */
const directory = format('an absolute path without . or ..', (value) => isDirectory(value) || false);
const optionalPath = format(
  'an absolute path without . or .., or null',
  (value) => value === null || isDirectory(value) || false,
  (words) => (words === 'null' ? null : words),
);

/** YAML reads 0640 as the number 640. */
function mode(name: string, must: number, mustNot: number): string {
  return format(name, (value) => {
    if (typeof value === 'number') return 'found a number: put it in quotes';
    const bits = typeof value === 'string' ? parseMode(value) : null;
    if (bits === null) return false;
    return ((bits & must) === must && (bits & mustNot) === 0) || 'found another mode';
  });
}

const TOKENS = ['account', 'folder', 'yyyy', 'mm', 'dd', 'id'] as const;
/** With its tokens filled in, a path stays below PATH_MAX. */
const MAX_TEMPLATE_CHARS = 500;

function templateFault(value: unknown): string | null {
  if (!isText(value, MAX_TEMPLATE_CHARS)) return `found ${typeName(value)}`;
  const unknown = [...value.matchAll(/\{([^{}]*)\}/g)].some(
    ([, token]) => !TOKENS.some((known) => known === token),
  );
  if (unknown) return `its tokens are ${TOKENS.map((token) => `{${token}}`).join(' ')}`;
  if (!value.includes('{account}')) return 'it must hold {account}';
  if (!value.endsWith('{id}.json')) return 'it must end in {id}.json';
  for (const segment of value.split('/')) {
    if (segment === '') return 'it must be relative, without empty segments';
    if (segment.startsWith('.')) return 'a segment must not begin with a dot';
    if (!/^(?:[A-Za-z0-9._-]|\{[a-z]+\})+$/.test(segment))
      return 'beside tokens only A-Z a-z 0-9 . _ - are allowed';
  }
  return null;
}

const text = (name: string, max: number) => format(name, (value) => isText(value, max));
const ACCOUNT_NAME = /^[a-z0-9][a-z0-9._-]*$/;

const leaf = (doc: string, allowed: string, value: unknown): Leaf => ({
  doc,
  format: allowed,
  default: value,
  sensitive: true,
});

const port = format(
  'a whole number from 1 to 65535',
  (value) =>
    value === null || (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65535),
);
const security = oneOf('tls', 'starttls', 'none');

/** An entry of `accounts`, but for `password` and `auth`, since secrets never enter convict, `only` and `except`. */
export const accountSchema = {
  name: leaf(
    'Names the directory and every id',
    format(
      'a name of a-z 0-9 . _ -, beginning with a letter or digit, at most 64 characters',
      (value) => isText(value, 64) && ACCOUNT_NAME.test(value),
    ),
    null,
  ),
  provider: leaf(
    'Fills in what is left out of host and idleRenewEvery; found by a known host',
    oneOf(...PROVIDER_NAMES, null),
    null,
  ),
  host: leaf('Mail server', text('a host name or an IP address', 255), null),
  port: leaf('Default: 993 for tls, else 143', port, null),
  security: leaf('none: loopback hosts only', security, 'tls'),
  ca: leaf('Further issuers to trust, PEM; certificates are always verified', optionalPath, null),
  user: leaf('User name of the login', text('a user name', 500), null),
  folders: leaf(
    'Folders to watch, as people write them',
    format('a list of one or more folder names', (value) => {
      if (!Array.isArray(value) || value.length === 0)
        return `found ${Array.isArray(value) ? 'an empty list' : typeName(value)}`;
      return (
        value.every((folder) => isText(folder, 1000)) ||
        'found an entry that is not a name (put it in quotes)'
      );
    }),
    ['INBOX'],
  ),
  start: leaf(
    'From when on mail is wanted: no silent flood, no silent gap',
    format(
      'new, all or a date such as 2026-11-01',
      (value) =>
        value === 'new' || value === 'all' || (typeof value === 'string' && parseDate(value) !== null),
    ),
    null,
  ),
  after: {
    seen: leaf('Mark as seen once published', flag, false),
    move: leaf(
      'Move to this folder once published',
      format('a folder name or null', (value) => value === null || isText(value, 1000)),
      null,
    ),
    delete: leaf('Delete once published', flag, false),
  },
  authservId: leaf(
    'Of the receiving server, whose Authentication-Results are trusted (RFC 8601)',
    format(
      'an authserv-id, a list of them, or null',
      (value) => value === null || [value].flat().every((id) => isText(id, 255) && /^[^\s;()"]+$/.test(id)),
    ),
    null,
  ),
  canary: {
    every: leaf(
      'A message of our own proves this often that mail is noticed; null: none',
      format('a duration from 1m to 1d, such as 15m, or null', (value) => {
        if (value === null) return true;
        const amount = typeof value === 'string' ? parseDuration(value) : null;
        return amount !== null && amount >= 60_000 && amount <= 86_400_000;
      }),
      null,
    ),
    folder: leaf(
      'Where it is left, and made if it is missing',
      text('a folder name', 1000),
      'mailwatchd-canary',
    ),
  },
  pollEvery: leaf(
    'For servers without IDLE, and folders that share connections',
    duration('1s', '1d'),
    '60s',
  ),
  // RFC 2177 §3: a server may log an idle client out after 30 minutes; renew at least every 29.
  idleRenewEvery: leaf(
    'IDLE is renewed; a dead connection is noticed within this + operationSeconds',
    duration('1s', '28m'),
    '5m',
  ),
} satisfies Section;

const textTest = format(
  'a text, or /a regular expression/ with or without an i behind it',
  (value) => value === null || (textTestFault(value) ?? true),
);
const choice = format('true, false or null', (value) => value === null || typeof value === 'boolean');

/** A rule of `only` or `except`, but for `headers`. */
export const ruleSchema = {
  name: leaf('Stands in the ledger as the reason', text('a name of at most 100 characters', 100), null),
  sender: leaf("Of the sender's address", textTest, null),
  recipient: leaf('Of an address of To, Cc or Bcc', textTest, null),
  subject: leaf('Of the subject', textTest, null),
  largerThan: leaf('By what the server tells', size('0b', '1gb', true), null),
  smallerThan: leaf('By what the server tells', size('0b', '1gb', true), null),
  olderThan: leaf('When it is seen first', duration('1s', '36500d', true), null),
  youngerThan: leaf('When it is seen first', duration('1s', '36500d', true), null),
  list: leaf('Whether it came through a mailing list', choice, null),
  automatic: leaf('Whether a program wrote it (RFC 3834)', choice, null),
  attachment: leaf('Whether it has an attachment', choice, null),
} satisfies Section;

const address = format(
  'an e-mail address or null',
  (value) => value === null || (isText(value, 254) && isAddress(value)),
);

/** Of `canary.smtp`, but for `password`. */
export const smtpSchema = {
  host: leaf(
    'Mail server that takes mail for sending (RFC 6409)',
    text('a host name or an IP address', 255),
    null,
  ),
  port: leaf('Default: 465 for tls, else 587', port, null),
  security: leaf('none: loopback hosts only', security, 'tls'),
  user: leaf(
    "User name of the login; default: the account's",
    format('a user name or null', (value) => value === null || isText(value, 500)),
    null,
  ),
  from: leaf("Sender; default: the account's user", address, null),
  to: leaf("Recipient; default: the account's user", address, null),
} satisfies Section;

/** Of `auth.oauth2`, but for its `provider` and its secrets. */
export const oauth2Schema = {
  tenant: leaf(
    'Of microsoft: directory id or domain, common, organizations or consumers',
    format(
      "a directory's id or domain, common, organizations or consumers",
      (value) => isText(value, 255) && /^[A-Za-z0-9.-]+$/.test(value),
    ),
    'common',
  ),
  grant: leaf(
    'How tokens are got: after a login, as an application, or as a service account',
    oneOf('refreshToken', 'clientCredentials', 'serviceAccount'),
    'refreshToken',
  ),
  clientId: leaf(
    "The application's id at the provider",
    format('a client id', (value) => value === null || isText(value, 500)),
    null,
  ),
  scope: leaf(
    'Space-separated; default: access by IMAP, where the provider is known',
    format(
      // With `openid` an id token comes as well, which nobody here needs.
      'scopes with a space between, without openid, or null',
      (value) => value === null || (isText(value, 2000) && !value.split(' ').includes('openid')),
    ),
    null,
  ),
  tokenFile: leaf(
    'Where tokens are kept; default: tokens/ACCOUNT.json in the state directory',
    optionalPath,
    null,
  ),
} satisfies Section;

const url = (name: string, optional: boolean) =>
  format(name, (value) => (value === null && optional) || (isText(value, 2000) && isEndpoint(value)));

/** RFC 6749 §3.2 demands TLS; on loopback nobody else hears. */
function isEndpoint(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, username, password } = new URL(value);
  const safe =
    protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname.replace(/^\[|\]$/g, '')));
  return safe && username === '' && password === '';
}

/** Of a `provider` that is not known by name; its own documentation tells them, or `/.well-known/openid-configuration`. */
export const endpointSchema = {
  tokenEndpoint: leaf('RFC 6749 §3.2', url('an https URL', false), null),
  authorizationEndpoint: leaf('RFC 6749 §3.1', url('an https URL or null', true), null),
  deviceAuthorizationEndpoint: leaf('RFC 8628 §3.1', url('an https URL or null', true), null),
} satisfies Section;

/** Everything but `accounts`. */
export const globalSchema = withVariables({
  storage: {
    directory: leaf('Where documents are published', directory, '/var/spool/mailwatchd'),
    path: leaf(
      'Of a document, relative to the directory',
      format(
        'a template such as {account}/{yyyy}/{mm}/{dd}/{id}.json',
        (value) => templateFault(value) ?? true,
      ),
      '{account}/{yyyy}/{mm}/{dd}/{id}.json',
    ),
    attachments: leaf('Whether attachments are written', oneOf('files', 'none'), 'files'),
    source: leaf('keep: the raw .eml beside the JSON', oneOf('none', 'keep'), 'none'),
    fileMode: leaf(
      'Mode of files',
      // We must read and write them; nothing from a message is ever executable.
      mode('an octal mode in quotes, from "0600" to "0666"', 0o600, 0o7111),
      '0640',
    ),
    directoryMode: leaf(
      'Mode of directories',
      mode('an octal mode in quotes, from "0700" to "7777"', 0o700, 0),
      '2770',
    ),
  },
  state: {
    directory: leaf('Ledger, lock and status: a local file system', directory, '/var/lib/mailwatchd'),
  },
  log: {
    directory: leaf('Where log files go; null: no files', optionalPath, '/var/log/mailwatchd'),
    level: leaf('The least that is logged', oneOf('error', 'warn', 'info', 'debug'), 'info'),
    format: leaf('Text or a JSON object a line', oneOf('text', 'json'), 'text'),
    console: leaf('Whether events go to stderr too', flag, true),
    // Smaller files would be rotated all the time.
    maxSize: leaf('A file is rotated after this', size('64kb', '1gb'), '20mb'),
    keep: leaf('Files are removed after this', duration('1d', '3650d'), '14d'),
  },
  limits: {
    // V8's longest string, which a document becomes, is half a gigabyte.
    messageBytes: leaf('A larger message is quarantined unread', size('1kb', '256mb'), '64mb'),
    parseSeconds: leaf('Time for a message', integer(1, 3600), 30),
    // A parser that has done nothing yet holds 80 MB; one that retires after each message parses nothing.
    parseMemoryMb: leaf('Resident memory of a parser process', integer(192, 16_384), 512),
    inFlightBytes: leaf(
      'Messages in work, all together; as much again for those above 4 MiB',
      size('64kb', '4gb'),
      '64mb',
    ),
    operationSeconds: leaf('Without any byte from the server', integer(1, 600), 60),
    connectionsPerAccount: leaf('Connections of an account; more folders share them', integer(1, 100), 8),
    connectsPerSecond: leaf('Connections begun to one host in a second', integer(1, 1000), 10),
  },
  reconcileEvery: leaf("The server's messages are compared with the ledger", duration('1s', '1d'), '15m'),
  parsers: leaf(
    'Parser processes; auto = cores, at most 4',
    format(
      'auto or a whole number from 1 to 64',
      (value) =>
        value === 'auto' || (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 64),
      (words) => (/^\d{1,3}$/.test(words) ? Number(words) : words),
    ),
    'auto',
  ),
});

/** `storage.fileMode` is overridden by MAILWATCHD_STORAGE_FILE_MODE. */
function withVariables<T extends Section>(section: T, prefix = 'MAILWATCHD'): T {
  for (const [key, node] of Object.entries(section)) {
    const name = `${prefix}_${key.replace(/[A-Z]/g, '_$&').toUpperCase()}`;
    if (isLeaf(node)) node.env = name;
    else withVariables(node, name);
  }
  return section;
}

/** The leaf at a dotted key. */
export function leafAt(section: Section, key: string): Leaf | null {
  let node: Leaf | Section | undefined = section;
  for (const step of key.split('.')) {
    if (node === undefined || isLeaf(node)) return null;
    node = node[step];
  }
  return node !== undefined && isLeaf(node) ? node : null;
}

/** The dotted keys of a schema with their leaves. */
export function leavesOf(section: Section, prefix = ''): [string, Leaf][] {
  return Object.entries(section).flatMap(([key, node]) =>
    isLeaf(node) ? [[`${prefix}${key}`, node] as [string, Leaf]] : leavesOf(node, `${prefix}${key}.`),
  );
}

/**
 * Fills in defaults and overrides and checks each value. `values` holds nothing but the schema's
 * keys and mappings where it has sections. Faults name the key and what is allowed, never the value.
 */
export function validate(
  schema: Section,
  values: Record<string, unknown>,
  environment: NodeJS.ProcessEnv,
): { values: Record<string, unknown>; faults: { key: string; message: string }[] } {
  const checked = convict<Record<string, unknown>>(schema as convict.Schema<Record<string, unknown>>, {
    env: environment,
    args: [],
  });
  checked.load(values);
  const faults: { key: string; message: string }[] = [];
  try {
    checked.validate({ allowed: 'strict' });
  } catch (error) {
    for (const line of (error as Error).message.split('\n')) {
      const [key = '', ...message] = line.split(': ');
      faults.push({ key, message: message.join(': ') });
    }
  }
  return { values: checked.getProperties() as Record<string, unknown>, faults };
}
