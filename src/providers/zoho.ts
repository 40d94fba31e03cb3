/** Zoho Mail. https://www.zoho.com/mail/help/imap-access.html */
import type { Provider } from './types.ts';

export const zoho = {
  title: 'Zoho Mail',
  // https://autoconfig.thunderbird.net/v1.1/zoho.com; other data centres and domains of one's own have other hosts.
  host: 'imap.zoho.com',
  domains: [
    'zoho.com',
    'zoho.eu',
    'zoho.in',
    'zoho.com.au',
    'zoho.com.cn',
    'zoho.jp',
    'zohocloud.ca',
    'zoho.sa',
  ],
  refusals: [
    {
      // https://www.zoho.com/mail/help/imap-access.html
      words: /yet to enable IMAP/i,
      code: 'AUTH_IMAP_DISABLED',
      remedy: 'switch IMAP access on (Settings, Mail Accounts, IMAP), or have the administrator allow it',
    },
  ],
  // https://github.com/Foundry376/Mailspring/issues/1334
  refusedPassword: {
    code: 'AUTH_FAILED',
    remedy:
      'check that `host` is that of your data centre (imap.zoho.eu, imappro.zoho.com, …), and use an application-specific password where the account has two factors',
  },
} as const satisfies Provider;
