/** Yahoo Mail. https://help.yahoo.com/kb/SLN4075.html */
import type { Provider } from './types.ts';

export const yahoo = {
  title: 'Yahoo Mail',
  // https://autoconfig.thunderbird.net/v1.1/yahoo.com
  host: 'imap.mail.yahoo.com',
  domains: ['imap.mail.yahoo.com'],
  // https://github.com/postalsys/emailengine/commit/607464e6: it ends IDLE after some three minutes.
  idleRenewEvery: '150s',
  // https://support.getmailbird.com/hc/en-us/articles/16298148976279: "appears to allow as few as 5"
  connections: 5,
  refusals: [
    {
      // https://github.com/postalsys/imapflow/issues/75
      words: /rate limit hit/i,
      code: 'SERVER_UNAVAILABLE',
      remedy: 'Yahoo counts logins and commands: watch fewer folders, or end other programs',
    },
  ],
  // It says "Invalid credentials" to every account password: https://github.com/emersion/go-imap/issues/436
  refusedPassword: {
    code: 'AUTH_APP_PASSWORD',
    remedy: 'make an app password at https://login.yahoo.com/myaccount/security and configure that',
  },
} as const satisfies Provider;
