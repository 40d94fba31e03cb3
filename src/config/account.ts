/** One account: what its values have to do with each other. */
import type { Filter } from '../filter.ts';
import type { Start } from '../model.ts';
import { PROVIDER_NAMES, PROVIDERS, type ProviderName, providerOfHost } from '../providers/index.ts';
import { specialUseOf } from '../special-use.ts';
import { checkFilter } from './filter.ts';
import { parseDate, parseDuration } from './format.ts';
import { isHost, isLoopback } from './host.ts';
import { checkOAuth2 } from './oauth2.ts';
import { accountSchema } from './schema.ts';
import { secretSource } from './secret-form.ts';
import { asMapping, type Fault, keyText, validateSection, valueAt } from './section.ts';
import { checkSmtp } from './smtp.ts';
import type { AccountConfig, Auth, CanaryConfig, SmtpConfig } from './types.ts';
import type { KeyPath } from './yaml.ts';

/** An account whose own values are checked; null stands for one that is not right. */
export interface CheckedAccount {
  path: KeyPath;
  name: string | null;
  host: string | null;
  user: string | null;
  folders: string[];
  move: string | null;
  filter: Filter | null;
  auth: Auth | null;
  /** How the canary is sent; null: it is not. */
  smtp: SmtpConfig | null;
  provider: ProviderName | null;
  values: Record<string, unknown>;
}

/** Keys of an account that are not checked by its schema. */
const ELSEWHERE = ['password', 'auth', 'only', 'except'];

/** Checks what an account's own values tell. `readByOthers`: the mode of the configuration file. */
export function checkAccount(
  raw: Record<string, unknown>,
  path: KeyPath,
  faults: Fault[],
  readByOthers: boolean,
): CheckedAccount {
  const fault = (key: string, message: string, part: 'key' | 'value' = 'value') =>
    faults.push({ path: [...path, ...key.split('.')], part, message });
  const { password: _password, auth: _auth, only, except, canary: rawCanary, ...others } = raw;
  const { smtp: rawSmtp, ...canary } = asMapping(rawCanary, [...path, 'canary'], faults);
  const rest = { ...others, canary };
  const before = faults.length;
  const provider = providerOf(rest);
  const preset = provider === null ? {} : presetOf(provider);
  const values = validateSection(accountSchema, { ...preset, ...rest }, path, faults, {}, ELSEWHERE);
  const wrong = new Set(faults.slice(before).map((found) => keyText(found.path.slice(path.length))));
  const right = <T>(key: string) => (wrong.has(key) ? null : (valueAt(values, key) as T));

  const auth = checkAuth(raw, path, faults, readByOthers, provider);
  const filter = checkFilter({ only, except }, path, faults);

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
  const canaryFolder = right<string>('canary.folder');
  if (canaryFolder !== null && right('canary.every') !== null) {
    const others = move === null ? folders : [...folders, move];
    if (others.includes(canonicalFolder(canaryFolder)))
      fault('canary.folder', 'must be a folder of its own, neither a watched one nor that of after.move');
  }
  const user = right<string>('user');
  const smtp = checkSmtp(rawSmtp, [...path, 'canary', 'smtp'], faults, readByOthers, user);
  if (smtp?.password === null && smtp.user !== user && auth !== null && 'password' in auth)
    fault('canary.smtp.password', "must be given, since the user is not the account's");
  return {
    path,
    name: right('name'),
    host,
    user,
    folders,
    move,
    filter,
    auth,
    smtp,
    provider,
    values,
  };
}

/** As it is named; else the one whose server the host is. */
function providerOf({ provider, host }: Record<string, unknown>): ProviderName | null {
  const named = PROVIDER_NAMES.find((name) => name === provider);
  return named ?? (typeof host === 'string' ? providerOfHost(host) : null);
}

/** What a provider fills in, as it would be written; all else is as the schema's defaults have it. */
function presetOf(provider: ProviderName): Record<string, unknown> {
  const { host, idleRenewEvery } = PROVIDERS[provider];
  return { host, ...(idleRenewEvery !== undefined && { idleRenewEvery }) };
}

/** A password or OAuth2, and just one of them. */
function checkAuth(
  raw: Record<string, unknown>,
  path: KeyPath,
  faults: Fault[],
  readByOthers: boolean,
  provider: ProviderName | null,
): Auth | null {
  if (raw.auth === undefined) {
    const password = secretSource(raw.password, [...path, 'password'], faults, readByOthers);
    return password && { password };
  }
  const here = [...path, 'auth'];
  if (raw.password !== undefined)
    faults.push({ path: here, part: 'key', message: 'not together with password: give one of them' });
  const { oauth2, ...rest } = asMapping(raw.auth, here, faults);
  validateSection({}, rest, here, faults, {}, ['oauth2']);
  const ofProvider = provider === null ? undefined : PROVIDERS[provider].oauth2;
  return checkOAuth2(oauth2, [...here, 'oauth2'], faults, readByOthers, ofProvider);
}

/** RFC 3501 §5.1: INBOX in any case is the same folder, as is a special use. Another spelling must not be another ledger. */
function canonicalFolder(folder: string): string {
  return /^inbox$/i.test(folder) ? 'INBOX' : (specialUseOf(folder) ?? folder.normalize('NFC'));
}

/** Every value has passed its format, so the conversions cannot fail. */
export function toAccount(account: CheckedAccount): AccountConfig {
  const { values, folders, move, filter, auth, smtp, provider } = account;
  const security = values.security as AccountConfig['security'];
  const after = values.after as AccountConfig['after'];
  return {
    name: values.name as string,
    provider,
    host: values.host as string,
    port: (values.port as number | null) ?? (security === 'tls' ? 993 : 143),
    security,
    ca: values.ca as string | null,
    user: values.user as string,
    auth: auth as Auth,
    folders,
    start: toStart(values.start as string),
    filter,
    after: { seen: after.seen, move, delete: after.delete },
    authservIds: [(values.authservId as string | string[] | null) ?? []].flat().map((id) => id.toLowerCase()),
    canary: toCanary(values.canary as { every: string | null; folder: string }, smtp),
    pollEvery: parseDuration(values.pollEvery as string) as number,
    idleRenewEvery: parseDuration(values.idleRenewEvery as string) as number,
    maxConnections: (provider && PROVIDERS[provider].connections) ?? null,
  };
}

function toCanary(
  { every, folder }: { every: string | null; folder: string },
  smtp: SmtpConfig | null,
): CanaryConfig | null {
  if (every === null) return null;
  return { every: parseDuration(every) as number, folder: canonicalFolder(folder), smtp };
}

function toStart(text: string): Start {
  return text === 'new' || text === 'all' ? { kind: text } : { kind: 'date', at: parseDate(text) as number };
}
