/** Outlook.com, Hotmail, Live: Microsoft's mailboxes for people, on the servers of Microsoft 365. */
import { microsoft365 } from './microsoft365.ts';
import type { Provider } from './types.ts';

export const outlook = {
  ...microsoft365,
  title: 'Outlook.com',
  // https://autoconfig.thunderbird.net/v1.1/hotmail.com has the host of Microsoft 365 too; this is the older one.
  domains: ['imap-mail.outlook.com'],
  refusedToken: {
    code: 'AUTH_FAILED',
    // https://support.microsoft.com/office/d088b986-291d-42b8-9564-9c414e2aa040
    remedy:
      'check that the token is of `user`, and that IMAP is switched on (Settings, Mail, Forwarding and IMAP)',
  },
} as const satisfies Provider;
