/** An account's access token: asked for once for all who log in, before it ends, and stored before it is used. */
import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { MailwatchdError, toMailwatchdError } from '../errors.ts';
import { type Application, type Grant, refresh } from './endpoint.ts';
import { readTokens, storeTokens, type Tokens } from './token-file.ts';

export interface AccessOptions {
  /** Its name, for what to do. */
  account: string;
  application: Application;
  /** The first refresh token, which the stored ones follow; null where a login gets it. */
  refreshToken: (() => Promise<string>) | null;
  /** Absolute. */
  tokenFile: string;
  clock: Clock;
  /** In [0, 1); for the jitter. */
  random?: () => number;
}

export interface Access {
  /**
   * A valid access token. `refused`: the mail server did not take this one, so another one, unless it is new: then
   * another would fare no better. Throws OAUTH_LOGIN_NEEDED, OAUTH_REFUSED, OAUTH_UNAVAILABLE, OAUTH_TOKEN_UNSAVED,
   * SECRET_UNAVAILABLE.
   */
  token(refused?: string): Promise<string>;
  /** Asks the end point again, whatever it has said: somebody has seen to it. */
  retry(): void;
}

/** The last 10 to 20 % of a token's time are not used, so that a thousand accounts do not refresh at once. */
const SPARE = { least: 0.1, jitter: 0.1 };
/** Of a token whose time is not told. */
const UNTOLD_LIFETIME_S = 300;
/** A token that is refused so soon was not refused for its age. */
const NEW_MS = 60_000;
/** What the end point refused is not asked again sooner, however many folders ask. */
const QUIET_MS = 60_000;

/** What stands in `Tokens.origin`. */
export const originOf = (refreshToken: string | null): string | null =>
  refreshToken === null ? null : createHash('sha256').update(refreshToken).digest('hex');

/** OAUTH_LOGIN_NEEDED with what to do about it. */
export function loginNeeded(account: string, detail: string): MailwatchdError {
  const remedy = `log in with \`mailwatchd login ${account}\``;
  return new MailwatchdError('OAUTH_LOGIN_NEEDED', { detail, remedy });
}

/** What is stored of a grant that came `at`, ms. `before`: the refresh token that stays, where there is no other. */
export function tokensOf(grant: Grant, before: Pick<Tokens, 'refreshToken' | 'origin'>, at: number): Tokens {
  return {
    refreshToken: grant.refreshToken ?? before.refreshToken,
    accessToken: grant.accessToken,
    issuedAt: at,
    expiresAt: at + (grant.expiresIn ?? UNTOLD_LIFETIME_S) * 1000,
    origin: before.origin,
  };
}

export function createAccess(options: AccessOptions): Access {
  const { account, application, tokenFile, clock } = options;
  const spare = SPARE.least + SPARE.jitter * (options.random ?? Math.random)();
  let held: Tokens | null = null;
  /** Given out by the end point, but not stored yet. */
  let unsaved: Tokens | null = null;
  /** A refresh token that is not valid any more, and what was said of it. */
  let dead: { refreshToken: string; error: MailwatchdError } | null = null;
  let failure: { error: MailwatchdError; until: number } | null = null;
  let pending: Promise<string> | null = null;

  const usable = (tokens: Tokens | null, refused: string | undefined, spared = spare): tokens is Tokens => {
    if (tokens === null) return false;
    const { accessToken, issuedAt, expiresAt } = tokens;
    const now = clock.now();
    if (accessToken === refused && now - issuedAt >= NEW_MS) return false;
    return now < expiresAt - spared * (expiresAt - issuedAt);
  };

  async function obtain(refused: string | undefined): Promise<string> {
    if (unsaved === null && usable(held, refused)) return held.accessToken;
    if (unsaved === null) await renew(refused);
    if (unsaved !== null) {
      await storeTokens(tokenFile, unsaved);
      held = unsaved;
      unsaved = null;
    }
    if (held === null) throw loginNeeded(account, 'there is no token yet');
    return held.accessToken;
  }

  /** Leaves a usable token in `held`, or a new one in `unsaved`. */
  async function renew(refused: string | undefined): Promise<void> {
    const { stored, refreshToken, origin } = await known();
    // Another process may have been here: `check`, `login`, or we before a restart.
    held = stored;
    if (usable(stored, refused)) return;
    if (refreshToken === null) throw loginNeeded(account, 'there is no token yet');
    if (dead?.refreshToken === refreshToken) throw dead.error;
    try {
      if (failure !== null && clock.monotonic() < failure.until) throw failure.error;
      unsaved = tokensOf(await refresh(application, refreshToken), { refreshToken, origin }, clock.now());
      failure = null;
    } catch (thrown) {
      const error = toMailwatchdError(thrown, 'INTERNAL');
      if (error.code === 'OAUTH_LOGIN_NEEDED') {
        // It may have been followed by another one meanwhile, in another process.
        if ((await known()).refreshToken !== refreshToken) return renew(refused);
        dead = { refreshToken, error: loginNeeded(account, error.message) };
        throw dead.error;
      }
      if (error !== failure?.error) failure = { error, until: clock.monotonic() + QUIET_MS };
      // Its last part is spare time, for this.
      if (!(error.code === 'OAUTH_UNAVAILABLE' && usable(held, refused, 0))) throw error;
    }
  }

  /** The refresh token to use: the stored one, unless another has been configured since. */
  async function known() {
    const configured = (await options.refreshToken?.()) ?? null;
    const origin = originOf(configured);
    const file = await readTokens(tokenFile);
    const stored = file?.origin === origin ? file : null;
    return { stored, refreshToken: stored?.refreshToken ?? configured, origin };
  }

  return {
    token(refused) {
      pending ??= obtain(refused).finally(() => {
        pending = null;
      });
      return pending;
    },
    retry() {
      held = null;
      dead = null;
      failure = null;
    },
  };
}
