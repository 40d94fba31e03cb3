/** Microsoft 365 (Exchange Online). https://office365itpros.com/2019/05/29/exchange-calendar-appointments-imap4-clients/ */
import type { Provider } from './types.ts';

export const microsoft365 = {
  title: 'Microsoft 365',
  // https://autoconfig.thunderbird.net/v1.1/office365.com
  host: 'outlook.office365.com',
  domains: ['outlook.office365.com', 'outlook.office.com', 'partner.outlook.cn'],
  oauth2: 'microsoft',
  refusals: [
    {
      // https://github.com/ikvk/imap_tools/issues/135, https://github.com/simonrob/email-oauth2-proxy/issues/191
      words: /request is throttled/i,
      code: 'SERVER_UNAVAILABLE',
      remedy: 'Exchange throttles this account: it is tried again when the wait that it named is over',
    },
    {
      // https://github.com/simonrob/email-oauth2-proxy/issues/275, https://github.com/mscdex/node-imap/issues/523
      words: /user is authenticated but not connected/i,
      code: 'SERVER_UNAVAILABLE',
      remedy:
        'check that the token is of `user` or may open its mailbox, and that IMAP is allowed for it; Exchange also says so to whom it throttles',
    },
    {
      // https://github.com/mscdex/node-imap/issues/799
      words: /account is blocked/i,
      code: 'AUTH_FAILED',
      remedy: 'sign in with a browser and prove your identity there',
    },
  ],
  // "LOGIN failed.", or "Basic authentication is disabled.": https://github.com/holon-run/uxc/issues/445,
  // https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/deprecation-of-basic-authentication-exchange-online
  refusedPassword: {
    code: 'AUTH_BASIC_DISABLED',
    remedy: 'Microsoft takes OAuth2 only: configure `auth: { oauth2: … }` instead of `password`',
  },
  // https://github.com/MicrosoftDocs/office-developer-exchange-docs/issues/87
  refusedToken: {
    code: 'AUTH_FAILED',
    remedy:
      'check that `user` is the mailbox, that the application may use IMAP, and that IMAP is allowed for the mailbox (Get-CASMailbox)',
  },
} as const satisfies Provider;
