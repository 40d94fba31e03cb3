/** The providers that are known by name or by their servers: what fills in an account, and what their refusals mean. */
import { aol } from './aol.ts';
import { fastmail } from './fastmail.ts';
import { gmail } from './gmail.ts';
import { gmx } from './gmx.ts';
import { icloud } from './icloud.ts';
import { ionos } from './ionos.ts';
import { mailboxOrg } from './mailbox-org.ts';
import { microsoft365 } from './microsoft365.ts';
import { outlook } from './outlook.ts';
import { ovh } from './ovh.ts';
import type { Provider } from './types.ts';
import { webde } from './webde.ts';
import { yahoo } from './yahoo.ts';
import { zoho } from './zoho.ts';

export type { Meaning, Provider, Refusal } from './types.ts';

const table = {
  gmail,
  microsoft365,
  outlook,
  yahoo,
  aol,
  icloud,
  fastmail,
  gmx,
  webde,
  zoho,
  'mailbox.org': mailboxOrg,
  ionos,
  ovh,
} as const satisfies Record<string, Provider>;

/** As the configuration names it. */
export type ProviderName = keyof typeof table;

/** By name. */
export const PROVIDERS: Readonly<Record<ProviderName, Provider>> = table;

export const PROVIDER_NAMES = Object.keys(table) as ProviderName[];

/** Whose server a host is; null where that is not known. */
export function providerOfHost(host: string): ProviderName | null {
  const name = host.toLowerCase().replace(/\.$/, '');
  const owns = (domain: string) => name === domain || name.endsWith(`.${domain}`);
  return PROVIDER_NAMES.find((provider) => PROVIDERS[provider].domains.some(owns)) ?? null;
}
