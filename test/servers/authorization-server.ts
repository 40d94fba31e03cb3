/**
 * A small authorisation server on 127.0.0.1 that does what a test tells it: grants (RFC 6749), rotation of refresh
 * tokens, and introspection (RFC 7662) for Dovecot. Not a library's, since most tests are of its faults.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** What the token end point was asked, as it came. */
export interface TokenRequest {
  parameters: Record<string, string>;
  answer(status: number, body: unknown, headers?: Record<string, string>): void;
}

export interface AuthorizationServer extends AsyncDisposable {
  url: string;
  tokenEndpoint: string;
  introspectionEndpoint: string;
  /** Each request to the token end point, in order. */
  requests: TokenRequest[];
  /** Seconds. */
  lifetime: number;
  /** A new refresh token with each grant, after which the one before is not valid any more. */
  rotates: boolean;
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

  const server: AuthorizationServer = {
    url,
    tokenEndpoint: `${url}/token`,
    introspectionEndpoint: `${url}/introspect`,
    requests: [],
    lifetime: 3600,
    rotates: false,
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
    const { pathname } = new URL(request.url ?? '/', url);
    if (pathname === '/introspect') {
      const token = server.accessTokens.get(parameters.token ?? '');
      const active = token !== undefined && Date.now() < token.expiresAt;
      answer(200, active ? { active, username: token.user } : { active: false });
      return;
    }
    if (pathname !== '/token') {
      answer(404, {});
      return;
    }
    const asked = { parameters, answer };
    server.requests.push(asked);
    if (server.script?.(asked)) return;
    giveToken(asked);
  }

  function giveToken({ parameters, answer }: TokenRequest): void {
    const refuse = (status: number, error: string, description?: string) =>
      answer(status, { error, error_description: description });
    if (parameters.client_id !== CLIENT_ID || parameters.client_secret !== CLIENT_SECRET) {
      refuse(401, 'invalid_client');
      return;
    }
    const given = parameters.refresh_token ?? '';
    const user = server.refreshTokens.get(given);
    if (user === undefined) {
      refuse(400, 'invalid_grant', `${given} was revoked.`);
      return;
    }
    if (server.rotates) server.refreshTokens.delete(given);
    const accessToken = `access-canary-${randomUUID()}`;
    server.accessTokens.set(accessToken, { user, expiresAt: Date.now() + server.lifetime * 1000 });
    answer(200, {
      access_token: accessToken,
      token_type: 'Bearer',
      expires_in: server.lifetime,
      ...(server.rotates && { refresh_token: server.grant(user) }),
    });
  }

  return server;
}
