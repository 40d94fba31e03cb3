/** `canary.smtp` of an account: where a canary is sent from and to. */
import { isAddress } from './format.ts';
import { isHost, isLoopback } from './host.ts';
import { smtpSchema } from './schema.ts';
import { secretSource } from './secret-form.ts';
import { asMapping, type Fault, validateSection } from './section.ts';
import type { SmtpConfig } from './types.ts';
import type { KeyPath } from './yaml.ts';

/**
 * Checks what stands under `canary.smtp`; null where there is nothing, or with faults where it is not right.
 * `readByOthers`: as for a password. `user`: the account's; null where that is not right itself.
 */
export function checkSmtp(
  raw: unknown,
  path: KeyPath,
  faults: Fault[],
  readByOthers: boolean,
  user: string | null,
): SmtpConfig | null {
  if (raw === undefined || raw === null) return null;
  const before = faults.length;
  const fault = (key: string, message: string) =>
    faults.push({ path: [...path, key], part: 'value', message });
  const given = asMapping(raw, path, faults);
  if (faults.length > before) return null;
  const { password: rawPassword = null, ...rest } = given;
  const values = validateSection(smtpSchema, rest, path, faults, {}, ['password']);
  const password =
    rawPassword === null ? null : secretSource(rawPassword, [...path, 'password'], faults, readByOthers);
  if (faults.length > before || user === null) return null;

  const { host, port, security, user: ownUser, from, to } = values as unknown as Given;
  if (!isHost(host)) fault('host', 'expected a host name or an IP address, found another string');
  if (security === 'none' && !isLoopback(host))
    fault('security', 'none is for loopback hosts only (127.0.0.0/8, ::1, localhost): use tls or starttls');
  for (const [key, address] of Object.entries({ from, to }))
    if (address === null && !isAddress(user))
      fault(key, "must be given, since the account's user is no e-mail address");
  return {
    host,
    port: port ?? (security === 'tls' ? 465 : 587),
    security,
    user: ownUser ?? user,
    password,
    from: from ?? user,
    to: to ?? user,
  };
}

/** As it stands in the file. */
type Given = Pick<SmtpConfig, 'host' | 'security'> & {
  [Key in 'port' | 'user' | 'from' | 'to']: SmtpConfig[Key] | null;
};
