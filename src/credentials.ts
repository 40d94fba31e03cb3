/** From an account's configuration to what its logins are made with: a password or an access token. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from './clock.ts';
import { readSecret, type SecretSource } from './config/secrets.ts';
import type { AccountConfig, OAuth2Config } from './config/types.ts';
import type { AccountSettings } from './mailbox/account.ts';
import { type Access, createAccess } from './oauth/access.ts';
import type { Application } from './oauth/endpoint.ts';

export interface Credentials {
  /** `credential` of this account: one token for all of its folders. */
  of(account: AccountConfig): AccountSettings['credential'];
  /** What token end points refused is asked for again: somebody has seen to it. */
  retry(): void;
}

export interface CredentialsOptions {
  stateDirectory: string;
  /** Where secrets with `env:` are read. */
  environment: NodeJS.ProcessEnv;
  clock: Clock;
}

export function openCredentials({ stateDirectory, environment, clock }: CredentialsOptions): Credentials {
  /** By the account's name; another configuration of its OAuth2 is another one. */
  const known = new Map<string, { oauth2: OAuth2Config; access: Access }>();

  function accessOf(account: string, oauth2: OAuth2Config): Access {
    const before = known.get(account);
    if (isDeepStrictEqual(before?.oauth2, oauth2) && before !== undefined) return before.access;
    const access = createAccess({
      account,
      application: applicationOf(oauth2, environment),
      refreshToken: reader(oauth2.refreshToken, environment),
      tokenFile: tokenFileOf(account, oauth2, stateDirectory),
      clock,
    });
    known.set(account, { oauth2, access });
    return access;
  }

  return {
    of({ name, auth }) {
      if ('password' in auth) return async () => ({ password: await readSecret(auth.password, environment) });
      const access = accessOf(name, auth.oauth2);
      return async (refused) => ({ accessToken: await access.token(refused) });
    },
    retry() {
      for (const { access } of known.values()) access.retry();
    },
  };
}

/** Where an account's tokens are kept. */
export function tokenFileOf(account: string, { tokenFile }: OAuth2Config, stateDirectory: string): string {
  return tokenFile ?? join(stateDirectory, 'tokens', `${account}.json`);
}

export function applicationOf(oauth2: OAuth2Config, environment: NodeJS.ProcessEnv): Application {
  return { ...oauth2, clientSecret: reader(oauth2.clientSecret, environment) };
}

function reader(source: SecretSource | null, environment: NodeJS.ProcessEnv): (() => Promise<string>) | null {
  return source && (() => readSecret(source, environment));
}
