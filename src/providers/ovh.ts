/** OVHcloud, its e-mail for domains ("MX Plan"). https://help.ovhcloud.com/csm/en-emails-general-information */
import type { Provider } from './types.ts';

export const ovh = {
  title: 'OVHcloud',
  // https://autoconfig.thunderbird.net/v1.1/ovh.net
  host: 'ssl0.ovh.net',
  domains: ['ovh.net'],
  refusals: [],
} as const satisfies Provider;
