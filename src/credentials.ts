/** From an account's configuration to what its logins are made with: a password or an access token. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from './clock.ts';
import { readSecret, readSecretText, type SecretSource } from './config/secrets.ts';
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
  /** By the account's name; with another user or other settings of OAuth2 it is another one. */
  const known = new Map<string, { settings: { user: string; oauth2: OAuth2Config }; access: Access }>();

  function accessOf(account: string, settings: { user: string; oauth2: OAuth2Config }): Access {
    const before = known.get(account);
    if (before !== undefined && isDeepStrictEqual(before.settings, settings)) return before.access;
    const { user, oauth2 } = settings;
    const access = createAccess({
      account,
      user,
      application: applicationOf(oauth2, environment),
      refreshToken: reader(oauth2.refreshToken, environment, readSecret),
      tokenFile: tokenFileOf(account, oauth2, stateDirectory),
      clock,
    });
    known.set(account, { settings, access });
    return access;
  }

  return {
    of({ name, user, auth }) {
      if ('password' in auth) return async () => ({ password: await readSecret(auth.password, environment) });
      const access = accessOf(name, { user, oauth2: auth.oauth2 });
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
  return {
    ...oauth2,
    clientSecret: reader(oauth2.clientSecret, environment, readSecret),
    serviceAccountKey: reader(oauth2.serviceAccountKey, environment, readSecretText),
  };
}

function reader(
  source: SecretSource | null,
  environment: NodeJS.ProcessEnv,
  read: typeof readSecret,
): (() => Promise<string>) | null {
  return source && (() => read(source, environment));
}
