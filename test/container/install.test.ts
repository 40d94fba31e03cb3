/** A plain Debian machine: installed, used by its init script, upgraded, and removed without a trace. */

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EmbeddedServer, startEmbeddedServer } from '../servers/embedded.ts';
import { until } from '../servers/until.ts';
import { type Machine, machineKind, startMachine } from './machine.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const SCRIPTS = join(REPOSITORY, 'scripts');
const SERVICE = '/etc/init.d/mailwatchd';
const STORAGE = '/var/spool/mailwatchd';
/** For find: the daemon's directories, where files come and go. */
const LIVE = `${STORAGE} /var/lib/mailwatchd /var/log/mailwatchd -ignore_readdir_race`;

/** What scripts/stage laid out: a plain machine has no npm to build with. */
let staged = '';
let install = '';

beforeAll(async () => {
  staged = mkdtempSync(join(tmpdir(), 'staged-'));
  const node = join(REPOSITORY, 'node_modules/node/bin/node');
  await promisify(execFile)(join(SCRIPTS, 'stage'), [staged, '--node', node]);
  install = `${SCRIPTS}/install --from ${staged}`;
});

afterAll(() => rmSync(staged, { recursive: true, force: true }));

const plainMachine = () => startMachine([SCRIPTS, staged]);

async function installedMachine(): Promise<Machine> {
  const machine = await plainMachine();
  try {
    await machine.must(install);
    return machine;
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}

/** An account on a port of loopback, where by default nobody listens. */
const configuration = (port = 9, changes: object = {}) =>
  JSON.stringify({
    accounts: [
      {
        name: 'support',
        host: '127.0.0.1',
        port,
        security: 'none',
        user: 'ann',
        password: { env: 'SUPPORT_PASSWORD' },
        folders: ['INBOX'],
        start: 'all',
        ...changes,
      },
    ],
  });

/** Writes it as its operator would; the password stands in /etc/default. */
const configure = (machine: Machine, text: string) =>
  machine.must(`
    cat >/etc/mailwatchd/mailwatchd.yaml <<'END'
${text}
END
    echo 'SUPPORT_PASSWORD=secret' >/etc/default/mailwatchd
  `);

/** The daemons that run, by their pids. */
async function daemons(machine: Machine): Promise<string[]> {
  const { stdout } = await machine.run(
    `grep -lsaF dist/main.js /proc/[0-9]*/cmdline | while read -r file; do
      tr '\\0' ' ' <"$file" | grep -q '^/usr/lib/mailwatchd/bin/node .*/dist/main.js run ' && echo "$file"
    done`,
  );
  return stdout.split('\n').flatMap((line) => /\d+/.exec(line)?.[0] ?? []);
}

const startServer = () => startEmbeddedServer({ user: 'ann', password: 'secret' });

/** Delivers a message and resolves with its document once it is published. */
async function mailFlows(machine: Machine, server: EmbeddedServer): Promise<{ subject: string }> {
  const uid = server.deliver(
    Buffer.from(`From: ann@example.org\r\nSubject: number ${Math.random()}\r\n\r\nHello\r\n`),
  );
  const text = await until(`message ${uid}`, async () => {
    const { stdout } = await machine.run(`cat ${STORAGE}/support/*/*/*/INBOX-*-${uid}.json`);
    return stdout === '' ? null : stdout;
  });
  return JSON.parse(text) as { subject: string };
}

/** All names where an installation could leave something, but for what useradd leaves beside its files. */
const snapshot = async (machine: Machine): Promise<string[]> =>
  (
    await machine.must(`{
      find /etc /usr /opt /srv /run -xdev
      find /var -xdev -maxdepth 2
      find /var/*/mailwatchd || :
    } 2>/dev/null | sort -u`)
  )
    .split('\n')
    .filter(
      (path) => !/^\/etc\/(passwd|shadow|group|gshadow|subuid|subgid)-$|^\/etc\/\.pwd\.lock$/.test(path),
    );

test('lays out program, user and directories, and starts nothing', async () => {
  await using machine = await plainMachine();
  const said = await machine.must(install);
  expect(said).toContain('mailwatchd check');
  expect(said).toContain(`${SERVICE} start`);

  const layout = await machine.must(
    `stat -Lc '%a %U:%G %F %n' /usr/lib/mailwatchd /usr/lib/mailwatchd/bin/node /usr/lib/mailwatchd/check-mailbox \\
      /usr/bin/mailwatchd ${SERVICE} /etc/mailwatchd /etc/mailwatchd/mailwatchd.yaml.example /etc/default/mailwatchd \\
      ${STORAGE} /var/lib/mailwatchd /var/log/mailwatchd`,
  );
  expect(layout.split('\n')).toEqual([
    '755 root:root directory /usr/lib/mailwatchd',
    '755 root:root regular file /usr/lib/mailwatchd/bin/node',
    '755 root:root regular file /usr/lib/mailwatchd/check-mailbox',
    '755 root:root regular file /usr/bin/mailwatchd',
    `755 root:root regular file ${SERVICE}`,
    '750 root:mailwatchd directory /etc/mailwatchd',
    '640 root:mailwatchd regular file /etc/mailwatchd/mailwatchd.yaml.example',
    '600 root:root regular file /etc/default/mailwatchd',
    `2770 mailwatchd:mailwatchd directory ${STORAGE}`,
    '750 mailwatchd:mailwatchd directory /var/lib/mailwatchd',
    '750 mailwatchd:mailwatchd directory /var/log/mailwatchd',
  ]);
  expect(await machine.must('find /usr/lib/mailwatchd/ ! -user root -o -perm /022 ! -type l')).toBe('');
  expect(await machine.must('getent passwd mailwatchd')).toMatch(/:\/nonexistent:\/usr\/sbin\/nologin$/);
  expect(await machine.must('cat /etc/mailwatchd/mailwatchd.yaml.example')).toBe(
    readFileSync(join(REPOSITORY, 'config/mailwatchd.yaml'), 'utf8').trimEnd(),
  );
  expect(await machine.must('ls /etc/rc2.d /etc/rc6.d')).toMatch(/S\d\dmailwatchd.*K\d\dmailwatchd/s);
  expect(await machine.run(`${SERVICE} status`)).toMatchObject({ status: 3 });
  expect(await daemons(machine)).toEqual([]);
});

test('mail flows, into files of the service only, by a daemon without privileges', async () => {
  await using server = await startServer();
  await using machine = await installedMachine();
  await configure(machine, configuration(server.port));
  expect(await machine.must('set -a; . /etc/default/mailwatchd; mailwatchd check')).toContain(
    'support/INBOX',
  );
  await machine.must(`A_STRANGER=x ${SERVICE} start`);
  expect((await mailFlows(machine, server)).subject).toMatch(/^number/);

  expect(await machine.must(`find ${LIVE} ! -user mailwatchd`)).toBe('');
  expect(await machine.must(`find ${LIVE} -name 'INBOX*.json' -printf '%m %g\\n'`)).toBe('640 mailwatchd');
  const [pid] = await daemons(machine);
  const status = await machine.must(`cat /proc/${pid}/status`);
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    expect(status).toMatch(new RegExp(`^${set}:\\s+0+$`, 'm'));
  expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
  expect(status).toMatch(/^Umask:\s+0027$/m);
  // As its own user, since root without CAP_SYS_PTRACE may not read it.
  const environment = await machine.must(
    `runuser -u mailwatchd -- cat /proc/${pid}/environ | tr '\\0' '\\n'`,
  );
  const names = environment.split('\n').map((line) => line.replace(/=.*/, ''));
  expect(names).toEqual(['SUPPORT_PASSWORD']);
});

test('a faulty configuration: the start prints its faults, and nothing runs', async () => {
  await using machine = await installedMachine();
  await configure(machine, configuration(9, { port: 'x', folders: [] }));
  const { status, stderr } = await machine.run(`${SERVICE} start`);
  expect(status).toBe(6);
  expect(stderr).toContain('accounts[0].port');
  expect(stderr).toContain('accounts[0].folders');
  const after = await machine.run(`${SERVICE} status`);
  expect(after.status).not.toBe(0);
  expect(after.stdout).toContain('accounts[0].port');
  expect(await daemons(machine)).toEqual([]);
});

test('an unreachable server does not keep it from starting', async () => {
  await using machine = await installedMachine();
  await configure(machine, configuration());
  await machine.must(`${SERVICE} start`);
  expect(await machine.run(`${SERVICE} status`)).toMatchObject({ status: 0 });
  const { mailboxes } = JSON.parse(await machine.must('mailwatchd status --json')) as {
    mailboxes: { folder: string }[];
  };
  expect(mailboxes).toMatchObject([{ folder: 'INBOX' }]);
});

test('a consumer’s group on the storage gets the mail, and neither ledger nor log', async () => {
  await using server = await startServer();
  await using machine = await installedMachine();
  await configure(machine, configuration(server.port));
  await machine.must(`usermod -aG games mailwatchd && chgrp games ${STORAGE} && ${SERVICE} start`);
  await mailFlows(machine, server);
  expect(await machine.must(`find ${LIVE} -name 'INBOX*.json' -printf '%m %u:%g'`)).toBe(
    '640 mailwatchd:games',
  );
  expect(
    await machine.must(`find /var/lib/mailwatchd /var/log/mailwatchd -ignore_readdir_race -group games`),
  ).toBe('');
});

test('two starts at once give one daemon', async () => {
  await using machine = await installedMachine();
  await configure(machine, configuration());
  const said = await machine.must(`${SERVICE} start & first=$!; ${SERVICE} start && wait $first`);
  expect(said).toContain('runs already');
  expect(await daemons(machine)).toHaveLength(1);
});

test('stop, start and restart', async () => {
  await using server = await startServer();
  await using machine = await installedMachine();
  await configure(machine, configuration(server.port));
  await machine.must(`${SERVICE} start`);
  const [first] = await daemons(machine);
  await machine.must(`${SERVICE} restart`);
  const [second] = await daemons(machine);
  expect(second).not.toBe(first);
  await mailFlows(machine, server);
  await machine.must(`${SERVICE} stop`);
  expect(await daemons(machine)).toEqual([]);
  expect(await machine.run(`${SERVICE} status`)).toMatchObject({ status: 3 });
  expect(await machine.must(`ls /run/mailwatchd ${STORAGE}/.staging`)).not.toMatch(/mailwatchd\.pid|Z-/);
  await machine.must(`${SERVICE} start`);
  await mailFlows(machine, server);
});

test('reload takes a good configuration over, and refuses a faulty one', async () => {
  await using server = await startServer();
  await using machine = await installedMachine();
  await configure(machine, configuration());
  await machine.must(`${SERVICE} start`);
  const before = await daemons(machine);

  await configure(machine, configuration(9, { start: 'whenever' }));
  const { status, stderr } = await machine.run(`${SERVICE} reload`);
  expect(status).toBe(6);
  expect(stderr).toContain('accounts[0].start');

  await configure(machine, configuration(server.port));
  await machine.must(`${SERVICE} reload`);
  await mailFlows(machine, server);
  expect(await daemons(machine)).toEqual(before);
});

test('an upgrade leaves settings and the running daemon alone', async () => {
  await using server = await startServer();
  await using machine = await installedMachine();
  await configure(machine, configuration(server.port));
  await machine.must(`chmod 2775 ${STORAGE} && ${SERVICE} start`);
  const before = await daemons(machine);
  const version = () => machine.must('readlink /usr/lib/mailwatchd');
  const old = await version();

  expect(await machine.must(install)).toContain(`${SERVICE} restart`);
  expect(await version()).not.toBe(old);
  expect(await machine.must(`stat -c %a ${STORAGE}`)).toBe('2775');
  expect(await machine.must('cat /etc/default/mailwatchd')).toBe('SUPPORT_PASSWORD=secret');
  expect(await daemons(machine)).toEqual(before);
  // The next parser is started from the old version's files. The brackets: not this shell itself.
  await machine.must(`
    for file in $(grep -lsa '[/]dist/message/parser-process' /proc/[0-9]*/cmdline); do
      pid=\${file#/proc/} && kill -KILL "\${pid%/cmdline}"
    done`);
  await mailFlows(machine, server);

  await machine.must(`${SERVICE} restart && ${install}`);
  await mailFlows(machine, server);
  expect((await machine.must('ls -d /usr/lib/mailwatchd-*')).split('\n')).not.toContain(old);
});

test('removed, it leaves what is the operator’s; purged, only the mail', async () => {
  await using server = await startServer();
  await using machine = await plainMachine();
  // Debian's newer base has no service yet, and none of the directories of all.
  await machine.must('mkdir -p /etc/init.d');
  const before = await snapshot(machine);
  await machine.must(install);
  await configure(machine, configuration(server.port));
  await machine.must(`${SERVICE} start`);
  await mailFlows(machine, server);

  const added = async () => {
    const known = new Set(before);
    return (await snapshot(machine)).filter((path) => !known.has(path));
  };
  await machine.must(`${SCRIPTS}/install --remove`);
  expect(await daemons(machine)).toEqual([]);
  const kept = await added();
  expect(kept.filter((path) => !/^\/var\/(spool|lib|log)\/mailwatchd/.test(path))).toEqual([
    '/etc/default/mailwatchd',
    '/etc/mailwatchd',
    '/etc/mailwatchd/mailwatchd.yaml',
  ]);
  expect(kept).toContain('/var/lib/mailwatchd/ledger.db');

  // What was kept is what a new installation goes on with.
  await machine.must(`${install} && ${SERVICE} start`);
  await mailFlows(machine, server);
  expect(JSON.parse(await machine.must('mailwatchd status --json'))).toMatchObject({
    mailboxes: [{ healthy: true }],
  });

  const said = await machine.must(`${SCRIPTS}/install --purge`);
  expect(said).toContain(STORAGE);
  expect(await daemons(machine)).toEqual([]);
  const left = await added();
  expect(left.filter((path) => path.endsWith('.json'))).toHaveLength(2);
  expect(left.filter((path) => !path.startsWith(STORAGE))).toEqual([]);
  expect((await machine.run('getent passwd mailwatchd || getent group mailwatchd')).stdout).toBe('');
  expect(await machine.must(`find ${STORAGE} -nouser -o -nogroup -o ! -user root`)).toBe('');

  // Its number went to somebody else meanwhile.
  await machine.must(`useradd --system somebody && ${install} && userdel somebody`);
  await configure(machine, configuration(server.port));
  const refused = await machine.run(`${SERVICE} start`);
  expect(refused.stderr).toContain('STORAGE_NOT_PAIRED');
  await machine.must(`mailwatchd adopt --yes && rm -r ${STORAGE}/support && ${SERVICE} start`);
  await mailFlows(machine, server);
});

test('one kind of service takes the place of the other, and an upgrade keeps it', async () => {
  await using machine = await plainMachine();
  const services = async () =>
    (await machine.run(`ls ${SERVICE} /etc/rc2.d/*mailwatchd /etc/systemd/system/mailwatchd.service`)).stdout;
  await machine.must(`${install} --init systemd`);
  expect(await services()).toBe('/etc/systemd/system/mailwatchd.service\n');
  await machine.must(install);
  expect(await services()).toBe('/etc/systemd/system/mailwatchd.service\n');
  await machine.must(`${install} --init sysv`);
  expect(await services()).toMatch(/^\/etc\/init\.d\/mailwatchd\n\/etc\/rc2\.d\/S\d\dmailwatchd\n$/);
});

// The image's tests show the rest of Monit; where there is no Docker, this machine's Monit shows it here.
test.runIf(machineKind === 'namespace')(
  'Monit on the machine starts it again, until it is removed',
  async () => {
    await using server = await startServer();
    await using machine = await installedMachine();
    await configure(machine, configuration(server.port));
    await machine.must(`
    umask 077
    cat >/etc/monit/monitrc <<'END'
set daemon 1
set pidfile /run/monit.pid
set idfile /run/monit.id
set statefile /run/monit.state
set httpd unixsocket /run/monit.socket
  allow root:root
include /etc/monit/conf.d/*
END
    monit -t && monit`);
    const daemonOtherThan = (former?: string) =>
      until('the daemon', async () => {
        const [pid, second] = await daemons(machine);
        expect(second).toBeUndefined();
        return pid !== undefined && pid !== former ? pid : null;
      });
    const first = await daemonOtherThan();
    await mailFlows(machine, server);
    await machine.must(`kill -KILL ${first}`);
    const second = await daemonOtherThan(first);
    await mailFlows(machine, server);
    await until('a check of the mailbox', async () =>
      /support INBOX.*OK/.test((await machine.run('monit summary -B')).stdout),
    );

    await machine.must('monit stop mailwatchd');
    await until('its end', async () => (await daemons(machine)).length === 0);
    await machine.must('monit start mailwatchd');
    await daemonOtherThan(second);

    await machine.must(`${SCRIPTS}/install --remove`);
    // It waits in vain for the start that it began meanwhile, if it did.
    const forgotten = async () => !/mailwatchd/.test(await machine.must('monit summary -B'));
    await until('Monit to forget it', forgotten, 90_000);
    expect(await daemons(machine)).toEqual([]);
  },
);

test.runIf(machineKind === 'namespace' && existsSync('/usr/bin/systemd-analyze'))(
  'systemd finds no fault in the unit, and little that it exposes',
  async () => {
    await using machine = await plainMachine();
    await machine.must(`${install} --init systemd`);
    const unit = '/etc/systemd/system/mailwatchd.service';
    const verdict = await machine.run(`systemd-analyze verify --man=no ${unit}`);
    expect(verdict).toEqual({ status: 0, stdout: '', stderr: '' });
    // From 0, nothing, to 10: what a daemon can do that nobody confined is at 9.6. The threshold is in tenths.
    await machine.must(`systemd-analyze security --offline=yes --threshold=20 --no-pager ${unit}`);
  },
);

test('refuses what it does not know, what is not staged, and whoever is not root', async () => {
  await using machine = await plainMachine();
  const before = await snapshot(machine);
  expect(await machine.run(`${install} --frobnicate`)).toMatchObject({ status: 64 });
  expect(await machine.run(`${install} --init upstart`)).toMatchObject({ status: 64 });
  expect(await machine.run(`${SCRIPTS}/install --from /etc`)).toMatchObject({ status: 1 });
  const asNobody = await machine.run(`setpriv --reuid 65534 --clear-groups -- ${install}`);
  expect(asNobody.status).toBe(1);
  expect(asNobody.stderr).toContain('sudo');
  expect(await snapshot(machine)).toEqual(before);
});
