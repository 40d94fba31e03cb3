/** One account: what its values have to do with each other, and its password's form. */
import { BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import type { Start } from '../model.ts';
import { parseDate, parseDuration, typeName } from './format.ts';
import { accountSchema } from './schema.ts';
import { hasControlCharacter, Secret, type SecretSource } from './secrets.ts';
import { type Fault, keyText, validateSection, valueAt } from './section.ts';
import type { AccountConfig } from './types.ts';
import type { KeyPath } from './yaml.ts';

/** An account whose own values are checked; null stands for one that is not right. */
export interface CheckedAccount {
  path: KeyPath;
  name: string | null;
  host: string | null;
  user: string | null;
  folders: string[];
  move: string | null;
  password: SecretSource | null;
  values: Record<string, unknown>;
}

/** Checks what an account's own values tell. `readByOthers`: the mode of the configuration file. */
export function checkAccount(
  raw: Record<string, unknown>,
  path: KeyPath,
  faults: Fault[],
  readByOthers: boolean,
): CheckedAccount {
  const fault = (key: string, message: string, part: 'key' | 'value' = 'value') =>
    faults.push({ path: [...path, ...key.split('.')], part, message });
  const { password: rawPassword, auth, ...rest } = raw;
  const before = faults.length;
  const values = validateSection(accountSchema, rest, path, faults, {}, ['password']);
  const wrong = new Set(faults.slice(before).map((found) => keyText(found.path.slice(path.length))));
  const right = <T>(key: string) => (wrong.has(key) ? null : (valueAt(values, key) as T));

  if (auth !== undefined) fault('auth', 'OAuth2 is not supported yet: use a password', 'key');
  const password = passwordSource(rawPassword, (message) => fault('password', message));
  if (password !== null && 'plain' in password && readByOthers) {
    fault(
      'password',
      'a plain password in a file that others can read: chmod 600 the file, or use { file: … }',
    );
  }

  const host = right<string>('host');
  if (host !== null && !isHost(host))
    fault('host', 'expected a host name or an IP address, found another string');
  if (right('security') === 'none' && host !== null && !isLoopback(host)) {
    fault('security', 'none is for loopback hosts only (127.0.0.0/8, ::1, localhost): use tls or starttls');
  }

  const folders = (right<string[]>('folders') ?? []).map(canonicalFolder);
  const seen = new Set<string>();
  for (const [index, folder] of folders.entries()) {
    if (seen.has(folder)) {
      faults.push({
        path: [...path, 'folders', index],
        part: 'value',
        message: 'the same folder a second time',
      });
    }
    seen.add(folder);
  }
  const rawMove = right<string | null>('after.move');
  const move = rawMove === null ? null : canonicalFolder(rawMove);
  if (move !== null && right('after.delete') === true) fault('after.delete', 'not together with after.move');
  if (move !== null && folders.includes(move)) {
    fault('after.move', 'must not be a watched folder of the account: each message would come again');
  }
  return { path, name: right('name'), host, user: right('user'), folders, move, password, values };
}

/** RFC 3501 §5.1: INBOX in any case is the same folder. Another spelling must not be another ledger. */
function canonicalFolder(folder: string): string {
  return /^inbox$/i.test(folder) ? 'INBOX' : folder.normalize('NFC');
}

const PASSWORD_FORMS =
  'expected a string, { file: PATH }, { env: NAME } or { command: [PROGRAM, ARGUMENT…] }';

/** No fault shows anything of it, not even a key: in `{hunter2}` the key is the password. */
function passwordSource(raw: unknown, fault: (message: string) => void): SecretSource | null {
  const source = passwordForm(raw);
  if (typeof source === 'object') return source;
  fault(source);
  return null;
}

function passwordForm(raw: unknown): SecretSource | string {
  if (raw === undefined || raw === null) return `${PASSWORD_FORMS}, found nothing`;
  if (typeof raw === 'number' || typeof raw === 'boolean') {
    return `YAML reads it as ${typeName(raw)}: put the password in quotes`;
  }
  if (typeof raw === 'string') {
    if (raw === '') return `${PASSWORD_FORMS}, found an empty string`;
    if (hasControlCharacter(raw)) return 'must be one line without control characters';
    return { plain: new Secret(raw) };
  }
  if (Array.isArray(raw)) return `${PASSWORD_FORMS}, found a list`;
  const entries = Object.entries(raw as Record<string, unknown>);
  const [entry] = entries;
  if (entry === undefined || entries.length !== 1)
    return `${PASSWORD_FORMS}, found a mapping of ${entries.length} keys`;
  const [kind, value] = entry;
  if (kind === 'file') {
    const right = typeof value === 'string' && value.startsWith('/') && !hasControlCharacter(value);
    return right ? { file: value } : 'file: expected an absolute path';
  }
  if (kind === 'env') {
    const right = typeof value === 'string' && /^[A-Za-z_][A-Za-z0-9_]*$/.test(value);
    return right ? { env: value } : 'env: expected the name of an environment variable';
  }
  if (kind === 'command') {
    const right =
      Array.isArray(value) &&
      value.length > 0 &&
      value[0] !== '' &&
      value.every((word) => typeof word === 'string' && !word.includes('\0'));
    return right ? { command: value } : 'command: expected a list of strings: the program and its arguments';
  }
  return `${PASSWORD_FORMS}, found a mapping with another key`;
}

const HOST_LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;

function isHost(host: string): boolean {
  if (isIP(host) !== 0) return true;
  const ascii = domainToASCII(host).replace(/\.$/, '');
  // Digits only in the last label would be a mistyped address (WHATWG URL, "ends in a number").
  return (
    ascii !== '' &&
    ascii.length <= 253 &&
    ascii.split('.').every((label) => HOST_LABEL.test(label)) &&
    !/(?:^|\.)\d+$/.test(ascii) &&
    isIP(ascii) === 0
  );
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === 'localhost';
  return loopback.check(host, family === 6 ? 'ipv6' : 'ipv4');
}

/** Every value has passed its format, so the conversions cannot fail. */
export function toAccount({ values, folders, move, password }: CheckedAccount): AccountConfig {
  const security = values.security as AccountConfig['security'];
  const after = values.after as AccountConfig['after'];
  return {
    name: values.name as string,
    host: values.host as string,
    port: (values.port as number | null) ?? (security === 'tls' ? 993 : 143),
    security,
    ca: values.ca as string | null,
    user: values.user as string,
    password: password as SecretSource,
    folders,
    start: toStart(values.start as string),
    after: { seen: after.seen, move, delete: after.delete },
    pollEvery: parseDuration(values.pollEvery as string) as number,
    idleRenewEvery: parseDuration(values.idleRenewEvery as string) as number,
  };
}

function toStart(text: string): Start {
  return text === 'new' || text === 'all' ? { kind: text } : { kind: 'date', at: parseDate(text) as number };
}
