/**
 * A small authorisation server on 127.0.0.1 that does what a test tells it: grants by code with PKCE (RFC 6749, 7636),
 * by device (RFC 8628), by refresh token, by client credentials and by assertion (RFC 7523), rotation, and introspection
 * (RFC 7662) for Dovecot. Not a library's, since most tests are of its faults.
 */
import { createHash, type KeyObject, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { decodeJwt, jwtVerify } from 'jose';

/** What the token end point was asked, as it came. */
export interface TokenRequest {
  parameters: Record<string, string>;
  answer(status: number, body: unknown, headers?: Record<string, string>): void;
}

export interface AuthorizationServer extends AsyncDisposable {
  url: string;
  tokenEndpoint: string;
  introspectionEndpoint: string;
  /** Where whoever comes is logged in as `visitor`, at once. */
  authorizationEndpoint: string;
  /** Its codes are entered by `visitor`, between the first and the second poll. */
  deviceAuthorizationEndpoint: string;
  /** Of service accounts that may act for everybody. */
  serviceAccounts: Map<string, KeyObject>;
  /** Who logs in, or whose mailbox an application's token is for; null: somebody who refuses. */
  visitor: string | null;
  /** Each request to the token end point, in order. */
  requests: TokenRequest[];
  /** Seconds. */
  lifetime: number;
  /** A new refresh token with each grant, after which the one before is not valid any more. */
  rotates: boolean;
  /** Whether it gives refresh tokens at all. */
  refreshes: boolean;
  /** Seconds that each answer tells of the refresh token; null: only a login's does, 90 days. */
  refreshLifetime: number | null;
  /** Replaces the next answers of the token end point: true means it has been dealt with, also by silence. */
  script: ((request: TokenRequest) => boolean | undefined) | undefined;
  /** Access tokens with the user's name and their end, ms since the epoch. */
  accessTokens: Map<string, { user: string; expiresAt: number }>;
  refreshTokens: Map<string, string>;
  /** A new refresh token of the user. */
  grant(user: string): string;
  close(): Promise<void>;
}

export const CLIENT_ID = 'mailwatchd-test';
export const CLIENT_SECRET = 'client-secret-canary';

export async function startAuthorizationServer(): Promise<AuthorizationServer> {
  const listener = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;

  /** By code, what it is good for. */
  const codes = new Map<string, { challenge: string; redirectUri: string }>();
  /** How often each was asked about. */
  const devices = new Map<string, number>();

  const server: AuthorizationServer = {
    url,
    tokenEndpoint: `${url}/token`,
    introspectionEndpoint: `${url}/introspect`,
    authorizationEndpoint: `${url}/authorize`,
    deviceAuthorizationEndpoint: `${url}/device`,
    visitor: 'ann',
    serviceAccounts: new Map(),
    requests: [],
    lifetime: 3600,
    rotates: false,
    refreshes: true,
    refreshLifetime: null,
    script: undefined,
    accessTokens: new Map(),
    refreshTokens: new Map(),
    grant(user) {
      const token = `refresh-canary-${randomUUID()}`;
      server.refreshTokens.set(token, user);
      return token;
    },
    async close() {
      listener.closeAllConnections();
      await new Promise((resolve) => listener.close(resolve));
    },
    [Symbol.asyncDispose]: () => server.close(),
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parameters = Object.fromEntries(new URLSearchParams(await text(request)));
    const answer: TokenRequest['answer'] = (status, body, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    };
    const { pathname, searchParams } = new URL(request.url ?? '/', url);
    if (pathname === '/introspect') {
      const token = server.accessTokens.get(parameters.token ?? '');
      const active = token !== undefined && Date.now() < token.expiresAt;
      answer(200, active ? { active, username: token.user } : { active: false });
      return;
    }
    if (pathname === '/authorize') {
      response.writeHead(302, { location: authorize(searchParams).href });
      response.end();
      return;
    }
    if (pathname === '/device') {
      devices.set('device-1', 0);
      const verification_uri = `${url}/enter`;
      answer(200, {
        device_code: 'device-1',
        user_code: 'ABCD-1234',
        verification_uri,
        expires_in: 900,
        interval: 1,
      });
      return;
    }
    if (pathname !== '/token') {
      answer(404, {});
      return;
    }
    const asked = { parameters, answer };
    server.requests.push(asked);
    if (!server.script?.(asked)) await giveToken(asked);
  }

  async function giveToken({ parameters, answer }: TokenRequest): Promise<undefined> {
    const refuse = (status: number, error: string, description?: string): undefined => {
      answer(status, { error, error_description: description });
    };
    const { assertion } = parameters;
    const isClient = parameters.client_id === CLIENT_ID && parameters.client_secret === CLIENT_SECRET;
    if (!isClient && assertion === undefined) return refuse(401, 'invalid_client');
    const given = parameters.refresh_token ?? '';
    let user: string | null | undefined = server.visitor;
    switch (parameters.grant_type) {
      case 'refresh_token':
        user = server.refreshTokens.get(given);
        if (server.rotates) server.refreshTokens.delete(given);
        break;
      case 'authorization_code':
        if (!isRightCode(parameters)) user = undefined;
        break;
      case 'client_credentials':
        break;
      case 'urn:ietf:params:oauth:grant-type:jwt-bearer':
        user = await subjectOf(assertion ?? '');
        break;
      default: {
        const polls = devices.get(parameters.device_code ?? '') ?? 0;
        devices.set(parameters.device_code ?? '', polls + 1);
        if (polls === 0) return refuse(400, 'authorization_pending');
        if (user === null) return refuse(400, 'access_denied');
      }
    }
    if (typeof user !== 'string') return refuse(400, 'invalid_grant', `${given} was revoked.`);
    const isLogin = 'code' in parameters || 'device_code' in parameters;
    const accessToken = `access-canary-${randomUUID()}`;
    server.accessTokens.set(accessToken, { user, expiresAt: Date.now() + server.lifetime * 1000 });
    answer(200, {
      access_token: accessToken,
      token_type: 'Bearer',
      expires_in: server.lifetime,
      ...((server.rotates || isLogin) && server.refreshes && { refresh_token: server.grant(user) }),
      ...((isLogin || server.refreshLifetime !== null) && {
        refresh_token_expires_in: server.refreshLifetime ?? 7_776_000,
      }),
    });
  }

  /** RFC 6749 §4.1.2; RFC 9207 adds the issuer. */
  function authorize(asked: URLSearchParams): URL {
    const redirectUri = asked.get('redirect_uri') ?? '';
    const back = new URL(redirectUri);
    back.searchParams.set('state', asked.get('state') ?? '');
    back.searchParams.set('iss', 'https://issuer.example');
    if (server.visitor === null) {
      back.searchParams.set('error', 'access_denied');
    } else {
      const code = randomUUID();
      codes.set(code, { challenge: asked.get('code_challenge') ?? '', redirectUri });
      back.searchParams.set('code', code);
    }
    return back;
  }

  /** For whom a known service account asks; its signature, audience and time are right. */
  async function subjectOf(assertion: string): Promise<string | undefined> {
    const key = server.serviceAccounts.get(decodeJwt(assertion).iss ?? '');
    if (key === undefined) return undefined;
    const { payload } = await jwtVerify(assertion, key, {
      audience: server.tokenEndpoint,
      requiredClaims: ['scope', 'exp', 'iat'],
      // Tests turn the daemon's clock.
      currentDate: new Date((decodeJwt(assertion).iat ?? 0) * 1000),
    });
    return payload.sub;
  }

  function isRightCode({ code = '', code_verifier = '', redirect_uri }: Record<string, string>): boolean {
    const known = codes.get(code);
    codes.delete(code);
    const challenge = createHash('sha256').update(code_verifier).digest('base64url');
    return known !== undefined && known.challenge === challenge && known.redirectUri === redirect_uri;
  }

  return server;
}
