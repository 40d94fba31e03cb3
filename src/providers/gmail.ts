/** Gmail and Google Workspace. https://support.google.com/mail/answer/7126229 */
import type { Provider } from './types.ts';

export const gmail = {
  title: 'Gmail',
  // https://autoconfig.thunderbird.net/v1.1/gmail.com
  host: 'imap.gmail.com',
  domains: ['imap.gmail.com', 'imap.googlemail.com'],
  // https://support.google.com/mail/answer/7126229 ("Too many simultaneous connections")
  connections: 15,
  oauth2: 'google',
  refusals: [
    {
      // https://github.com/LukeSmithxyz/mutt-wizard/issues/831
      words: /application-specific password required/i,
      code: 'AUTH_APP_PASSWORD',
      remedy: 'make an app password at https://myaccount.google.com/apppasswords, or use `auth.oauth2`',
    },
    {
      // https://github.com/pmengal/MailSystem.NET/issues/17
      words: /log in via your web browser|web login required/i,
      code: 'AUTH_APP_PASSWORD',
      remedy: 'sign in with a browser once, and use an app password or `auth.oauth2`',
    },
    {
      // https://support.google.com/mail/answer/7126229, https://support.google.com/a/answer/105694
      words: /not enabled for IMAP use|IMAP access is disabled/i,
      code: 'AUTH_IMAP_DISABLED',
      remedy: 'have IMAP allowed: by the administrator in the Admin console of Google Workspace',
    },
    {
      // https://github.com/jstedfast/MailKit/issues/377
      words: /too many simultaneous connections/i,
      code: 'SERVER_UNAVAILABLE',
      remedy: 'Gmail takes 15 connections of an account: watch fewer folders, or end other programs',
    },
    {
      // https://github.com/ljmerza/ha-email-sensor/issues/16, https://support.google.com/a/answer/1071518: 2,500 MB a day
      words: /exceeded command or bandwidth limits/i,
      code: 'SERVER_UNAVAILABLE',
      remedy: 'Gmail gives out 2,500 MB a day by IMAP: nothing is lost, but it may take a day to go on',
      retryAfter: 15 * 60_000,
    },
  ],
  // https://support.google.com/accounts/answer/185833
  refusedPassword: {
    code: 'AUTH_FAILED',
    remedy: 'check `user`, and use an app password or `auth.oauth2`: the account password is not taken',
  },
} as const satisfies Provider;
