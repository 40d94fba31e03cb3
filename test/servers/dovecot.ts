/** Starts a real Dovecot, private to one test: its own directory, ports on loopback, users and certificate. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CertificateFiles } from './certificates.ts';
import { connectImap, type ImapClient, quote, type ServerMessage } from './imap-client.ts';
import { connectLmtp, type LmtpClient } from './lmtp-client.ts';
import { descendantsOf, familyOf } from './processes.ts';
import { until } from './until.ts';

export interface DovecotOptions {
  /** Password by user name. */
  users: Record<string, string>;
  /** Where none is given the server speaks no TLS: no STARTTLS, and nothing listens on the imaps port. */
  certificate?: CertificateFiles;
  /** How mail lies on disk. Maildir is what most servers have; sdbox syncs faster. */
  driver?: 'maildir' | 'sdbox' | 'mdbox';
  /**
   * Forbids LOGIN without TLS. Dovecot trusts a client on its own address, so the server then
   * listens on 127.0.0.2, which clients reach from 127.0.0.1. Needs `certificate`.
   */
  loginDisabled?: boolean;
  /** Takes access tokens as well, by these mechanisms; asks this server of them (RFC 7662). */
  oauth2?: { introspectionEndpoint: string; mechanisms: ('xoauth2' | 'oauthbearer')[] };
  /** So many connections of one user; without: as many as he likes. */
  connectionsPerUser?: number;
  /** So many sessions at once, where Dovecot's own limits are too low. */
  sessions?: number;
  /** Memory of a session, where Dovecot's 256 MB are too little: a million messages. */
  sessionMegabytes?: number;
  /** What each user may store, and is told of (RFC 9208). */
  quotaKilobytes?: number;
  /** Files mail for `ann+folder@example.org` in that folder of `ann@example.org`, where there is one. */
  plusAddresses?: boolean;
  /** All that it says it can do beside IMAP4rev1; it can do what it always can. */
  capabilities?: string[];
}

export interface Dovecot extends AsyncDisposable {
  /** 127.0.0.1, or 127.0.0.2 with `loginDisabled`. */
  host: string;
  /** Plain, with STARTTLS where there is a certificate. */
  imapPort: number;
  imapsPort: number;
  lmtpPort: number;
  /** The server's own log. */
  log(): string;
  /** A client of our own, logged in; the caller closes it. */
  client(user: string): Promise<ImapClient>;
  /** By LMTP into the user's INBOX. */
  deliver(user: string, raw: Buffer): Promise<void>;
  /** By APPEND into any folder; `date` becomes INTERNALDATE. Returns the UID (RFC 4315 APPENDUID). */
  append(
    user: string,
    folder: string,
    raw: Buffer,
    options?: { flags?: string[]; date?: Date },
  ): Promise<number>;
  createFolder(user: string, folder: string): Promise<void>;
  /** Removes messages for good; UIDs that are not there are no fault. */
  expunge(user: string, folder: string, uids: number[]): Promise<void>;
  /** What the server has: the ground truth. */
  messages(user: string, folder: string): Promise<ServerMessage[]>;
  status(user: string, folder: string): Promise<{ messages: number; uidNext: number; uidValidity: number }>;
  /** The next message of the folder gets this UID at least. */
  raiseUidNext(user: string, folder: string, uidNext: number): Promise<void>;
  /** Gives the folder another UIDVALIDITY; its messages keep their UIDs. Returns the new one. */
  changeUidValidity(user: string, folder: string): Promise<number>;
  /**
   * Restarts without any index, as after a migration: every folder of the user gets another
   * UIDVALIDITY, and its messages are numbered from 1 again. Maildir only.
   */
  loseIndexes(user: string): Promise<void>;
  /** Replaces the folder by an empty one of the same name and the same UIDVALIDITY: UIDNEXT goes backwards. */
  resetUids(user: string, folder: string): Promise<void>;
  /**
   * Ends every IMAP session at once, without a BYE. Returns how many there were. None of them while it locks a folder:
   * a lock that is left behind keeps everybody from the folder for two minutes.
   */
  cutConnections(): number;
  /** Stops all its processes (SIGSTOP), so that connections stand and nothing is answered. Returns what lets them go on. */
  freeze(): () => void;
  /** Stops accepting and serving, keeps the mail; `up` starts it again on the same ports. */
  down(): Promise<void>;
  up(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Dovecot refuses to read mail as root. This many users share a user id, which the kernel gives 128 inotify instances. */
const FIRST_MAIL_UID = 20_000;
const USERS_PER_UID = 100;
/** Debian's group of mail. */
const MAIL_GID = 8;

const LOWEST_PORT = 10_000;
const LOWEST_OUTGOING_PORT = 32_768;

/** A port can be taken between choosing it and listening on it. */
const START_ATTEMPTS = 3;
const START_WITHIN = 15_000;

const run = promisify(execFile);

/** Rejects where the packages dovecot-imapd and dovecot-lmtpd are missing. As root Dovecot serves mail as users of its own. */
export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const programs = {
    dovecot: '/usr/sbin/dovecot',
    lmtp: '/usr/lib/dovecot/lmtp',
    imap: '/usr/lib/dovecot/imap',
  };
  for (const program of Object.values(programs)) {
    if (!existsSync(program))
      throw new Error(`${program} is missing: apt-get install dovecot-imapd dovecot-lmtpd`);
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(options);
    } catch (error) {
      if (attempt === START_ATTEMPTS || !String(error).includes('Address already in use')) throw error;
    }
  }
}

async function start(options: DovecotOptions): Promise<Dovecot> {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-dovecot-'));
  // Login processes run as dovenull and must reach their sockets.
  chmodSync(directory, 0o755);
  const { users, driver = 'maildir' } = options;
  const host = options.loginDisabled ? '127.0.0.2' : '127.0.0.1';
  const [imapPort, imapsPort, lmtpPort] = await freePorts(host, 3);
  const ports = { imapPort: imapPort!, imapsPort: imapsPort!, lmtpPort: lmtpPort! };
  const configuration = join(directory, 'dovecot.conf');
  const logFile = join(directory, 'dovecot.log');
  writeFileSync(configuration, configure(directory, host, ports, options));
  writeUsers(directory, users);
  const readLog = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '');

  let master: ChildProcess | null = null;
  let lmtp: LmtpClient | null = null;
  const clients = new Map<string, Promise<ImapClient>>();

  const doveadm = (...parameters: string[]) => run('/usr/bin/doveadm', ['-c', configuration, ...parameters]);

  async function up(): Promise<void> {
    // Dies with us, however we die; SIGTERM lets the master end its children.
    const started = spawn(
      'setpriv',
      ['--pdeathsig', 'TERM', '/usr/sbin/dovecot', '-F', '-c', configuration],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let complaints = '';
    started.stderr.on('data', (chunk) => {
      complaints += chunk;
    });
    master = started;
    await until(
      'Dovecot to accept connections',
      async () => {
        if (started.exitCode !== null) throw new Error(`Dovecot ended: ${complaints}${readLog()}`);
        return (await accepts(host, ports.imapPort)) && (await accepts(host, ports.lmtpPort));
      },
      START_WITHIN,
    );
  }

  async function down(): Promise<void> {
    lmtp?.close();
    lmtp = null;
    for (const client of clients.values()) await client.then((open) => open.close()).catch(() => undefined);
    clients.clear();
    const stopping = master;
    master = null;
    if (!stopping || stopping.exitCode !== null || stopping.signalCode !== null) return;
    const children = descendantsOf(stopping.pid!);
    const ended = once(stopping, 'exit');
    stopping.kill('SIGTERM');
    await ended;
    await until('the processes of Dovecot to end', () => children.every((child) => !child.exists()));
  }

  const connectAs = (user: string) =>
    connectImap({ host, port: ports.imapPort, user, password: users[user]! });

  /** Runs `action` with a kept connection of the user; one that was cut meanwhile is replaced once. */
  async function withClient<T>(user: string, action: (client: ImapClient) => Promise<T>): Promise<T> {
    for (let again = false; ; again = true) {
      const kept = clients.get(user) ?? connectAs(user);
      clients.set(user, kept);
      try {
        return await action(await kept);
      } catch (error) {
        clients.delete(user);
        await kept.then((client) => client.close()).catch(() => undefined);
        if (again || !/connection ended|ECONNRESET|EPIPE/.test(String(error))) throw error;
      }
    }
  }

  const server: Dovecot = {
    host,
    ...ports,
    log: readLog,
    client: connectAs,
    async deliver(user, raw) {
      lmtp ??= await connectLmtp(host, ports.lmtpPort);
      await lmtp.deliver(user, raw);
    },
    append(user, folder, raw, { flags = [], date } = {}) {
      const when = date ? ` "${imapDate(date)}"` : '';
      return withClient(user, async (client) => {
        const lines = await client.command('APPEND ', quote(folder), ` (${flags.join(' ')})${when} `, raw);
        const uid = /\[APPENDUID \d+ (\d+)\]/.exec(lines.at(-1)!.text)?.[1];
        if (!uid) throw new Error('IMAP: no APPENDUID');
        return Number(uid);
      });
    },
    async createFolder(user, folder) {
      await withClient(user, (client) => client.command('CREATE ', quote(folder)));
    },
    async expunge(user, folder, uids) {
      await withClient(user, async (client) => {
        await client.command('SELECT ', quote(folder));
        await client.command(`UID STORE ${uids.join(',')} +FLAGS.SILENT (\\Deleted)`);
        await client.command(`UID EXPUNGE ${uids.join(',')}`);
        await client.command('UNSELECT');
      });
    },
    messages: (user, folder) => withClient(user, (client) => client.messages(folder)),
    status: (user, folder) =>
      withClient(user, async (client) => {
        const lines = await client.command('STATUS ', quote(folder), ' (MESSAGES UIDNEXT UIDVALIDITY)');
        const text = lines.map((line) => line.text).join('\n');
        const number = (item: string) => Number(new RegExp(`\\b${item} (\\d+)`).exec(text)?.[1]);
        return {
          messages: number('MESSAGES'),
          uidNext: number('UIDNEXT'),
          uidValidity: number('UIDVALIDITY'),
        };
      }),
    async raiseUidNext(user, folder, uidNext) {
      await doveadm('mailbox', 'update', '-u', user, '--min-next-uid', String(uidNext), folder);
    },
    async changeUidValidity(user, folder) {
      const { uidValidity } = await server.status(user, folder);
      const next = uidValidity + 1;
      await doveadm('mailbox', 'update', '-u', user, '--uid-validity', String(next), folder);
      // Dovecot's own counter does not know of it, and would give it to another numbering of the same folder.
      const counter = join(homeOf(directory, users, user), 'mail', 'dovecot-uidvalidity');
      writeFileSync(`${counter}.${next.toString(16).padStart(8, '0')}`, '');
      rmSync(counter, { force: true });
      return next;
    },
    async loseIndexes(user) {
      if (driver !== 'maildir') throw new Error(`${driver} keeps its mail in its indexes`);
      await down();
      const mail = join(homeOf(directory, users, user), 'mail');
      for (const name of readdirSync(mail, { recursive: true, encoding: 'utf8' })) {
        if (/(^|\/)dovecot(\.index.*|-uidlist|\.list\.index.*)$/.test(name)) rmSync(join(mail, name));
      }
      await up();
    },
    async resetUids(user, folder) {
      const { uidValidity } = await server.status(user, folder);
      if (folder === 'INBOX') throw new Error('INBOX cannot be deleted: use another folder');
      await doveadm('mailbox', 'delete', '-u', user, folder);
      await doveadm('mailbox', 'create', '-u', user, folder);
      await doveadm('mailbox', 'update', '-u', user, '--uid-validity', String(uidValidity), folder);
    },
    cutConnections() {
      const sessions = descendantsOf(master!.pid!).filter(({ command }) => command === 'imap');
      const signal = (name: NodeJS.Signals) => {
        for (const session of sessions) session.signal(name);
      };
      const homes = join(directory, 'homes');
      for (let tries = 1; ; tries++) {
        signal('SIGSTOP');
        while (!sessions.every((session) => session.isStopped())) pause();
        if (!isLocked(homes)) break;
        if (tries === MOST_TRIES) throw new Error(`a lock in ${homes} stays`);
        signal('SIGCONT');
        pause();
      }
      signal('SIGKILL');
      return sessions.length;
    },
    freeze() {
      const family = familyOf(master!.pid!);
      for (const member of family) member.signal('SIGSTOP');
      return () => {
        for (const member of family) member.signal('SIGCONT');
      };
    },
    up,
    down,
    async restart() {
      await down();
      await up();
    },
    async stop() {
      await down();
      rmSync(directory, { recursive: true, force: true });
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };

  try {
    await up();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The configuration, in the words of 2.3 (Debian 12, Ubuntu 24.04) or of 2.4 (Debian 13). */
function configure(
  directory: string,
  host: string,
  ports: { imapPort: number; imapsPort: number; lmtpPort: number },
  options: DovecotOptions,
): string {
  const {
    certificate,
    driver = 'maildir',
    loginDisabled = false,
    sessions,
    sessionMegabytes,
    oauth2,
    quotaKilobytes,
    capabilities,
  } = options;
  const version = execFileSync('/usr/sbin/dovecot', ['--version'], { encoding: 'utf8' });
  const words = version.startsWith('2.3.') ? wordsOf23 : wordsOf24;
  const root = process.getuid?.() === 0;
  return `
${words({ users: join(directory, 'users'), driver, loginDisabled, certificate, oauth2, directory, quotaKilobytes })}
base_dir = ${directory}/run
state_dir = ${directory}/state
log_path = ${directory}/dovecot.log
listen = ${host}
first_valid_uid = 1
first_valid_gid = 1
${root ? '' : unprivileged()}
${sessions === undefined ? '' : manySessions(sessions)}
${sessionMegabytes === undefined ? '' : `default_vsz_limit = ${sessionMegabytes} M`}
${capabilities === undefined ? '' : `imap_capability = IMAP4rev1 ${capabilities.join(' ')}`}
${options.plusAddresses ? 'recipient_delimiter = +\nlmtp_save_to_detail_mailbox = yes' : ''}
mail_max_userip_connections = ${options.connectionsPerUser ?? 1000}
mailbox_idle_check_interval = 30 secs
mail_fsync = never
auth_mechanisms = plain login ${oauth2?.mechanisms.join(' ') ?? ''}
auth_failure_delay = 0
ssl = ${certificate ? 'yes' : 'no'}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Abgelegt {
    special_use = \\Archive
  }
}
service imap-login {
  ${root ? '' : 'chroot ='}
  inet_listener imap {
    port = ${ports.imapPort}
  }
  inet_listener imaps {
    port = ${certificate ? ports.imapsPort : 0}
    ssl = yes
  }
}
service anvil {
  ${root ? '' : 'chroot ='}
}
service stats {
  ${root ? '' : 'chroot ='}
}
service lmtp {
  inet_listener lmtp {
    port = ${ports.lmtpPort}
  }
}
`;
}

interface Settings {
  users: string;
  driver: string;
  loginDisabled: boolean;
  certificate: CertificateFiles | undefined;
  oauth2: DovecotOptions['oauth2'];
  quotaKilobytes: number | undefined;
  directory: string;
}

const wordsOf23 = ({
  users,
  driver,
  loginDisabled,
  certificate,
  oauth2,
  quotaKilobytes,
  directory,
}: Settings): string => `
protocols = imap lmtp
${
  quotaKilobytes === undefined
    ? ''
    : `mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=${quotaKilobytes}K
  quota_grace = 0
}`
}
mail_location = ${driver}:~/mail
disable_plaintext_auth = ${loginDisabled ? 'yes' : 'no'}
${certificate ? `ssl_cert = <${certificate.certificate}\nssl_key = <${certificate.key}` : ''}
${
  oauth2
    ? `passdb {
  driver = oauth2
  mechanisms = ${oauth2.mechanisms.join(' ')}
  args = ${writeOAuth2(directory, oauth2.introspectionEndpoint)}
}`
    : ''
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u ${users}
}
userdb {
  driver = passwd-file
  args = username_format=%u ${users}
}`;

const wordsOf24 = ({
  users,
  driver,
  loginDisabled,
  certificate,
  oauth2,
  quotaKilobytes,
}: Settings): string => `
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols {
  imap = yes
  lmtp = yes
}
${
  quotaKilobytes === undefined
    ? ''
    : `mail_plugins {
  quota = yes
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
quota "User quota" {
  driver = count
  storage_size = ${quotaKilobytes}K
  storage_grace = 0
}`
}
mail_driver = ${driver}
mail_path = ~/mail
auth_allow_cleartext = ${loginDisabled ? 'no' : 'yes'}
auth_username_format = %{user}
${certificate ? `ssl_server_cert_file = ${certificate.certificate}\nssl_server_key_file = ${certificate.key}` : ''}
${
  oauth2
    ? `oauth2 {
  introspection_mode = post
  introspection_url = ${oauth2.introspectionEndpoint}
  username_attribute = username
}
passdb oauth2 {
  mechanisms_filter = ${oauth2.mechanisms.join(' ')}
}`
    : ''
}
passdb passwd-file {
  passwd_file_path = ${users}
}
userdb passwd-file {
  passwd_file_path = ${users}
}`;

/** In 2.3 the settings of a passdb stand in a file of its own. */
function writeOAuth2(directory: string, introspectionEndpoint: string): string {
  const file = join(directory, 'oauth2.conf');
  const lines = [
    'introspection_mode = post',
    `introspection_url = ${introspectionEndpoint}`,
    'username_attribute = username',
    'active_attribute = active',
    'active_value = true',
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** By default a process serves one login, and goes on encrypting for it: twice as many processes. */
const manySessions = (sessions: number): string => `
default_client_limit = ${4 * sessions + 1000}
imap_idle_notify_interval = 29 mins
service imap {
  process_limit = ${2 * sessions + 100}
}
service imap-login {
  service_count = 0
  process_min_avail = 2
  process_limit = 2
}`;

/** Without root there is nobody to change to and nothing to lock oneself into. */
function unprivileged(): string {
  const user = userInfo().username;
  const group = execFileSync('id', ['-gn'], { encoding: 'utf8' }).trim();
  return `default_internal_user = ${user}\ndefault_login_user = ${user}\ndefault_internal_group = ${group}`;
}

/** A passwd-file; the mail of each user lies under homes/, owned by whom Dovecot serves it as. */
function writeUsers(directory: string, users: Record<string, string>): void {
  const root = process.getuid?.() === 0;
  const gid = root ? MAIL_GID : process.getgid!();
  mkdirSync(join(directory, 'homes'));
  const lines = Object.entries(users).map(([user, password], index) => {
    const uid = root ? FIRST_MAIL_UID + Math.floor(index / USERS_PER_UID) : process.getuid!();
    const home = homeOf(directory, users, user);
    mkdirSync(home);
    chownSync(home, uid, gid);
    return `${user}:{PLAIN}${password}:${uid}:${gid}::${home}::\n`;
  });
  writeFileSync(join(directory, 'users'), lines.join(''));
}

/** How often a moment without a lock is looked for, a millisecond apart at least. */
const MOST_TRIES = 5_000;

/** Some of Dovecot's locks are files, such as that of maildir's list of UIDs. */
const isLocked = (homes: string): boolean =>
  readdirSync(homes, { recursive: true, encoding: 'utf8' }).some((name) => name.endsWith('.lock'));

/** Waits a millisecond, without letting others have their turn. */
function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

const homeOf = (directory: string, users: Record<string, string>, user: string): string =>
  join(directory, 'homes', String(Object.keys(users).indexOf(user)));

/**
 * Ports that were free a moment ago, all different. Lower than those of outgoing connections
 * (ip_local_port_range), which could take them while the server is down.
 */
async function freePorts(host: string, count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (LOWEST_OUTGOING_PORT - LOWEST_PORT));
    if (await isFree(host, port)) ports.add(port);
  }
  return [...ports];
}

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer().listen(port, host);
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  await once(server.close(), 'close');
  return true;
}

/** Whether something greets on the port: a listening socket alone may still have no process behind it. */
function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (greeted: boolean) => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once('data', () => settle(true));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
  });
}

/** date-time of RFC 3501 §9, in UTC. */
function imapDate(date: Date): string {
  const [, day, month, year, time] = /^\w+, (\d+) (\w+) (\d+) (\S+)/.exec(date.toUTCString())!;
  return `${day}-${month}-${year} ${time} +0000`;
}
