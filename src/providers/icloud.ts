/** iCloud Mail. https://support.apple.com/HT202304 */
import type { Provider } from './types.ts';

export const icloud = {
  title: 'iCloud Mail',
  // https://autoconfig.thunderbird.net/v1.1/icloud.com
  host: 'imap.mail.me.com',
  domains: ['imap.mail.me.com'],
  refusals: [],
  // It says "Authentication failed" to every account password: https://github.com/lefcha/imapfilter/issues/125
  refusedPassword: {
    code: 'AUTH_APP_PASSWORD',
    remedy: 'make an app-specific password at https://account.apple.com and configure that',
  },
} as const satisfies Provider;
