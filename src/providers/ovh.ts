/** OVHcloud, its e-mail for domains ("MX Plan"). https://www.quai-des-entrepreneurs.com/ovh-mail */
import type { Provider } from './types.ts';

export const ovh = {
  title: 'OVHcloud',
  // https://autoconfig.thunderbird.net/v1.1/ovh.net
  host: 'ssl0.ovh.net',
  domains: ['ovh.net'],
  refusals: [],
} as const satisfies Provider;
