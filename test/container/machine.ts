/** A Debian machine to install on and to run commands on as root: a container, or a private view of this machine. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from '../dovecot/workplace.ts';
import { descendantsOf } from '../servers/processes.ts';
import { until } from '../servers/until.ts';
import { dockerOk } from './docker.ts';

export interface Machine extends AsyncDisposable {
  /** Runs a shell script as root, to its end. */
  run(script: string): Promise<Outcome>;
  /** The same; rejects with what it said where its status is not 0. Resolves with its stdout, without the last line end. */
  must(script: string): Promise<string>;
}

/** A machine that nobody ended ends itself. */
const LIFETIME_SECONDS = 1800;

/** Names of all files of a machine. */
const MAX_OUTPUT = 2 ** 26;

/** Nothing that is run on a machine takes so long, ms. */
const COMMAND_WITHIN = 120_000;

/** Its first process: looks after orphans, as an init does. */
const INIT = `sleep ${LIFETIME_SECONDS} & wait $!`;

/** As in a container: nothing of what our own environment holds. */
const PLAIN = [
  'env',
  '-i',
  'HOME=/root',
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
];

/**
 * Starts one. It sees the directories `shared` under their own names, not to be written to, and this machine's
 * loopback addresses.
 */
export async function startMachine(shared: string[]): Promise<Machine> {
  if (machineKind === 'container') return startContainer(shared);
  if (machineKind === 'namespace') return startNamespace(shared);
  return useThisMachine();
}

async function startContainer(shared: string[]): Promise<Machine> {
  const name = `mailwatchd-machine-${randomUUID()}`;
  const label = `mailwatchd-test=${process.env.MAILWATCHD_TEST_RUN ?? process.pid}`;
  const volumes = shared.flatMap((path) => ['--volume', `${path}:${path}:ro`]);
  const options = ['--detach', '--network', 'host', '--name', name, '--label', label, ...volumes];
  await dockerOk(
    'run',
    ...options,
    '--entrypoint',
    'sh',
    process.env.MAILWATCHD_BASE_IMAGE ?? '',
    '-c',
    INIT,
  );
  return machine(['docker', 'exec', name], async () => {
    await dockerOk('rm', '--force', '--volumes', name);
  });
}

/** The layer lies in memory: overlayfs(5) refuses an upper directory within the lower one's file system. */
const MAKE_VIEW = `
set -e
base=$1; shift
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
mount -t proc proc "$base/root/proc"
mount --rbind /dev "$base/root/dev"
mount -t tmpfs -o mode=755 tmpfs "$base/root/run"
# What may be installed here is not there.
rm -rf "$base/root/usr/lib/mailwatchd"* "$base/root/etc/init.d/mailwatchd" "$base/root/etc/mailwatchd" \\
  "$base/root/var/lib/mailwatchd" "$base/root/var/log/mailwatchd" "$base/root/var/spool/mailwatchd"
for path; do
  mkdir -p "$base/root$path"
  mount --bind -o ro "$path" "$base/root$path"
done
`;

/** The command of a process that has a view of its own, made in the empty directory `base`. */
function inView(base: string, shared: string[], script: string): string[] {
  const unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
  return [...unshare, 'sh', '-c', `${MAKE_VIEW}\n${script}`, 'sh', base, ...shared];
}

function canHaveView(): boolean {
  const base = mkdtempSync(join(tmpdir(), 'machine-'));
  const [program = '', ...parameters] = inView(base, [], 'exec true');
  const { status } = spawnSync(program, parameters);
  rmdirSync(base);
  return status === 0;
}

/**
 * container: of the image MAILWATCHD_BASE_IMAGE. namespace: this machine's files with a layer over them that is
 * thrown away, its own processes and /run; for where Docker cannot start. itself: this machine, for where
 * that cannot be had either; nothing of mailwatchd may be installed on it.
 */
export const machineKind: 'container' | 'namespace' | 'itself' = process.env.MAILWATCHD_BASE_IMAGE
  ? 'container'
  : canHaveView()
    ? 'namespace'
    : 'itself';

async function startNamespace(shared: string[]): Promise<Machine> {
  const base = mkdtempSync(join(tmpdir(), 'machine-'));
  const command = inView(base, shared, `exec chroot "$base/root" sh -c 'echo up; ${INIT}'`);
  // Whatever ends this process ends it, and with it all its processes and mounts.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command]);
  const dispose = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmdirSync(base);
  };
  try {
    await isUp(child);
    const [init] = descendantsOf(child.pid ?? 0);
    if (!init) throw new Error('its first process is not there');
    const enter = ['nsenter', '--target', String(init.pid), '--mount', '--pid', '--root', '--wd'];
    return machine([...enter, ...PLAIN], dispose);
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function isUp(child: ChildProcess): Promise<void> {
  let said = '';
  child.stdout?.on('data', (data) => {
    said += data;
  });
  let complained = '';
  child.stderr?.on('data', (data) => {
    complained += data;
  });
  await until('a private view of this machine', () => {
    if (child.exitCode !== null)
      throw new Error(`a private view of this machine cannot be had: ${complained}`);
    return said.includes('up');
  });
}

async function useThisMachine(): Promise<Machine> {
  const here = machine(PLAIN, async () => {
    await here.must('./scripts/install --purge && rm -rf /var/spool/mailwatchd');
  });
  // With systemd it would be the unit that is installed.
  const { stdout } = await here.run(
    'ls -d /etc/mailwatchd /var/lib/mailwatchd /var/spool/mailwatchd /usr/lib/mailwatchd /run/systemd/system',
  );
  if (stdout !== '') throw new Error(`this machine is not to be tested on, for it has:\n${stdout}`);
  return here;
}

function machine(enter: string[], dispose: () => Promise<void>): Machine {
  const run = (script: string) => execute([...enter, 'sh', '-c', script]);
  return {
    run,
    async must(script) {
      const { status, stdout, stderr } = await run(script);
      if (status !== 0) throw new Error(`exit status ${status}: ${script}\n${stdout}${stderr}`);
      return stdout.trimEnd();
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** Rejects where the program cannot be started, or does not end. */
function execute([program = '', ...parameters]: string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    execFile(
      program,
      parameters,
      { maxBuffer: MAX_OUTPUT, timeout: COMMAND_WITHIN },
      (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') reject(error);
        else resolve({ status: Number(error?.code ?? 0), stdout, stderr });
      },
    );
  });
}
