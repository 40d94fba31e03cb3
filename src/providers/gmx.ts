/** GMX. https://hilfe.gmx.net/sicherheit/2fa/anwendungsspezifisches-passwort.html */
import type { Provider } from './types.ts';

export const gmx = {
  title: 'GMX',
  // https://autoconfig.thunderbird.net/v1.1/gmx.net; of gmx.com it is imap.gmx.com.
  host: 'imap.gmx.net',
  domains: ['imap.gmx.net', 'imap.gmx.com'],
  // It is said to end IDLE after some 60 s, but documents nothing.
  idleRenewEvery: '50s',
  refusals: [],
  // "authentication failed" also with two factors, and where IMAP is off, as it is at first:
  // https://github.com/jens-maus/yam/issues/638
  refusedPassword: {
    code: 'AUTH_FAILED',
    remedy:
      'allow POP3 and IMAP in the e-mail settings of the account, and use an application-specific password where it has two factors; else check `user` and `password`',
  },
} as const satisfies Provider;
