/** IONOS (formerly 1&1). https://github.com/chatmail/provider-db/issues/23 */
import type { Provider } from './types.ts';

export const ionos = {
  title: 'IONOS',
  // Elsewhere by country: https://ionos.fr/assistance/email/mise-en-place-demail-made-in-germany/serveur-entrant
  host: 'imap.ionos.com',
  domains: [
    ...[
      'imap.ionos.com',
      'imap.ionos.de',
      'imap.ionos.fr',
      'imap.ionos.es',
      'imap.ionos.it',
      'imap.ionos.co.uk',
    ],
    // https://autoconfig.thunderbird.net/v1.1/1und1.de
    'imap.1und1.de',
  ],
  refusals: [],
} as const satisfies Provider;
