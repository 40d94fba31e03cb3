/** mailbox.org. https://kb.mailbox.org/en/private/e-mail/e-mail-configuration */
import type { Provider } from './types.ts';

export const mailboxOrg = {
  title: 'mailbox.org',
  host: 'imap.mailbox.org',
  domains: ['imap.mailbox.org'],
  refusals: [],
  // https://kb.mailbox.org/en/private/security-and-privacy/e-mail-password
  refusedPassword: {
    code: 'AUTH_FAILED',
    remedy:
      'check `user` and `password`; with two factors, make a mail app password with IMAP (All settings, Security)',
  },
} as const satisfies Provider;
