/** AOL Mail, on the servers of Yahoo. https://help.aol.com/articles/Create-and-manage-app-password */
import type { Provider } from './types.ts';
import { yahoo } from './yahoo.ts';

export const aol = {
  ...yahoo,
  title: 'AOL Mail',
  // https://autoconfig.thunderbird.net/v1.1/aol.com
  host: 'imap.aol.com',
  domains: ['imap.aol.com'],
  refusedPassword: {
    code: 'AUTH_APP_PASSWORD',
    remedy: 'make an app password at https://login.aol.com/myaccount/security and configure that',
  },
} as const satisfies Provider;
