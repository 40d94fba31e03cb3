/** WEB.DE, on the servers of GMX. https://hilfe.web.de/pop-imap/imap/index.html */
import { gmx } from './gmx.ts';
import type { Provider } from './types.ts';

export const webde = {
  ...gmx,
  title: 'WEB.DE',
  // https://autoconfig.thunderbird.net/v1.1/web.de
  host: 'imap.web.de',
  domains: ['imap.web.de'],
} as const satisfies Provider;
