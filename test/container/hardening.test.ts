/** The container without rights that it can do without, and with a service's user that has turned against it. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readDocument } from '../dovecot/documents.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { familyOf } from '../servers/processes.ts';
import { publishedFiles } from '../servers/published.ts';
import { formsOf } from '../torture/secrets/canaries.ts';
import { dockerOk, LICENSE, textsIn } from './docker.ts';
import { type Container, containerAccount, IMAGE, SPACED, startContainer } from './harness.ts';
import { startMailFlow } from './mail-flow.ts';
import { monitPage } from './monit-page.ts';

const INBOX = [{ account: 'support', user: 'ann', folder: 'INBOX' }];

const CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'KILL', 'SETGID', 'SETUID'] as const;

/** The command line of docs/security.md. */
const hardened = (capabilities: readonly string[] = CAPABILITIES): string[] => [
  ...['--read-only', '--tmpfs', '/run', '--tmpfs', '/tmp', '--security-opt', 'no-new-privileges'],
  ...['--pids-limit', '500', '--memory', '512m'],
  ...['--cap-drop', 'ALL', ...capabilities.flatMap((capability) => ['--cap-add', capability])],
];

const WITH_ATTACHMENT = Buffer.from(
  [
    'From: ann@example.org',
    'Subject: an invoice',
    'Message-ID: <invoice@example.org>',
    'Content-Type: multipart/mixed; boundary=b',
    '',
    '--b',
    'Content-Type: text/plain',
    '',
    'See the file.',
    '--b',
    'Content-Type: application/pdf',
    'Content-Disposition: attachment; filename="invoice.pdf"',
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from('not really a PDF').toString('base64'),
    '--b--',
    '',
  ].join('\r\n'),
);

test('the hardened command line: mail, attachments, stop and start on the page, kill -9', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    parameters: hardened(),
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  await mail.flows();

  const stopped = await mail.outage('hardened: stopped and started on the page', async () => {
    await container.page.press('mailwatchd', 'stop');
    await container.pageSays('mailwatchd', { status: /not monitored/i });
    expect(await container.daemon()).toBeNull();
  });
  await container.page.press('mailwatchd', 'start');
  await stopped.over();
  await container.pageSays('mailwatchd', { status: /^OK$/ });

  const killed = await mail.outage('hardened: kill -9 of the daemon', () => container.signalDaemon('KILL'));
  await killed.over();
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();

  await server.append('ann', 'INBOX', WITH_ATTACHMENT);
  const [file] = await container.until('the invoice', () => {
    const files = publishedFiles(container.storage);
    return files.length > 0 && files;
  });
  const { subject, attachments } = readDocument(file!);
  expect(subject).toBe('an invoice');
  const attachment = join(file!, '..', attachments[0]!.path!);
  expect(readFileSync(attachment, 'utf8')).toBe('not really a PDF');

  expect(await container.stop()).toBeLessThan(10_000);
  expect(await container.inspect('{{.State.ExitCode}} {{.State.OOMKilled}}')).toBe('0 false');
});

/** What no longer works without each of the capabilities, as the operator reads it. */
const LOSSES: Record<(typeof CAPABILITIES)[number], RegExp> = {
  CHOWN: /STORAGE_DENIED: .* chown -R 900:900/,
  DAC_OVERRIDE: /STORAGE_DENIED: .* cannot be entered/,
  KILL: /cannot be killed.*CAP_KILL/,
  SETGID: /setpriv: .*(setgroups|setresgid|initgroups)/,
  SETUID: /setpriv: setresuid/,
};

test.each(CAPABILITIES)('the list of capabilities is the shortest: not without %s', async (left) => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    parameters: hardened(CAPABILITIES.filter((capability) => capability !== left)),
  });
  if (left === 'KILL') {
    await container.watching();
    expect(await container.exec('/etc/init.d/mailwatchd', 'stop')).toMatchObject({ status: 1 });
  }
  await container.until(`the log to say ${LOSSES[left]}`, async () =>
    LOSSES[left].test(await container.logs()),
  );
});

interface Seen {
  status: Record<string, string>;
  environment: Record<string, string>;
  command: string;
  limits: string;
}

/** A process of the container as the host sees it: the first whose command line holds `part`. */
async function processWith(container: Container, part: string): Promise<Seen> {
  const init = Number(await container.inspect('{{.State.Pid}}'));
  const commands = familyOf(init).map(({ pid }) => ({ pid, command: procfs(pid, 'cmdline').join(' ') }));
  const found = commands.find(({ command }) => command.includes(part));
  if (!found) throw new Error(`no ${part} among ${commands.map(({ command }) => command).join('\n')}`);
  const { pid, command } = found;
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').trim().split('\n');
  const pairs = procfs(pid, 'environ').map((each) => [
    each.split('=')[0]!,
    each.slice(each.indexOf('=') + 1),
  ]);
  return {
    status: Object.fromEntries(lines.map((line) => line.trim().split(/:\s+/) as [string, string])),
    environment: Object.fromEntries(pairs),
    command,
    limits: readFileSync(`/proc/${pid}/limits`, 'utf8'),
  };
}

/** Strings with a NUL after each; none where the process is gone. */
function procfs(pid: number, file: 'cmdline' | 'environ'): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').filter(Boolean);
  } catch {
    return [];
  }
}

test('daemon and parser: their user, no privilege, and an environment of what was asked for', async () => {
  await using server = await startDovecot({ users: { ann: 'a', bob: 'b' } });
  await using container = await startContainer({
    accounts: [
      containerAccount(server, 'support', 'ann'),
      containerAccount(server, 'sales', 'bob', { password: { env: 'SALES_PASSWORD' } }),
    ],
    secrets: { ann: 'a' },
    environment: {
      ...{ SALES_PASSWORD: 'b', MAILWATCHD_LOG_LEVEL: 'debug', MAILWATCHD_PARSERS: '1' },
      ...{ AWS_SECRET_ACCESS_KEY: 'x', NODE_OPTIONS: '--no-warnings', LD_LIBRARY_PATH: '/nowhere', IFS: ':' },
      ...{ MONIT_USER: 'admin', MONIT_PASSWORD: 'unused', MANY_LINES: 'one\nFORGED=two\n', SALES: 'x' },
      // Names that the scripts have themselves.
      ...{ OK: 'x', run: 'x', name: 'x', console: 'x' },
    },
    parameters: hardened(),
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  await mail.flows();

  const daemon = await processWith(container, 'dist/main.js run');
  const parser = await processWith(container, 'parser-process.cjs');
  for (const { status, limits } of [daemon, parser]) {
    expect(limits).toMatch(/^Max core file size +0 +0 /m);
    expect(status).toMatchObject({
      ...{ Uid: '900\t900\t900\t900', Gid: '900\t900\t900\t900', Groups: '900', NoNewPrivs: '1' },
      ...{ CapInh: NO_CAPABILITY, CapPrm: NO_CAPABILITY, CapEff: NO_CAPABILITY, CapAmb: NO_CAPABILITY },
    });
  }
  expect(daemon.status.Umask).toBe('0027');
  const asked = { SALES_PASSWORD: 'b', MAILWATCHD_LOG_LEVEL: 'debug', MAILWATCHD_PARSERS: '1' };
  expect(daemon.environment).toEqual(asked);
  expect(Object.keys(parser.environment)).toEqual([]);
});

const NO_CAPABILITY = '0000000000000000';

test('passwords stand nowhere but where they were given', async () => {
  const canaries = { file: 'canary-of-the-file', variable: 'canary-of-the-variable' };
  const wrong = { file: 'canary-that-is-wrong', page: 'canary-of-the-page' };
  await using server = await startDovecot({
    users: { ann: canaries.file, bob: canaries.variable, eve: 'e' },
  });
  await using container = await startContainer({
    accounts: [
      containerAccount(server, 'support', 'ann'),
      containerAccount(server, 'sales', 'bob', { password: { env: 'SALES_PASSWORD' } }),
      containerAccount(server, 'lost', 'eve'),
    ],
    secrets: { monit_password: null, ann: canaries.file, eve: wrong.file },
    environment: {
      SALES_PASSWORD: canaries.variable,
      MONIT_PASSWORD: wrong.page,
      MAILWATCHD_LOG_LEVEL: 'debug',
    },
    parameters: hardened(),
  });
  const page = monitPage(container.page.url, 'admin', wrong.page);
  using mail = startMailFlow(server, container, INBOX);
  const lost = async () => (await page.rows().catch(() => [])).find(({ name }) => name === 'lost INBOX');
  const failing = await container.until('the wrong password on the page', async () => {
    const row = await lost();
    return row?.output.includes('AUTH') && row;
  });
  expect(failing.status).not.toBe('OK');
  await mail.flows();

  // Commands of every process, some of which live for moments only, while the daemon is stopped and started.
  const init = Number(await container.inspect('{{.State.Pid}}'));
  const commands = new Set<string>();
  const look = setInterval(() => {
    for (const { pid } of familyOf(init)) commands.add(procfs(pid, 'cmdline').join(' '));
  }, 5);
  expect(await container.exec('/etc/init.d/mailwatchd', 'restart')).toMatchObject({ status: 0 });
  await mail.flows();
  clearInterval(look);

  const rows = await page.rows();
  const pages = await Promise.all(
    ['/', '/_runtime', '/_status', '/_status?format=xml', ...rows.map(({ link }) => `/${link}`)].map((path) =>
      page.html(path.replace(/^\/\//, '/')),
    ),
  );
  // No command can be told of a NUL, as two-byte text has.
  const forms = [...Object.values(canaries), ...Object.values(wrong)]
    .flatMap((canary) => formsOf(canary).map(String))
    .filter((form) => !form.includes('\0'));
  const inspected = JSON.parse(await dockerOk('inspect', container.name, IMAGE));
  const environment: string[] = inspected[0].Config.Env.splice(0);
  const places = {
    commands: [...commands].join('\n'),
    pages: pages.join('\n'),
    logs: await container.logs(),
    history: await dockerOk('history', '--no-trunc', '--format', '{{json .}}', IMAGE),
    inspection: JSON.stringify(inspected),
  };
  expect(commands.size).toBeGreaterThan(5);
  expect(places.pages).toContain('AUTH');
  expect(places.logs).toContain('sales/INBOX');
  expect(places.history).toContain('tini');
  expect(places.inspection).toContain('/run/secrets');
  for (const [place, text] of Object.entries(places)) {
    for (const form of forms) expect(text.includes(form), `${form} in ${place}`).toBe(false);
  }

  // Variables are shown to everybody who may inspect; what is in files is not.
  const holding = (variables: string[]) =>
    variables.filter((each) => forms.some((form) => each.includes(form))).sort();
  const daemon = await processWith(container, 'dist/main.js run');
  expect(holding(Object.values(daemon.environment))).toEqual([canaries.variable]);
  expect(holding(environment)).toEqual([
    `MONIT_PASSWORD=${wrong.page}`,
    `SALES_PASSWORD=${canaries.variable}`,
  ]);

  expect(await textsIn('export', container.name, [LICENSE, ...forms])).toEqual([LICENSE]);
  // What is mounted is in no layer: volumes, secrets, memory.
  const patterns = forms.flatMap((form) => ['-e', form]);
  const files = await container.exec(
    ...['grep', '-rlF', ...patterns, '/run', '/tmp', '/var/lib/mailwatchd', '/var/log/mailwatchd'],
    '/var/spool/mailwatchd',
  );
  // Monit reads it there.
  const monits = '/run/mailwatchd/monit-page';
  expect(files.stdout.trim().split('\n').sort()).toEqual([monits, '/run/secrets/ann', '/run/secrets/eve']);
  const access = await container.exec('stat', '-c', '%a %U', monits);
  expect(access.stdout.trim()).toBe('600 root');
  await mail.expectEachOnce();
});

const asService = (script: string, ...parameters: string[]): string[] => [
  ...[
    'setpriv',
    '--reuid',
    '900',
    '--regid',
    '900',
    '--clear-groups',
    'sh',
    '-c',
    script,
    'sh',
    ...parameters,
  ],
];

test("root's files: the pid file, and nothing that the service's user could change", async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  await container.watching();
  const { stdout } = await container.exec('stat', '-c', '%U:%G %a', '/run/mailwatchd/mailwatchd.pid');
  expect(stdout.trim()).toBe('root:root 644');
  const pid = await container.exec('cat', '/run/mailwatchd/mailwatchd.pid');
  expect(pid.stdout).toMatch(/^\d+\n$/);

  // `test -w` is the system's own answer, for links that of what they lead to.
  const writable = await container.exec(
    ...asService('find /etc /usr /opt /root /run/mailwatchd -writable ! -type l 2>/dev/null; echo end'),
  );
  expect(writable.stdout.trim().split('\n')).toEqual(['end']);
  const tried = await container.exec(
    ...asService('echo 1 >/run/mailwatchd/mailwatchd.pid; rm -f /run/mailwatchd/mailwatchd.pid'),
  );
  expect(tried.status).not.toBe(0);
  expect(await container.daemon()).toBe(Number(pid.stdout));

  // Whoever held the lock would keep everybody from stopping the daemon.
  const locked = await container.exec(...asService('flock --nonblock /run/mailwatchd/lock true'));
  expect(locked).toMatchObject({ status: 66, stderr: expect.stringContaining('Permission denied') });
});

interface Shared extends AsyncDisposable {
  container: Container;
  data: string;
}

/** All directories below one that is mounted, which belongs to the service's user: it can replace them. */
async function startShared(server: Dovecot): Promise<Shared> {
  const data = mkdtempSync(join(tmpdir(), 'mailwatchd-shared-'));
  chmodSync(data, 0o755);
  for (const name of ['mail', 'state', 'log']) mkdirSync(join(data, name));
  const container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
    settings: {
      storage: { directory: '/srv/data/mail' },
      state: { directory: '/srv/data/state' },
      log: { directory: '/srv/data/log' },
    },
    storage: join(data, 'mail'),
    state: join(data, 'state'),
    parameters: ['--volume', `${data}:/srv/data`],
  });
  const remove = () => rmSync(data, { recursive: true, force: true, maxRetries: 5 });
  return {
    container,
    data,
    async [Symbol.asyncDispose]() {
      await container[Symbol.asyncDispose]();
      remove();
    },
  };
}

const ownersOf = async (container: Container, ...paths: string[]): Promise<string> =>
  (await container.exec('stat', '-c', '%n %u', ...paths)).stdout.trim();

test('state, storage or log replaced by a link: what it leads to stays what it was', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using shared = await startShared(server);
  const { container } = shared;
  await container.watching();
  await container.exec('chown', '900:900', '/srv/data');
  // There is nothing of that name outside of the container, where the links lie as well.
  const precious = '/srv/of-root';
  await container.exec('sh', '-c', 'mkdir "$1" && echo x >"$1/file"', 'sh', precious);
  const service = (action: string) => container.exec('/etc/init.d/mailwatchd', action);

  for (const name of ['mail', 'log', 'state']) {
    expect(await service('stop')).toMatchObject({ status: 0 });
    const replaced = asService('cd /srv/data && mv "$1" was && ln -s "$2" "$1"', name, precious);
    expect(await container.exec(...replaced)).toMatchObject({ status: 0 });
    expect(await service('start')).toMatchObject({
      status: 6,
      stderr: expect.stringMatching(/STORAGE_DENIED: .*is a link/),
    });
    const owners = await ownersOf(container, precious, `${precious}/file`);
    expect(owners).toBe(`${precious} 0\n${precious}/file 0`);
    if (name === 'state')
      await container.pageSays('heartbeat', { status: /failed/, output: /is a link/ }, SPACED);
    await container.exec(...asService('cd /srv/data && rm "$1" && mv was "$1"', name));
    expect(await service('start')).toMatchObject({ status: 0 });
  }
  using mail = startMailFlow(server, container, INBOX);
  await mail.flows();
  await mail.expectEachOnce();
});

test('.staging replaced by a link, and another user who gets it: only the link is given away', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  await container.watching();
  await container.exec('mkdir', '/srv/of-root');
  expect(await container.exec('/etc/init.d/mailwatchd', 'stop')).toMatchObject({ status: 0 });
  await container.exec(
    ...asService('cd /var/spool/mailwatchd && rm -rf .staging && ln -s /srv/of-root .staging'),
  );
  await container.exec(...['chown', '-h', '1000:1000', '/var/spool/mailwatchd/.staging']);
  await container.exec('/etc/init.d/mailwatchd', 'start');
  const owners = await ownersOf(container, '/var/spool/mailwatchd/.staging', '/srv/of-root');
  expect(owners).toBe('/var/spool/mailwatchd/.staging 900\n/srv/of-root 0');
});

test('forged files in the state directory: no check hangs, and the page shows them as text', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  // The daemon cannot write its own over them then.
  await container.exec(
    ...asService('cd /var/lib/mailwatchd && mkdir mailboxes.new && rm mailboxes && mkfifo mailboxes'),
  );
  const check = ['timeout', '20', '/usr/lib/mailwatchd/check-mailbox', 'support INBOX'];
  expect(await container.exec(...check)).toMatchObject({
    status: 1,
    stdout: expect.stringContaining('cannot be read'),
  });
  await container.pageSays('support INBOX', { output: /cannot be read/ });

  const forged = '<script>alert(1)</script>';
  await container.exec(
    ...asService(
      'cd /var/lib/mailwatchd && rm mailboxes && printf "support/INBOX\\tfailing\\t%s\\n" "$1" >mailboxes',
      forged,
    ),
  );
  await container.pageSays('support INBOX', { output: /<script>alert\(1\)<\/script>/ });
  expect(await container.page.html('/')).not.toContain(forged);

  // What was a line break of the server's is shown as it was escaped.
  const escaped = String.raw`first\nsecond\033[31m\cthird`;
  await container.exec(
    ...asService('printf "support/INBOX\\tfailing\\t%s\\n" "$1" >/var/lib/mailwatchd/mailboxes', escaped),
  );
  expect(await container.exec(...check)).toMatchObject({ status: 1, stdout: `${escaped}\n` });

  const status = ['timeout', '20', '/etc/init.d/mailwatchd', 'status'];
  for (const heartbeat of ['mkfifo heartbeat', 'ln -s /dev/zero heartbeat', 'ln -s heartbeat heartbeat']) {
    await container.exec(...asService(`cd /var/lib/mailwatchd && rm -f heartbeat && ${heartbeat}`));
    // Whatever it says of the life of that daemon, it says it.
    expect((await container.exec(...status)).stdout).toContain('runs as process');
  }
  await mail.flows();
});

test("a process of the service's user cannot meddle with the daemon's inside, or with what root goes by", async () => {
  await using server = await startDovecot({ users: { ann: 'a', bob: 'b' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a', bob: 'b' },
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  const pid = await container.daemon();

  // SIGUSR1 opens the debugger of a Node.js process, to whoever can connect.
  const signalled = await container.exec(...asService('kill -USR1 "$1"', String(pid)));
  expect(signalled).toMatchObject({ status: 0 });
  await mail.flows();
  expect(await container.daemon()).toBe(pid);
  expect(await container.logs()).not.toContain('Debugger listening');

  // It may end whatever runs as its user, over and over.
  await container.exec(
    ...asService(
      `(while :; do for each in /proc/[0-9]*; do
        grep -aq 'main.js.describe' "$each/cmdline" && kill -KILL "\${each#/proc/}"
      done; done) >/dev/null 2>&1 & echo $!`,
    ),
  );
  container.configure({
    accounts: [containerAccount(server, 'support', 'ann'), containerAccount(server, 'sales', 'bob')],
  });
  expect(await container.exec('/etc/init.d/mailwatchd', 'reload')).toMatchObject({ status: 0 });
  await container.pageSays('sales INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});
