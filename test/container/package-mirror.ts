/** A mirror of npm's registry and of the distribution's packages on loopback, with a certificate of our own. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer, request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';
import type { CertificateFiles } from '../servers/certificates.ts';

export interface PackageMirror extends AsyncDisposable {
  npm: string;
  apt: string;
  /** Paths that were asked for, without the mirror's own prefix. */
  asked: string[];
}

/** What this machine itself gets its packages from. */
function upstreams(distribution: 'Debian' | 'Ubuntu'): Record<'npm' | 'apt', string> {
  const official = { Debian: 'http://deb.debian.org/debian', Ubuntu: 'http://archive.ubuntu.com/ubuntu' };
  const ours =
    process.env.APT_MIRROR ?? execFileSync('apt-get', aptMirrorOf(distribution), { encoding: 'utf8' });
  const npm = ['config', 'get', 'registry'];
  return {
    npm:
      process.env.NPM_CONFIG_REGISTRY ?? execFileSync('npm', npm, { encoding: 'utf8', stdio: 'pipe' }).trim(),
    apt: ours.split('\n')[0] || official[distribution],
  };
}

const aptMirrorOf = (distribution: string) => [
  ...['indextargets', '--format', '$(REPO_URI)'],
  ...['Created-By: Packages', `Label: ${distribution}`],
];

/** `mark` is part of both addresses. */
export async function startPackageMirror(
  mark: string,
  distribution: 'Debian' | 'Ubuntu',
  { certificate, key }: CertificateFiles,
): Promise<PackageMirror> {
  const origins = upstreams(distribution);
  const asked: string[] = [];
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
  server.on('request', (incoming, outgoing) => {
    // npm asks for a package's archive at the root of its registry's host.
    const [, kind = 'npm', path = ''] =
      new RegExp(`^/(?:${mark}/(npm|apt)/)?(.*)$`).exec(incoming.url ?? '') ?? [];
    asked.push(`${kind}/${path}`);
    const origin = new URL(path, `${origins[kind as 'npm' | 'apt'].replace(/\/$/, '')}/`);
    const { host: _, ...headers } = incoming.headers;
    const request = origin.protocol === 'https:' ? httpsRequest : httpRequest;
    request(origin, { headers, method: incoming.method }, (answer: IncomingMessage) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      // A client that goes away is no fault of ours.
      pipeline(answer, outgoing, () => undefined);
    })
      .on('error', () => outgoing.destroy())
      .end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `https://127.0.0.1:${(server.address() as AddressInfo).port}/${mark}`;
  return {
    npm: `${address}/npm/`,
    apt: `${address}/apt`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
