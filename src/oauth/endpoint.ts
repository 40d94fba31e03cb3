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
  /** Seconds for which the refresh token is valid; null where it is not told. */
  refreshExpiresIn: number | null;
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

/** What somebody has to enter, on any machine. */
export interface DeviceCode {
  address: string;
  code: string;
  /** Seconds. */
  expiresIn: number;
}

/** Shows address and code, and waits until somebody has logged in there (RFC 8628). Throws as `refresh`. */
export async function grantByDevice(
  application: Application,
  show: (code: DeviceCode) => void,
): Promise<Grant> {
  return ask(application, [], async (client, configuration) => {
    const device = await client.initiateDeviceAuthorization(configuration, { scope: application.scope });
    show({
      address: device.verification_uri_complete ?? device.verification_uri,
      code: device.user_code,
      expiresIn: device.expires_in,
    });
    return client.pollDeviceAuthorizationGrant(configuration, device);
  });
}

/**
 * Lets somebody log in at an address, from where the browser goes on to `redirectUri` with a code (RFC 6749 §4.1) that
 * only we can use (PKCE, RFC 7636). `visit` resolves with where it went. Throws as `refresh`.
 */
export async function grantByRedirect(
  application: Application,
  { redirectUri, user }: { redirectUri: string; user: string },
  visit: (address: URL) => Promise<URL>,
): Promise<Grant> {
  return ask(application, [], async (client, configuration) => {
    const verifier = client.randomPKCECodeVerifier();
    const state = client.randomState();
    const address = client.buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: application.scope,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      login_hint: user,
    });
    const answer = await visit(address);
    // It tells servers apart (RFC 9207), of which there is one here, whose own name nobody has to configure.
    answer.searchParams.delete('iss');
    return client.authorizationCodeGrant(configuration, answer, {
      pkceCodeVerifier: verifier,
      expectedState: state,
    });
  });
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
    const answer = await request(client, configure(client, application, clientSecret));
    // Google's and Microsoft's name, and Keycloak's.
    const { refresh_token_expires_in, refresh_expires_in } = answer;
    const refreshExpiresIn = Number(refresh_token_expires_in ?? refresh_expires_in);
    return {
      accessToken: answer.access_token,
      expiresIn: answer.expires_in ?? null,
      refreshToken: answer.refresh_token ?? null,
      // Keycloak's 0: for ever.
      refreshExpiresIn: refreshExpiresIn > 0 ? refreshExpiresIn : null,
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
  // RFC 6749 §4.1.2.1
  if (error instanceof client.AuthorizationResponseError)
    return refused(where, words(error.error, error.error_description));
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
