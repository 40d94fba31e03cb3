/** Asks a token end point, and the only file that knows openid-client: every fault becomes one of the table. */
import type { Configuration, TokenEndpointResponse } from 'openid-client';
import { MailwatchdError } from '../errors.ts';
import { withoutSecrets } from '../escape.ts';

/** An application at a provider. */
export interface Application {
  /** URLs: https, or http on a loopback host. */
  tokenEndpoint: string;
  authorizationEndpoint: string | null;
  deviceAuthorizationEndpoint: string | null;
  clientId: string;
  /** Read anew at each request; null for a public client. */
  clientSecret: (() => Promise<string>) | null;
  scope: string;
}

/** What the end point gave. */
export interface Grant {
  accessToken: string;
  /** Seconds; null where it is not told. */
  expiresIn: number | null;
  /** Null where the one before stays valid (RFC 6749 §6). */
  refreshToken: string | null;
}

/** An answer takes no longer; nobody types anything meanwhile. */
const REQUEST_SECONDS = 20;

/**
 * A new access token (RFC 6749 §6). Throws OAUTH_LOGIN_NEEDED where the refresh token is not valid any more,
 * OAUTH_REFUSED, OAUTH_UNAVAILABLE.
 */
export async function refresh(application: Application, refreshToken: string): Promise<Grant> {
  return ask(application, [refreshToken], async (client, configuration) =>
    client.refreshTokenGrant(configuration, refreshToken, { scope: application.scope }),
  );
}

type Client = typeof import('openid-client');

/** Runs one request; `secrets` must not turn up in what it throws. */
async function ask(
  application: Application,
  secrets: string[],
  request: (client: Client, configuration: Configuration) => Promise<TokenEndpointResponse>,
): Promise<Grant> {
  const clientSecret = (await application.clientSecret?.()) ?? null;
  // Loaded by those who need it: it takes 17 ms and 6 MB (measured).
  const client = await import('openid-client');
  try {
    const { access_token, expires_in, refresh_token } = await request(
      client,
      configure(client, application, clientSecret),
    );
    return {
      accessToken: access_token,
      expiresIn: expires_in ?? null,
      refreshToken: refresh_token ?? null,
    };
  } catch (error) {
    const where = new URL(application.tokenEndpoint).host;
    throw fault(client, error, where, [...secrets, ...(clientSecret === null ? [] : [clientSecret])]);
  }
}

function configure(client: Client, application: Application, clientSecret: string | null): Configuration {
  const { tokenEndpoint, authorizationEndpoint, deviceAuthorizationEndpoint } = application;
  const { protocol, origin } = new URL(tokenEndpoint);
  const configuration = new client.Configuration(
    {
      issuer: origin,
      token_endpoint: tokenEndpoint,
      ...(authorizationEndpoint !== null && { authorization_endpoint: authorizationEndpoint }),
      ...(deviceAuthorizationEndpoint !== null && {
        device_authorization_endpoint: deviceAuthorizationEndpoint,
      }),
    },
    application.clientId,
    undefined,
    clientSecret === null ? client.None() : client.ClientSecretPost(clientSecret),
  );
  configuration.timeout = REQUEST_SECONDS;
  // The configuration allows it on loopback only.
  if (protocol === 'http:') client.allowInsecureRequests(configuration);
  return configuration;
}

/** RFC 6749 §5.2, and what Microsoft says where somebody must answer a question. */
const LOGIN_NEEDED = new Set(['invalid_grant', 'interaction_required', 'consent_required', 'login_required']);
/** RFC 6749 §4.1.2.1, RFC 8628 §3.5. */
const LATER = new Set(['temporarily_unavailable', 'server_error', 'slow_down']);

const isLater = (status: number): boolean => status >= 500 || status === 429 || status === 408;

function fault(client: Client, error: unknown, where: string, secrets: string[]): MailwatchdError {
  const words = (...texts: (string | undefined)[]) =>
    withoutSecrets(texts.filter(Boolean).join(': '), secrets);
  if (error instanceof client.ResponseBodyError) {
    const detail = words(error.error, error.error_description);
    if (LOGIN_NEEDED.has(error.error)) return new MailwatchdError('OAUTH_LOGIN_NEEDED', { where, detail });
    if (LATER.has(error.error) || isLater(error.status)) return unavailable(where, detail);
    return refused(where, detail);
  }
  // RFC 6749 §5.2: invalid_client may come as a challenge.
  if (error instanceof client.WWWAuthenticateChallengeError)
    return refused(where, `the client was refused (HTTP status ${error.status})`);
  if (!(error instanceof Error)) return unavailable(where, words(String(error)));
  if (error.cause instanceof Response && error.cause.status !== 200) {
    const detail = `HTTP status ${error.cause.status}`;
    return isLater(error.cause.status) ? unavailable(where, detail) : refused(where, detail);
  }
  // The cause of fetch's TypeError names the trouble: a socket, a name, a certificate.
  const cause = error.cause instanceof Error ? (error.cause as NodeJS.ErrnoException) : null;
  return unavailable(where, words(error.message, cause?.code ?? cause?.message));
}

const unavailable = (where: string, detail: string) =>
  new MailwatchdError('OAUTH_UNAVAILABLE', { where, detail });

const refused = (where: string, detail: string) =>
  new MailwatchdError('OAUTH_REFUSED', {
    where,
    detail,
    remedy: 'check `clientId`, `clientSecret` and `scope`',
  });
