/** Fastmail. https://www.fastmail.help/hc/en-us/articles/1500000278342 */
import type { Provider } from './types.ts';

export const fastmail = {
  title: 'Fastmail',
  // https://www.fastmail.com/help/technical/servernamesandports.html
  host: 'imap.fastmail.com',
  domains: ['imap.fastmail.com', 'messagingengine.com'],
  refusals: [],
  // No account password is taken (https://www.fastmail.com/help/clients/apppassword.html); its refusal does not say so:
  // https://github.com/rustmailer/bichon/issues/152
  refusedPassword: {
    code: 'AUTH_APP_PASSWORD',
    remedy: 'make an app password with access to mail (Settings, Privacy & Security) and configure that',
  },
} as const satisfies Provider;
