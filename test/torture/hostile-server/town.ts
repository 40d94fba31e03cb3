/** One daemon with many mailboxes, each on a server of its own, and what became of every message on them. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readDocument } from '../../dovecot/documents.ts';
import { createWorkplace, type RunningDaemon, type Workplace } from '../../dovecot/workplace.ts';
import type { CertificateFiles, Certificates } from '../../servers/certificates.ts';
import type { Random } from '../../servers/random.ts';
import { type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import type { Fault } from '../attack.ts';
import type { Behaviour } from './behaviour.ts';
import { DOMAIN, type NameServer } from './names.ts';
import { pem } from './wire.ts';

/** Larger than what is fetched in a range (src/mailbox/ranges.ts), so that it is fetched in parts. */
const LARGE_BYTES = 5 * 1024 * 1024;
/** Between two looks at what was published, ms: each reads the directories of all mailboxes. */
const LOOK_EVERY = 50;
const CAPABILITIES = ['IDLE', 'UIDPLUS', 'MOVE', 'ID', 'NAMESPACE'];

/** A mailbox with its server. */
export interface House {
  account: string;
  security: 'tls' | 'starttls' | 'none';
  host: string;
  password: string;
  server: ScriptedServer;
  /** What it does now; null: it behaves. */
  behaviour: Behaviour | null;
  /** Every message that was put there: its name by the SHA-256 of its bytes. */
  sent: Map<string, string>;
  /** The SHA-256 of those that are no longer there, published or not. */
  removed: Set<string>;
  deliver(bytes?: number): { sha256: string; at: number };
  spoil(behaviour: Behaviour): Promise<void>;
  /** It behaves from now on; connections of before go on. */
  mend(): Promise<void>;
}

/** What an account and its mailbox must be for a behaviour to show. */
export type HouseOptions = Pick<Behaviour, 'security' | 'host' | 'after' | 'large' | 'messages'>;

export interface Town extends AsyncDisposable {
  houses: House[];
  place: Workplace;
  faults: Fault[];
  add(options?: HouseOptions): Promise<House>;
  /** Starts the daemon with all houses. */
  start(): RunningDaemon;
  /** When a message of a house was published, in monotonic ms. */
  publishedAt(house: House, sha256: string): number | undefined;
  /** The names of its messages of which no publishing was seen yet. */
  missing(house: House): string[];
  /** What was published twice, or never sent. */
  tooMuch(house: House): string[];
}

export interface TownOptions {
  random: Random;
  certificates: Certificates;
  /** A certificate for every name of DOMAIN. */
  named: CertificateFiles;
  /** Null: the daemon looks names up as this machine does. */
  nameServer: NameServer | null;
  operationSeconds: number;
}

export function buildTown({ random, certificates, named, nameServer, ...options }: TownOptions): Town {
  const houses: House[] = [];
  const accounts: object[] = [];
  const faults: Fault[] = [];
  /** By account and SHA-256: when it was published, each time. */
  const published = new Map<string, Map<string, number[]>>();
  const view = mkdtempSync(join(tmpdir(), 'mailwatchd-names-'));
  const settings = {
    limits: { operationSeconds: options.operationSeconds, messageBytes: '8mb', connectsPerSecond: 50 },
    reconcileEvery: '10s',
  };
  const within = nameServer === null ? [] : lookingUpAt(nameServer, view);
  const place = createWorkplace({ accounts, ...settings }, { within });

  async function add({
    security = 'none',
    host,
    after = {},
    large = false,
    messages = 3,
  }: HouseOptions = {}): Promise<House> {
    const account = `m${String(houses.length).padStart(3, '0')}`;
    const password = `canary-${random.bytes(12).toString('hex')}`;
    const user = `${account}@${DOMAIN}`;
    const byName = host?.endsWith(DOMAIN) === true;
    const certificate = pem(byName ? named : certificates.valid);
    // Ports that are closed and opened again must be nobody else's; certificates are for few addresses.
    const address =
      security !== 'none' && !byName
        ? '127.0.0.1'
        : `127.${random.between(16, 250)}.${random.between(1, 250)}.${random.between(1, 250)}`;
    const server = await startScriptedServer({ security, address, user, password, certificate });
    let spoiledAt = 0;

    const house: House = {
      ...{ account, security, password, server, host: host ?? address },
      behaviour: null,
      sent: new Map(),
      removed: new Set(),
      deliver(bytes = 0) {
        const name = `message ${house.sent.size + 1}`;
        const source = makeMessage(account, name, bytes);
        const sha256 = createHash('sha256').update(source).digest('hex');
        house.sent.set(sha256, name);
        server.deliver('INBOX', source);
        return { sha256, at: performance.now() };
      },
      async spoil(behaviour) {
        if (behaviour.distrusted) for (const session of server.sessions) session.destroy();
        spoiledAt = performance.now();
        house.behaviour = behaviour;
        await behaviour.spoil(server, { random, certificates, remove });
      },
      async mend() {
        const { behaviour } = house;
        if (behaviour === null) return;
        const { plain, sealed } = server.heard;
        // What it was told, or begins to be told, while it behaved is not to count against it.
        const forbidden = [
          ...(security !== 'none' ? plain : []),
          ...(behaviour.distrusted ? [...plain, ...sealed] : []).filter(
            ({ connectedAt }) => connectedAt >= spoiledAt,
          ),
        ];
        if (tells(Buffer.concat(forbidden.map(({ bytes }) => bytes)), user, password))
          faults.push({ kind: 'other', where: behaviour.name, what: 'it was told the password' });
        Object.assign(server, { script: undefined, accept: undefined, transmit: undefined });
        Object.assign(server, { greeting: '* OK ready', capabilities: CAPABILITIES, certificate });
        await behaviour.mend?.(server);
        house.behaviour = null;
      },
    };
    const remove = (uid: number): void => {
      const { source } = server.folders.get('INBOX')!.messages.find((message) => message.uid === uid)!;
      server.expunge('INBOX', uid);
      house.removed.add(createHash('sha256').update(source).digest('hex'));
    };
    for (let count = 0; count < messages; count++) house.deliver();
    if (large) house.deliver(LARGE_BYTES);
    published.set(account, new Map());
    houses.push(house);
    accounts.push({
      ...{ name: account, host: house.host, port: server.port, security, user, password },
      ...{
        ca: certificates.ca,
        folders: ['INBOX'],
        start: 'all',
        pollEvery: '1s',
        idleRenewEvery: '3s',
        after,
      },
    });
    return house;
  }

  function look(): void {
    for (const [account, times] of published) {
      const directory = join(place.storage, account);
      if (!existsSync(directory)) continue;
      for (const name of readdirSync(directory).filter((each) => each.endsWith('.json'))) {
        try {
          const { sha256 } = readDocument(join(directory, name));
          times.set(sha256, [...(times.get(sha256) ?? []), performance.now()]);
        } catch (error) {
          faults.push({ kind: 'other', where: account, what: String(error) });
        }
        rmSync(join(directory, name));
      }
    }
  }
  const timer = setInterval(look, LOOK_EVERY);

  return {
    ...{ houses, place, faults, add },
    start() {
      place.configure({ accounts, storage: { directory: place.storage, path: '{account}/{id}.json' } });
      return place.start();
    },
    publishedAt: ({ account }, sha256) => published.get(account)!.get(sha256)?.[0],
    missing: ({ account, sent, removed }) =>
      [...sent].flatMap(([sha256, name]) =>
        published.get(account)!.has(sha256) || removed.has(sha256) ? [] : [name],
      ),
    tooMuch({ account, sent }) {
      look();
      return [...published.get(account)!].flatMap(([sha256, times]) =>
        times.length > 1 || !sent.has(sha256)
          ? [`${sent.get(sha256) ?? 'a message never sent'} ${times.length} times`]
          : [],
      );
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      for (const house of houses) await house.mend();
      await place[Symbol.asyncDispose]();
      for (const { server } of houses) await server.close();
      rmSync(view, { recursive: true });
    },
  };
}

/** The command that gives a program a view of this machine in which names are looked up at our server only. */
function lookingUpAt({ address }: NameServer, directory: string): string[] {
  const files = {
    'resolv.conf': `nameserver ${address}\n`,
    hosts: '127.0.0.1 localhost\n',
    'nsswitch.conf': 'hosts: files dns\n',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const binds = Object.keys(files).map((name) => `mount --bind "$0/${name}" /etc/${name} &&`);
  return ['unshare', '--mount', 'sh', '-c', `${binds.join(' ')} exec "$@"`, directory];
}

/** A few have no Message-ID: after a new UIDVALIDITY only their bytes tell which they are. */
function makeMessage(account: string, name: string, bytes: number): string {
  const id = name.endsWith('2') ? '' : `Message-ID: <${name.replace(' ', '-')}@${account}.${DOMAIN}>\r\n`;
  const header = `From: ann@${DOMAIN}\r\nSubject: ${account} ${name}\r\n${id}Date: Fri, 20 Nov 2026 11:00:00 +0000\r\n`;
  return `${header}\r\nThis is ${name} of ${account}.\r\n${'words and words and words, again and again\r\n'.repeat(bytes / 44)}`;
}

/** Whether a password is among these bytes, as it is or as SASL or HTTP would send it. */
export function tells(bytes: Buffer, user: string, password: string): boolean {
  const forms = [
    password,
    Buffer.from(password).toString('base64'),
    Buffer.from(`\0${user}\0${password}`).toString('base64'),
    Buffer.from(`${user}:${password}`).toString('base64'),
  ];
  return forms.some((form) => bytes.includes(form.replace(/=+$/, '')));
}
