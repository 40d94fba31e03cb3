/** From an account's configuration to what its logins are made with: a password or an access token. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from './clock.ts';
import { readSecret, readSecretText, type SecretSource, secretChangedAt } from './config/secrets.ts';
import { type AccountConfig, type OAuth2Config, secretsOf } from './config/types.ts';
import type { AccountSettings } from './mailbox/account.ts';
import type { SubmissionSettings } from './mailbox/submission.ts';
import { type Access, createAccess } from './oauth/access.ts';
import type { Application } from './oauth/endpoint.ts';

export interface Credentials {
  /** `credential` of this account: one token for all of its folders. */
  of(account: AccountConfig): AccountSettings['credential'];
  /** How the account's canary is sent; null where it is not. */
  submission(account: AccountConfig): SubmissionSettings | null;
  /** What is known since its last login of how long this account's can be used. */
  prospects(account: AccountConfig): CredentialProspects;
  /** What token end points refused is asked for again: somebody has seen to it. */
  retry(): void;
}

/** Times are ms; null where nobody told. */
export interface CredentialProspects {
  /** Until when the login lasts that OAuth2's tokens come from. */
  loginEndsAt: number | null;
  /** When the oldest file of the account's secrets was changed last. */
  credentialChangedAt: number | null;
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
  const changedAt = new Map<string, number | null>();

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

  function credentialOf(account: AccountConfig): AccountSettings['credential'] {
    const { name, user, auth } = account;
    const noteAge = async () => void changedAt.set(name, await oldestChange(account));
    if ('password' in auth)
      return async () => {
        await noteAge();
        return { password: await readSecret(auth.password, environment) };
      };
    const access = accessOf(name, { user, oauth2: auth.oauth2 });
    return async (refused) => {
      await noteAge();
      return { accessToken: await access.token(refused) };
    };
  }

  return {
    of: credentialOf,
    submission(account) {
      const smtp = account.canary?.smtp ?? null;
      if (smtp === null) return null;
      const { password, ...server } = smtp;
      const credential =
        password === null
          ? credentialOf(account)
          : async () => ({ password: await readSecret(password, environment) });
      return { ...server, ca: account.ca, credential };
    },
    prospects: ({ name }) => ({
      loginEndsAt: known.get(name)?.access.endsAt() ?? null,
      credentialChangedAt: changedAt.get(name) ?? null,
    }),
    retry() {
      for (const { access } of known.values()) access.retry();
    },
  };
}

/** When the oldest file of the account's secrets was changed last, ms; null where none lies in a file. */
export async function oldestChange(account: AccountConfig): Promise<number | null> {
  const times = await Promise.all(secretsOf(account).map(secretChangedAt));
  return times.reduce(
    (oldest, time) => (oldest === null || (time !== null && time < oldest) ? time : oldest),
    null,
  );
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
