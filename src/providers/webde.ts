/** WEB.DE, whose servers are those of GMX. https://github.com/nextcloud/mail/issues/104 */
import { gmx } from './gmx.ts';
import type { Provider } from './types.ts';

export const webde = {
  ...gmx,
  title: 'WEB.DE',
  // https://autoconfig.thunderbird.net/v1.1/web.de
  host: 'imap.web.de',
  domains: ['imap.web.de'],
} as const satisfies Provider;
