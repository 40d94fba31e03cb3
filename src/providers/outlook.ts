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
    // https://support.microsoft.com/office/pop-imap-and-smtp-settings-8361e398-8af4-4e97-b147-6c6c4ac95353
    remedy:
      'check that the token is of `user`, and that IMAP is switched on (Settings, Mail, Forwarding and IMAP)',
  },
} as const satisfies Provider;
