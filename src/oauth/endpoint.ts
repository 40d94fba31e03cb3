/** Asks a token end point, and the only file that knows openid-client and jose: every fault becomes one of the table. */
import type { Configuration, TokenEndpointResponse } from 'openid-client';
import { MailwatchdError, toMailwatchdError } from '../errors.ts';
import { withoutSecrets } from '../escape.ts';

/** An application at a provider. */
export interface Application {
  /** URLs: https, or http on a loopback host. */
  tokenEndpoint: string;
  authorizationEndpoint: string | null;
  deviceAuthorizationEndpoint: string | null;
  /** How tokens are got: RFC 6749 §6, §4.4, RFC 7523 §2.1. */
  grant: 'refreshToken' | 'clientCredentials' | 'serviceAccount';
  /** Null for a service account, whose key names it. */
  clientId: string | null;
  /** Secrets are read anew at each request. Null for a public client, and for a service account. */
  clientSecret: (() => Promise<string>) | null;
  /** The JSON that Google gives out; null for the other grants. */
  serviceAccountKey: (() => Promise<string>) | null;
  scope: string;
}

/** What the end point gave. */
export interface TokenResponse {
  accessToken: string;
  /** Seconds; null where it is not told. */
  expiresIn: number | null;
  /** Null where the one before stays valid (RFC 6749 §6), or there is none. */
  refreshToken: string | null;
  /** Seconds for which the refresh token is valid; null where it is not told. */
  refreshExpiresIn: number | null;
}

/** A hundred years. What is said to last longer has no end, and need not be a date. */
const LONGEST_LOGIN_SECONDS = 100 * 365 * 86_400;

/** An answer takes no longer; nobody types anything meanwhile. */
const REQUEST_SECONDS = 20;

/** For whom a token is, and `at` what time (ms). `refreshToken`: null where the grant needs none. */
export interface TokenRequest {
  user: string;
  refreshToken: string | null;
  at: number;
}

/**
 * A new access token. Throws OAUTH_LOGIN_NEEDED where a refresh token is not valid any more, OAUTH_REFUSED,
 * OAUTH_UNAVAILABLE, SECRET_UNAVAILABLE.
 */
export async function requestToken(
  application: Application,
  { user, refreshToken, at }: TokenRequest,
): Promise<TokenResponse> {
  const { scope, serviceAccountKey } = application;
  if (serviceAccountKey !== null) {
    const key = readServiceAccountKey(await serviceAccountKey());
    const assertion = await assertionOf(key, { application, user, at });
    return ask({ ...application, clientId: key.client_email }, [assertion], (client, configuration) =>
      client.genericGrantRequest(configuration, JWT_BEARER, { assertion }),
    );
  }
  if (application.grant === 'clientCredentials' || refreshToken === null)
    return ask(application, [], (client, configuration) =>
      client.clientCredentialsGrant(configuration, { scope }),
    );
  return ask(application, [refreshToken], (client, configuration) =>
    client.refreshTokenGrant(configuration, refreshToken, { scope }),
  );
}

/** What somebody has to enter, on any machine. */
export interface DeviceCode {
  address: string;
  code: string;
  /** Seconds. */
  expiresIn: number;
}

/** Shows address and code, and waits until somebody has logged in there (RFC 8628). Throws as `requestToken`. */
export async function grantByDevice(
  application: Application,
  show: (code: DeviceCode) => void,
): Promise<TokenResponse> {
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
 * only we can use (PKCE, RFC 7636). `visit` resolves with where it went. Throws as `requestToken`.
 */
export async function grantByRedirect(
  application: Application,
  { redirectUri, user }: { redirectUri: string; user: string },
  visit: (address: URL) => Promise<URL>,
): Promise<TokenResponse> {
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
): Promise<TokenResponse> {
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
      refreshExpiresIn:
        refreshExpiresIn > 0 && refreshExpiresIn <= LONGEST_LOGIN_SECONDS ? refreshExpiresIn : null,
    };
  } catch (error) {
    const where = new URL(application.tokenEndpoint).host;
    const all = [...secrets, ...(clientSecret === null ? [] : [clientSecret])];
    throw fault(client, error, { where, secrets: all, byRefresh: application.grant === 'refreshToken' });
  }
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
/** Google takes no assertion that is valid for more than an hour. */
const ASSERTION_SECONDS = 600;

interface ServiceAccountKey {
  client_email: string;
  private_key: string;
  private_key_id: string;
}

function readServiceAccountKey(text: string): ServiceAccountKey {
  try {
    const key = JSON.parse(text) as Partial<ServiceAccountKey> | null;
    const { client_email, private_key, private_key_id } = key ?? {};
    if (client_email && private_key && private_key_id) return { client_email, private_key, private_key_id };
  } catch {
    // Not JSON: said below, without the text.
  }
  throw badKey();
}

const badKey = () =>
  new MailwatchdError('SECRET_UNAVAILABLE', {
    where: 'serviceAccountKey',
    detail: 'is not the key of a service account',
    remedy: 'take the JSON file that Google gives out, as it is',
  });

/** What a service account signs to act as the user (https://developers.google.com/identity/protocols/oauth2/service-account). */
async function assertionOf(
  key: ServiceAccountKey,
  { application, user, at }: { application: Application; user: string; at: number },
): Promise<string> {
  const { SignJWT, importPKCS8 } = await import('jose');
  const issuedAt = Math.floor(at / 1000);
  try {
    return await new SignJWT({ scope: application.scope })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: key.private_key_id })
      .setIssuer(key.client_email)
      .setSubject(user)
      .setAudience(application.tokenEndpoint)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ASSERTION_SECONDS)
      .sign(await importPKCS8(key.private_key, 'RS256'));
  } catch {
    throw badKey(); // What was thrown may hold a part of the key.
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
    application.clientId ?? '',
    undefined,
    application.serviceAccountKey !== null
      ? // The assertion tells who asks (RFC 7523 §3.1).
        () => undefined
      : clientSecret === null
        ? client.None()
        : client.ClientSecretPost(clientSecret),
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

function fault(
  client: Client,
  error: unknown,
  { where, secrets, byRefresh }: { where: string; secrets: string[]; byRefresh: boolean },
): MailwatchdError {
  const words = (...texts: (string | undefined)[]) =>
    withoutSecrets(texts.filter(Boolean).join(': '), secrets);
  if (error instanceof client.ResponseBodyError) {
    const detail = words(error.error, error.error_description);
    if (byRefresh && LOGIN_NEEDED.has(error.error))
      return new MailwatchdError('OAUTH_LOGIN_NEEDED', { where, detail });
    if (LATER.has(error.error) || isLater(error.status)) return unavailable(where, detail);
    return refused(where, detail);
  }
  // RFC 6749 §4.1.2.1
  if (error instanceof client.AuthorizationResponseError)
    return refused(where, words(error.error, error.error_description));
  // RFC 6749 §5.2: invalid_client may come as a challenge.
  if (error instanceof client.WWWAuthenticateChallengeError)
    return refused(where, `the client was refused (HTTP status ${error.status})`);
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Response && cause.status !== 200) {
    const detail = `HTTP status ${cause.status}`;
    return isLater(cause.status) ? unavailable(where, detail) : refused(where, detail);
  }
  if (error instanceof client.ClientError) return unavailable(where, words(error.message));
  // Of fetch, whose cause names the trouble: a socket, a name, a certificate.
  if (error instanceof TypeError && cause instanceof Error)
    return unavailable(where, words((cause as NodeJS.ErrnoException).code, cause.message));
  return toMailwatchdError(error, 'INTERNAL', { where });
}

const unavailable = (where: string, detail: string) =>
  new MailwatchdError('OAUTH_UNAVAILABLE', { where, detail });

const refused = (where: string, detail: string) =>
  new MailwatchdError('OAUTH_REFUSED', {
    where,
    detail,
    remedy: 'check `scope`, and `clientId` with `clientSecret` or `serviceAccountKey`',
  });
