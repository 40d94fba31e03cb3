/** An account's access token: asked for once for all who log in, before it ends, and stored before it is used. */
import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { MailwatchdError, toMailwatchdError } from '../errors.ts';
import { type Application, requestToken, type TokenResponse } from './endpoint.ts';
import { readTokens, storeTokens, type Tokens } from './token-file.ts';

export interface AccessOptions {
  /** Its name, for what to do. */
  account: string;
  application: Application;
  /** Whose mailbox it is. */
  user: string;
  /** The first refresh token, which the stored ones follow; null where a login gets it, or none is needed. */
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
  /** Until when the login lasts that tokens come from, ms, as far as is known since the last one; null where nobody told. */
  endsAt(): number | null;
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

/** What is stored of a response that came `at`, ms. `before`: the refresh token that stays, where there is no other. */
export function tokensOf(
  response: TokenResponse,
  before: Pick<Tokens, 'refreshToken' | 'refreshEndsAt' | 'origin'>,
  at: number,
): Tokens {
  const { refreshToken, refreshExpiresIn } = response;
  const stays = refreshToken === null || refreshToken === before.refreshToken;
  const endsBefore = stays ? (before.refreshEndsAt ?? null) : null;
  return {
    refreshToken: refreshToken ?? before.refreshToken,
    refreshEndsAt: refreshExpiresIn === null ? endsBefore : at + refreshExpiresIn * 1000,
    accessToken: response.accessToken,
    issuedAt: at,
    expiresAt: at + (response.expiresIn ?? UNTOLD_LIFETIME_S) * 1000,
    origin: before.origin,
  };
}

export function createAccess(options: AccessOptions): Access {
  const { account, application, user, tokenFile, clock } = options;
  const spare = SPARE.least + SPARE.jitter * (options.random ?? Math.random)();
  let held: Tokens | null = null;
  let endsAt: number | null = null;
  /** Given out by the end point, but not stored yet. */
  let unsaved: Tokens | null = null;
  /** A refresh token that is not valid any more, and what was said of it. */
  let dead: { refreshToken: string | null; error: MailwatchdError } | null = null;
  let failure: { error: MailwatchdError; until: number } | null = null;
  let pending: Promise<Tokens> | null = null;

  const usable = (tokens: Tokens | null, refused: string | undefined, spared = spare): tokens is Tokens => {
    if (tokens === null) return false;
    const { accessToken, issuedAt, expiresAt } = tokens;
    const now = clock.now();
    // Either way: the clock may have been set back.
    if (accessToken === refused && Math.abs(now - issuedAt) >= NEW_MS) return false;
    return now < expiresAt - spared * (expiresAt - issuedAt);
  };

  async function obtain(refused: string | undefined): Promise<Tokens> {
    if (unsaved !== null) return save(unsaved);
    if (usable(held, refused)) return held;
    // Another process may have been here: `check`, `login`, or we before a restart.
    const { stored, refreshToken, refreshEndsAt, origin } = await known();
    hold(stored);
    if (usable(stored, refused)) return stored;
    if (refreshToken === null && application.grant === 'refreshToken')
      throw loginNeeded(account, 'there is no token yet');
    try {
      const response = await ask(refreshToken);
      return await save(tokensOf(response, { refreshToken, refreshEndsAt, origin }, clock.now()));
    } catch (thrown) {
      const { code } = toMailwatchdError(thrown, 'INTERNAL');
      // Meanwhile another process may have been given the one that follows.
      if (code === 'OAUTH_LOGIN_NEEDED' && (await known()).refreshToken !== refreshToken)
        return obtain(refused);
      // Its last part is spare time, for this.
      if (code === 'OAUTH_UNAVAILABLE' && usable(stored, refused, 0)) return stored;
      throw thrown;
    }
  }

  /** Asks the end point, unless what it says is known. */
  async function ask(refreshToken: string | null): Promise<TokenResponse> {
    if (dead !== null && dead.refreshToken === refreshToken) throw dead.error;
    if (failure !== null && clock.monotonic() < failure.until) throw failure.error;
    try {
      const response = await requestToken(application, { user, refreshToken, at: clock.now() });
      failure = null;
      return response;
    } catch (thrown) {
      const error = toMailwatchdError(thrown, 'INTERNAL');
      if (error.code === 'OAUTH_LOGIN_NEEDED') {
        dead = { refreshToken, error: loginNeeded(account, error.message) };
        throw dead.error;
      }
      failure = { error, until: clock.monotonic() + QUIET_MS };
      throw error;
    }
  }

  function hold(tokens: Tokens | null): void {
    held = tokens;
    endsAt = tokens?.refreshEndsAt ?? null;
  }

  /** Commits, then hands over. */
  async function save(tokens: Tokens): Promise<Tokens> {
    unsaved = tokens;
    await storeTokens(tokenFile, tokens);
    unsaved = null;
    hold(tokens);
    return tokens;
  }

  /** The refresh token to use: the stored one, unless another has been configured since. */
  async function known() {
    const configured = (await options.refreshToken?.()) ?? null;
    const origin = originOf(configured);
    const file = await readTokens(tokenFile);
    const stored = file?.origin === origin ? file : null;
    const { refreshToken = null, refreshEndsAt = null } = stored ?? {};
    return { stored, refreshToken: refreshToken ?? configured, refreshEndsAt, origin };
  }

  return {
    async token(refused) {
      pending ??= obtain(refused).finally(() => {
        pending = null;
      });
      return (await pending).accessToken;
    },
    endsAt: () => endsAt,
    retry() {
      held = null;
      dead = null;
      failure = null;
    },
  };
}
