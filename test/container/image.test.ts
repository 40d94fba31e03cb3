/** What the image is made of, what it is not, and that a second build makes the same. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCertificates } from '../servers/certificates.ts';
import { docker, dockerOk, LICENSE, textsIn } from './docker.ts';
import { IMAGE } from './harness.ts';
import { startPackageMirror } from './package-mirror.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const PROGRAM = '/usr/lib/mailwatchd';

/** scripts/test says on what it built; its stand-ins are named for their suites. */
const STAND_IN = /^mailwatchd-base:(.+)$/.exec(process.env.MAILWATCHD_BASE_IMAGE ?? '')?.[1];

const packageJson = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8'));

interface Entry {
  path: string;
  kind: string;
  mode: string;
  owner: string;
}

const MAX_OUTPUT = 64 * 1024 * 1024;

/** From the repository; rejects with all that the command said where it fails. */
const run = (command: string, parameters: string[], environment: NodeJS.ProcessEnv = {}) =>
  promisify(execFile)(command, parameters, {
    cwd: REPOSITORY,
    env: { ...process.env, ...environment },
    maxBuffer: MAX_OUTPUT,
  }).catch((error: Error & { stdout: string; stderr: string }) => {
    throw new Error(`${error.message}\n${error.stdout}${error.stderr}`);
  });

/** A script in a container of the image without its entrypoint. */
const inImage = (script: string) =>
  dockerOk('run', '--rm', '--network', 'none', '--entrypoint', '/bin/sh', IMAGE, '-c', script);

/** Every file's name and hash below a directory, the same wherever that lies. */
const HASHES = 'cd "$0" && find . -type f -exec sha256sum {} + | LC_ALL=C sort';

let entries: Entry[] = [];

beforeAll(async () => {
  const listing = await inImage('find / -xdev -printf "%p\\t%y\\t%m\\t%U:%G\\n"');
  entries = listing.split('\n').map((line) => {
    const [path = '', kind = '', mode = '', owner = ''] = line.split('\t');
    return { path, kind, mode, owner };
  });
});

const entry = (path: string) => entries.find((each) => each.path === path);

/** Of the paths: those that are in the image. */
const present = (...paths: string[]) => paths.filter((path) => entry(path));

const below = (directory: string) => entries.filter(({ path }) => path.startsWith(`${directory}/`));

describe('its configuration', () => {
  let config: Record<string, unknown> = {};
  beforeAll(async () => {
    config = JSON.parse(await dockerOk('image', 'inspect', '--format', '{{json .Config}}', IMAGE));
  });

  test('tini runs the entrypoint, without an argument of the base image', () => {
    expect(config.Entrypoint).toEqual(['/usr/bin/tini', '-s', '--', `${PROGRAM}/entrypoint`]);
    expect(config.Cmd ?? null).toBeNull();
    expect(config.User ?? '').toBe('');
    expect(present('/usr/bin/tini', `${PROGRAM}/entrypoint`)).toHaveLength(2);
  });

  test('where another process is the first one tini looks after orphans all the same, and does not complain', async () => {
    const { status, stderr } = await docker('run', '--rm', '--init', '--network', 'none', IMAGE, 'schema');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('signal, port, volumes, health', () => {
    expect(config.StopSignal).toBe('SIGTERM');
    expect(config.ExposedPorts).toEqual({ '2812/tcp': {} });
    expect(Object.keys(config.Volumes as object).sort()).toEqual([
      '/var/lib/mailwatchd',
      '/var/log/mailwatchd',
      '/var/spool/mailwatchd',
    ]);
    expect(config.Healthcheck).toMatchObject({ Test: ['CMD', '/etc/init.d/mailwatchd', 'status'] });
  });

  test('labels say what it is, and of which version', () => {
    expect(config.Labels).toMatchObject({
      'org.opencontainers.image.title': 'mailwatchd',
      'org.opencontainers.image.licenses': packageJson.license,
      'org.opencontainers.image.version': packageJson.version,
      'org.opencontainers.image.revision': expect.stringMatching(/^[0-9a-f]{40}(-dirty)?$|^unknown$/),
    });
  });
});

describe('what is not in it', () => {
  test('no compiler, no package manager of Node.js, no git, no tool of development', () => {
    const tools =
      /\/(npm|npx|corepack|yarn|pnpm|git|gcc|cc|g\+\+|c\+\+|make|ld|python3?|tsc|vitest|biome|esbuild)$/;
    expect(entries.filter(({ path, kind }) => tools.test(path) && kind !== 'd')).toEqual([]);
    expect(entries.filter(({ path }) => path.endsWith('/bin/node')).map(({ path }) => path)).toEqual([
      `${PROGRAM}/bin/node`,
    ]);
  });

  test('no test, source or source map of the program', () => {
    const developers = /\/(tests?|__tests__|\.bin|\.built|\.package-lock\.json)$|\.(test\.\w+|[mc]?ts|map)$/;
    expect(below(PROGRAM).length).toBeGreaterThan(500);
    expect(below(PROGRAM).filter(({ path }) => developers.test(path))).toEqual([]);
  });

  test('of the packages only those that production needs', () => {
    const module = (name: string) => `${PROGRAM}/node_modules/${name}`;
    const wanted = Object.keys(packageJson.dependencies).map(module);
    expect(present(...wanted)).toEqual(wanted);
    expect(present(...Object.keys(packageJson.devDependencies).map(module))).toEqual([]);
  });

  test('nothing of the build', () => {
    expect(present('/build', '/stage', '/packages', '/ca.pem', '/root/.npm', '/root/.npmrc')).toEqual([]);
    expect(entries.filter(({ path }) => /\.deb$|^\/var\/lib\/apt\/lists\/./.test(path))).toEqual([]);
  });

  test('nothing that tells on which day it was built', async () => {
    const daily = [
      '/var/log/dpkg.log',
      '/var/log/apt/history.log',
      '/var/cache/ldconfig/aux-cache',
      '/etc/shadow-',
    ];
    expect(present(...daily)).toEqual([]);
    expect(await inImage('grep ^mailwatchd: /etc/shadow')).toBe('mailwatchd:!:::::::');
  });
});

describe('its files', () => {
  test('the program and all that root runs is for root only to change', () => {
    const roots = entries.filter(
      ({ path }) =>
        path.startsWith(PROGRAM) ||
        path.startsWith('/etc/monit/') ||
        /^\/(etc\/init\.d|usr\/bin)\/mailwatchd$/.test(path),
    );
    expect(roots.filter(({ owner }) => owner !== '0:0')).toEqual([]);
    const writable = ({ kind, mode }: Entry) => kind !== 'l' && (Number.parseInt(mode, 8) & 0o022) !== 0;
    expect(roots.filter(writable)).toEqual([]);
  });

  test.each([
    [PROGRAM, '755', '0:0'],
    [`${PROGRAM}/bin/node`, '755', '0:0'],
    [`${PROGRAM}/dist/main.js`, '644', '0:0'],
    [`${PROGRAM}/package.json`, '644', '0:0'],
    [`${PROGRAM}/LICENSE`, '644', '0:0'],
    [`${PROGRAM}/arrange`, '755', '0:0'],
    [`${PROGRAM}/check-mailbox`, '755', '0:0'],
    [`${PROGRAM}/entrypoint`, '755', '0:0'],
    ['/usr/bin/mailwatchd', '755', '0:0'],
    ['/etc/init.d/mailwatchd', '755', '0:0'],
    ['/etc/monit/monitrc', '600', '0:0'],
    ['/etc/monit/conf.d/mailwatchd', '644', '0:0'],
    ['/usr/share/doc/mailwatchd/mailwatchd.yaml', '644', '0:0'],
    ['/etc/mailwatchd', '755', '0:0'],
    ['/var/spool/mailwatchd', '2770', '900:900'],
    ['/var/lib/mailwatchd', '750', '900:900'],
    ['/var/log/mailwatchd', '750', '900:900'],
  ])('%s has mode %s and belongs to %s', (path, mode, owner) => {
    expect(entry(path)).toMatchObject({ mode, owner });
  });

  test('the service has a user without shell and home, and nobody has the number 1000', async () => {
    expect(await inImage('getent passwd mailwatchd')).toBe(
      'mailwatchd:x:900:900::/nonexistent:/usr/sbin/nologin',
    );
    expect(await inImage('getent passwd 1000; getent group 1000; ls /home')).toBe('');
  });

  test('Node.js 24 runs there, and the program with it', async () => {
    expect(await inImage(`${PROGRAM}/bin/node --version`)).toMatch(/^v24\./);
    expect(await inImage('mailwatchd --version')).toBe(packageJson.version);
    expect(JSON.parse(await inImage('mailwatchd schema'))).toEqual(
      JSON.parse(readFileSync(join(REPOSITORY, 'schema/message-v1.json'), 'utf8')),
    );
  });
});

describe('scripts/stage', () => {
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'mailwatchd-stage-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const LISTING = 'cd "$0" && find . -printf "%p %y %m %l\\n" | LC_ALL=C sort';
  const contentOf = async (target: string) => {
    const [names, hashes] = await Promise.all(
      [LISTING, HASHES].map((script) => run('sh', ['-c', script, target])),
    );
    return names?.stdout + (hashes?.stdout ?? '');
  };

  test('lays out the same whatever umask and what lies there, and leaves our own packages alone', async () => {
    const [first, second] = [join(directory, 'first'), join(directory, 'second')];
    const ours = () => statSync(join(REPOSITORY, 'node_modules')).mtimeMs;
    const before = ours();
    await run('sh', ['-c', 'umask 077 && scripts/stage "$0"', first]);
    cpSync(first, second, { recursive: true });
    // What a former version left.
    writeFileSync(join(second, PROGRAM, 'dist/former.js'), '');
    await run('sh', ['-c', 'umask 0 && scripts/stage "$0"', second]);
    expect(await contentOf(second)).toBe(await contentOf(first));
    expect(ours()).toBe(before);
  });

  test('gives a plain machine the very program that the image has', async () => {
    const target = join(directory, 'compared');
    await run('scripts/stage', [target]);
    const { stdout } = await run('sh', ['-c', HASHES, join(target, PROGRAM)]);
    const ofTheImageOnly = / \.\/(bin\/node|entrypoint|take-directories)$/;
    const inside = (await inImage(`set -- ; ${HASHES.replace('"$0"', PROGRAM)}`))
      .split('\n')
      .filter((line) => !ofTheImageOnly.test(line));
    expect(inside).toEqual(stdout.trimEnd().split('\n'));
  });

  test('takes the program of Node.js that it is told', async () => {
    const target = join(directory, 'with-node');
    const node = join(directory, 'node');
    writeFileSync(node, 'a program\n', { mode: 0o700 });
    await run('scripts/stage', [target, '--node', node]);
    const laidOut = join(target, PROGRAM, 'bin/node');
    expect(readFileSync(laidOut, 'utf8')).toBe('a program\n');
    expect((statSync(laidOut).mode & 0o777).toString(8)).toBe('755');
  });
});

describe('a second build, behind a mirror with an authority of its own', () => {
  const rebuilt = `mailwatchd-rebuilt:${process.pid}`;
  const mark = `mark-${randomUUID()}`;
  let ca = '';
  let output = '';
  let asked: string[] = [];

  beforeAll(async () => {
    using certificates = createCertificates();
    await using mirror = await startPackageMirror(mark, STAND_IN ? 'Debian' : 'Ubuntu', certificates.valid);
    ca = readFileSync(certificates.ca, 'utf8');
    const scratch = mkdtempSync(join(tmpdir(), 'mailwatchd-image-'));
    try {
      const trusted = process.env.NODE_EXTRA_CA_CERTS;
      const bundle = join(scratch, 'bundle.pem');
      writeFileSync(bundle, (trusted && existsSync(trusted) ? readFileSync(trusted, 'utf8') : '') + ca);
      const proxies = `127.0.0.1,${mark}.example`;
      const { stdout } = await run(
        'scripts/image',
        [...(STAND_IN ? ['--stand-in', STAND_IN] : []), '--tag', rebuilt, '--verify', IMAGE],
        {
          NPM_CONFIG_REGISTRY: mirror.npm,
          APT_MIRROR: mirror.apt,
          NODE_EXTRA_CA_CERTS: bundle,
          no_proxy: proxies,
          NO_PROXY: proxies,
        },
      );
      output = stdout;
    } finally {
      asked = mirror.asked;
      rmSync(scratch, { recursive: true, force: true });
    }
  }, 600_000);

  afterAll(async () => {
    await docker('rmi', rebuilt);
  });

  test('makes the same files', () => {
    expect(output).toMatch(/the same \d+ lines of names, modes, owners and hashes/);
  });

  test('tells its size and the number of packages', () => {
    expect(output).toMatch(new RegExp(`^${rebuilt}: \\d+ MB, \\d+ Debian packages$`, 'm'));
  });

  test('came from the mirror', () => {
    expect(asked).toContainEqual(expect.stringMatching(/^apt\/pool\/.*\/monit_.*\.deb$/));
    expect(asked).toContainEqual(expect.stringMatching(/^npm\/imapflow/));
  });

  test('holds no trace of mirror and authority: not in its history, configuration or any layer', async () => {
    const history = await dockerOk('history', '--no-trunc', '--format', '{{json .}}', rebuilt);
    const config = await dockerOk('image', 'inspect', rebuilt);
    const certificateLine = ca.split('\n')[3] ?? '';
    expect(certificateLine.length).toBeGreaterThan(60);
    for (const text of [history, config])
      for (const trace of [mark, certificateLine]) expect(text).not.toContain(trace);

    expect(await textsIn('save', rebuilt, [mark, certificateLine, LICENSE])).toEqual([LICENSE]);
  });
});
