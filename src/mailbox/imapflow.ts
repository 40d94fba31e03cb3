/** The connection on imapflow, and the only file that knows it: every operation ends, well or with an error. */
import { type FetchQueryObject, ImapFlow, type MailboxObject, type QuotaResponse } from 'imapflow';
import { encodePath } from 'imapflow/lib/tools.js';
import { MailwatchdError } from '../errors.ts';
import { printable } from '../escape.ts';
import type { MessageMetadata, Quota, Validity } from '../model.ts';
import { PROVIDERS } from '../providers/index.ts';
import { specialUseOf } from '../special-use.ts';
import { currentValidity, untrustedIssuer, validityOf } from './certificate.ts';
import { type Age, type Connection, type ConnectOptions, Stopped } from './connection.ts';
import { extensionsOf } from './extensions.ts';
import { type FaultContext, fault, secretForms } from './faults.ts';
import { createAsker, type FolderStatus, type Items, type Word } from './folder-status.ts';
import { type Folder, findFolder, isOfTheFolder, nearestFolder } from './folders.ts';
import { trusting } from './issuers.ts';
import { meter, type ResponseStream } from './meter.ts';
import { createNotifier } from './notify.ts';
import { LARGE_MESSAGE_BYTES, sequenceSet } from './ranges.ts';
import { metadataOf, originOf, type Row, readRow } from './rows.ts';
import { createTransport } from './transport.ts';

/** A silent operation is looked at so many times before it is given up. */
const LOOKS_PER_DEADLINE = 4;
/** One metadata FETCH: its sequence set stays below the 8,000 octets that servers must take (RFC 7162 §4). */
const METADATA_SLICE = 512;
/** Thread ids and labels are asked for only where the server has such (imapflow looks), and EMAILID there in any case. */
const METADATA = { uid: true, flags: true, internalDate: true, size: true, threadId: true, labels: true };
/** A LIST or SEARCH line; 50,000 UIDs are 550 KB. */
const MAX_LINE_BYTES = 8 * 1024 * 1024;
/** Rows of FETCH and lines of LIST have tens of tokens; a SEARCH answer is not counted. */
const MAX_RESPONSE_TOKENS = 100_000;
/**
 * What one command may bring: 512 rows, and what else happened in the folder. A server that goes on after that,
 * such as one in which somebody removed 10,000 messages, is connected to anew. 1,000 take 50 ms (measured).
 */
const MAX_RESPONSES = 5_000;
/** A LIST has one for each folder. */
const MAX_FOLDERS = 50_000;
/** Bodies come on top of it. */
const MAX_RESPONSE_BYTES = 2 * MAX_LINE_BYTES;
/** An operation that is never silent is given up after so many deadlines, and what its bodies take on a slow line. */
const DEADLINES_IN_ALL = 10;
const SLOWEST_BYTES_PER_SECOND = 1024;
/** A connection may outlive its certificate, which is looked at anew where it has less than `leftMs`, so often at most. */
const CERTIFICATE = { leftMs: 30 * 86_400_000, everyMs: 86_400_000 };
/** A stop does not wait longer for a server's goodbye. */
const LOGOUT_MS = 2_000;
/** An IDLE that the server ends sooner is no IDLE: polling does not become a storm. */
const SHORTEST_IDLE_MS = 10_000;
/** imapflow's own watchdogs are set out of reach (setTimeout's limit): ours use the injected clock. */
const NEVER_MS = 2 ** 31 - 1;

/** Connects, protects and logs in within one `operationMs`. */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { clock, signal, operationMs, log } = options;
  const begun = clock.monotonic();
  const where = `${options.host}:${options.port}`;
  const { user, credential } = options;
  const secrets = secretForms(user, credential);
  /** What ended the connection, where that is known better than by the command that fails of it. */
  let failure: MailwatchdError | undefined;
  /** The server's last NO or BAD: some of imapflow's methods log it and return false. */
  let refusal: unknown;
  let closed = false;
  let news = false;
  let idleRefused = false;
  let certificate: Validity | null = null;
  let certificateSeenAt = begun;
  let heardAt = clock.now();
  /** The path of the folder that is open. */
  let opened: string | null = null;
  const resolved = new Map<string, string>();
  const wakers = new Set<() => void>();
  const wake = () => {
    for (const waker of [...wakers]) waker();
  };

  const maxLiteralBytes = Math.max(options.messageBytes, LARGE_MESSAGE_BYTES) + MAX_LINE_BYTES;

  const client = new ImapFlow({
    host: options.host,
    port: options.port,
    transport: createTransport((socket) => {
      certificate = validityOf(socket);
    }),
    // `secure: false` alone falls back to clear text where STARTTLS was stripped.
    secure: options.security === 'tls',
    ...(options.security !== 'tls' && { doSTARTTLS: options.security === 'starttls' }),
    tls: {
      rejectUnauthorized: true,
      secureContext: trusting(options.ca),
    },
    auth:
      'password' in credential
        ? { user, pass: credential.password }
        : { user, accessToken: credential.accessToken },
    disableAutoIdle: true,
    // IMAP4rev1 is enough, and the simplest: no ESEARCH, no MODSEQ, no compression bombs.
    disableAutoEnable: true,
    disableCompression: true,
    disableIMAP4rev2: true,
    connectionTimeout: NEVER_MS,
    greetingTimeout: NEVER_MS,
    socketTimeout: NEVER_MS,
    maxLineLength: MAX_LINE_BYTES,
    maxLiteralSize: maxLiteralBytes,
    maxResponseSize: maxLiteralBytes + MAX_LINE_BYTES,
    maxResponseTokens: MAX_RESPONSE_TOKENS,
    // Empty: imapflow would tell its own.
    clientInfo: { name: 'mailwatchd', version: '', vendor: '', 'support-url': '' },
    logger: listeningLogger((entry) => {
      if (isRefusal(entry.err)) refusal = entry.err;
      // imapflow waits minutes for a throttled server with the reader stopped; backing off is the watcher's.
      if (entry.msg === 'Throttling detected') end(fault(entry.err, context()));
    }),
  });
  // Not in imapflow's types: its version is pinned, and a flood in the tests of connections holds this.
  const metered = meter((client as unknown as { streamer: ResponseStream }).streamer, (detail) =>
    end(new MailwatchdError('SERVER_PROTOCOL', { where, detail })),
  );
  metered.allow(MAX_RESPONSES, MAX_RESPONSE_BYTES);
  const context = (): FaultContext => ({
    where,
    host: options.host,
    provider: options.provider && PROVIDERS[options.provider],
    bye: client.byeReason,
    secrets,
    byToken: 'accessToken' in credential,
  });

  /** Closes with a reason that whatever runs will reject with. Deferred: imapflow may be in the middle of a step. */
  function end(reason: MailwatchdError): void {
    failure ??= reason;
    queueMicrotask(() => client.close());
  }

  // Before connect() and for good: an 'error' without a listener ends the process.
  client.on('error', (error) => {
    failure ??= fault(error, context());
  });
  client.on('close', () => {
    closed = true;
    wake();
    notifier.silenced();
  });
  const onNews = () => {
    news = true;
    heardAt = clock.now();
    wake();
  };
  client.on('exists', onNews);
  client.on('expunge', onNews);

  /**
   * Runs one operation, which asks for so many bytes of bodies (`beyond`: more that is borne, but not given
   * time for), or for more responses than others. It ends
   * with the connection, with the stop signal, after `operationMs` without a byte from the server, or when it
   * takes too long all the same.
   */
  async function operation<Result>(
    name: string,
    work: () => Promise<Result>,
    { bodies = 0, beyond = 0, responses = MAX_RESPONSES } = {},
  ): Promise<Result> {
    if (signal.aborted) throw new Stopped();
    if (closed) throw failure ?? fault({ code: 'NoConnection', message: 'the connection ended' }, context());
    metered.allow(responses, MAX_RESPONSE_BYTES + bodies + beyond);
    const started = clock.monotonic();
    const mostMs = DEADLINES_IN_ALL * operationMs + (bodies / SLOWEST_BYTES_PER_SECOND) * 1000;
    let cancel: () => void = () => undefined;
    let stop: () => void = () => undefined;
    const interrupted = new Promise<never>((_, reject) => {
      let received = client.stats().received;
      let quiet = 0;
      const step = operationMs / LOOKS_PER_DEADLINE;
      const look = () => {
        const now = client.stats().received;
        quiet = now === received ? quiet + 1 : 0;
        received = now;
        const tooLong = clock.monotonic() - started > mostMs;
        if (quiet < LOOKS_PER_DEADLINE && !tooLong) {
          cancel = clock.after(step, look);
          return;
        }
        const seconds = Math.round((tooLong ? mostMs : operationMs) / 1000);
        failure ??= new MailwatchdError('OPERATION_TIMED_OUT', {
          where,
          detail: tooLong ? `${name}: not done within ${seconds} s` : `${name}: no byte for ${seconds} s`,
        });
        client.close();
        reject(failure);
      };
      cancel = clock.after(step, look);
      stop = () => {
        client.close();
        reject(new Stopped());
      };
      signal.addEventListener('abort', stop, { once: true });
    });
    const before = client.stats().received;
    try {
      return await Promise.race([work(), interrupted]);
    } catch (error) {
      if (error instanceof Stopped || error instanceof MailwatchdError) throw error;
      throw failure ?? fault(error, context());
    } finally {
      cancel();
      signal.removeEventListener('abort', stop);
      if (client.stats().received !== before) heardAt = clock.now();
    }
  }

  /** For methods that log a refusal and answer false or undefined: neither is success. */
  async function confirmed(name: string, work: () => Promise<unknown>): Promise<void> {
    refusal = undefined;
    await operation(name, async () => {
      if (!(await work()))
        throw (
          refusal ?? { code: 'NoConnection', message: `the connection ended before ${name} was confirmed` }
        );
    });
  }

  async function search(criteria: Parameters<ImapFlow['search']>[0]): Promise<number[]> {
    refusal = undefined;
    return operation('SEARCH', async () => {
      const found = await client.search(criteria, { uid: true });
      // Neither false (refused) nor undefined (closed) means "no mail".
      if (!Array.isArray(found))
        throw refusal ?? { code: 'NoConnection', message: 'the connection ended before SEARCH was answered' };
      return found;
    });
  }

  async function listFolders(): Promise<Folder[]> {
    const listed = await operation('LIST', () => client.list(), { responses: MAX_FOLDERS });
    return listed.map(({ path, delimiter, flags }) => {
      const attributes = new Set([...flags].map((flag) => flag.toLowerCase()));
      const selectable = !attributes.has('\\noselect') && !attributes.has('\\nonexistent');
      return { path, delimiter: delimiter || '', selectable, attributes };
    });
  }

  async function resolveFolder(name: string): Promise<string> {
    const known = resolved.get(name);
    if (known !== undefined) return known;
    const folders = await listFolders();
    const path = findFolder(name, folders);
    if (path !== null) {
      resolved.set(name, path);
      return path;
    }
    if (specialUseOf(name) !== null)
      throw new MailwatchdError('FOLDER_MISSING', {
        where,
        detail: `the server marks no folder as ${name}`,
        remedy: 'name the folder itself in the configuration',
      });
    const near = nearestFolder(name, folders);
    throw new MailwatchdError('FOLDER_MISSING', {
      where,
      detail: `there is no folder "${printable(name)}"`,
      remedy:
        near === null
          ? 'create it on the server or correct its name in the configuration'
          : `did you mean "${printable(near)}"?`,
    });
  }

  const described = (row: Row, messageId: boolean): MessageMetadata => ({
    ...metadataOf(row, messageId, clock.now()),
    ...extensionsOf(row, client.capabilities.has('OBJECTID')),
  });

  /** A command that imapflow has no method for; `onStatus` hears of each STATUS response, and takes its own. */
  async function command(
    name: string,
    words: Word[],
    onStatus: (attributes: Items) => boolean = () => false,
  ): Promise<void> {
    await operation(name, async () => {
      // Only imapflow's methods end its IDLE.
      if (client.idling) await client.noop();
      const STATUS: OnStatus = async ({ attributes }) => {
        if (!onStatus(attributes)) notifier.hear(attributes);
      };
      const response = await internals.exec(name, words, { untagged: { STATUS } });
      response.next();
    });
  }

  /** SELECT or EXAMINE. Servers differ in how they refuse a folder that is not there: LIST tells whether it is. */
  async function openFolder(name: string, readOnly: boolean): Promise<MailboxObject> {
    const open = (path: string, listed: boolean) =>
      operation('SELECT', async () => {
        try {
          return await client.mailboxOpen(path, { readOnly });
        } catch (error) {
          if (!listed && isRefusal(error)) return null;
          throw error;
        }
      });
    const openResolved = async () => {
      try {
        return await open(await resolveFolder(name), true);
      } catch (error) {
        // It may have another name by now.
        resolved.delete(name);
        throw error;
      }
    };
    opened = null;
    const named = specialUseOf(name) === null ? await open(name, false) : null;
    const mailbox = named ?? (await openResolved());
    if (!mailbox) throw new MailwatchdError('SERVER_REFUSED', { where, detail: 'SELECT told nothing' });
    opened = mailbox.path;
    return mailbox;
  }

  /** Hands over each row as it comes, also those that were not asked for. */
  async function fetchBodies(
    uids: readonly number[],
    query: FetchQueryObject,
    most: { bodies: number; beyond?: number },
    onRow: (row: Row) => void,
  ): Promise<void> {
    const take = (row: Row) => {
      if (!closed && failure === undefined) onRow(row);
    };
    metered.intercept((payload, literals) => {
      const row = readRow(payload, literals);
      if (row !== null) take(row);
      return row !== null;
    });
    const fetch = async () => {
      for await (const row of client.fetch(sequenceSet(uids), query, { uid: true })) take(row);
    };
    try {
      await operation('FETCH', fetch, most);
    } finally {
      metered.intercept(null);
    }
    if (failure) throw failure;
  }

  const internals = client as unknown as Internals;
  const wire = {
    command,
    encode: (path: string) => encodePath(client, path),
    can: (capability: string) => client.capabilities.has(capability),
  };
  const asker = createAsker(wire);
  const notifier = createNotifier(wire);
  internals.untaggedHandlers.STATUS = async ({ attributes }) => notifier.hear(attributes);
  internals.sectionHandlers.NOTIFICATIONOVERFLOW = async () => notifier.silenced();

  const connection: Connection = {
    can: wire.can,

    async select(name, { readOnly } = { readOnly: false }) {
      const mailbox = await openFolder(name, readOnly);
      if (!mailbox.uidValidity)
        throw new MailwatchdError('SERVER_PROTOCOL', {
          where,
          detail: 'SELECT told no UIDVALIDITY (RFC 3501 §6.3.1)',
        });
      return {
        path: mailbox.path,
        uidValidity: String(mailbox.uidValidity),
        uidNext: mailbox.uidNext ?? 0,
        exists: mailbox.exists ?? 0,
        readOnly: mailbox.readOnly === true,
      };
    },

    async status(paths) {
      const figures = new Map<string, FolderStatus>();
      // STATUS should not be asked of the folder that is open (RFC 3501 §6.3.10).
      const open = opened;
      if (open !== null && client.capabilities.has('UNSELECT')) {
        await command('UNSELECT', []);
        opened = null;
      } else if (open !== null && paths.includes(open)) {
        try {
          const { uidValidity, uidNext = 0, exists = 0 } = await openFolder(open, true);
          figures.set(open, { uidValidity: String(uidValidity), uidNext, exists });
        } catch (error) {
          // Gone, or refused: whoever opens it is told. No folder is open then (RFC 3501 §6.3.1).
          if (!isOfTheFolder(error)) throw error;
        }
      }
      await asker.ask(
        paths.filter((path) => !figures.has(path)),
        figures,
      );
      return figures;
    },

    canNotify: notifier.isPossible,
    isNotified: notifier.isOn,
    notify: notifier.start,

    listFolders,
    resolveFolder,

    async search(low, high, age) {
      const found = await search({ uid: `${low}:${high ?? '*'}`, ...(age !== undefined && criterion(age)) });
      // `n:*` names the last message even where n is past the end (RFC 3501 §6.4.8).
      return found.filter((uid) => uid >= low && (high === null || uid <= high));
    },

    async existing(uids) {
      const found = new Set(await search({ uid: sequenceSet(uids) }));
      return uids.filter((uid) => found.has(uid));
    },

    async highestUid() {
      const found = await operation('FETCH', () => client.fetchOne('*', { uid: true }));
      return found ? found.uid : 0;
    },

    async uidAt(sequenceNumber) {
      return operation('FETCH', async () => {
        try {
          const found = await client.fetchOne(String(sequenceNumber), { uid: true });
          return found && found.uid > 0 ? found.uid : null;
        } catch (error) {
          if (isRefusal(error)) return null;
          throw error;
        }
      });
    },

    async metadata(uids, { messageId }) {
      const rows = new Map<number, MessageMetadata>();
      for (let from = 0; from < uids.length; from += METADATA_SLICE) {
        const slice = uids.slice(from, from + METADATA_SLICE);
        const wanted = new Set(slice);
        await operation('FETCH', async () => {
          const answers = client.fetch(
            sequenceSet(slice),
            messageId ? { ...METADATA, headers: ['message-id'] } : METADATA,
            { uid: true },
          );
          for await (const row of answers) {
            // A row may also be an unasked change of flags (RFC 3501 §7.4.2).
            if (!wanted.has(row.uid) || (row.size === undefined && row.internalDate === undefined)) continue;
            rows.set(row.uid, described(row, messageId));
          }
        });
      }
      return rows;
    },

    async fetchStarts(uids, length, onMessage) {
      const wanted = new Set(uids);
      const take = (row: Row) => {
        // A server may tell of one message in several rows (RFC 9051 §7.5.2): that with the body alone has no date.
        const isComplete =
          row.size !== undefined && row.internalDate !== undefined && row.flags !== undefined;
        if (!Buffer.isBuffer(row.source) || !isComplete) return;
        if ((originOf(row) ?? 0) !== 0 || !wanted.delete(row.uid)) return;
        onMessage(described(row, false), row.source);
      };
      // A server that knows no partial FETCH sends whole messages.
      const most = { bodies: uids.length * length, beyond: maxLiteralBytes };
      await fetchBodies(uids, { ...METADATA, source: { maxLength: length } }, most, take);
    },

    async fetchSources(uids, maxBytes, onMessage) {
      const wanted = new Set(uids);
      let bytes = 0;
      const take = (row: Row) => {
        // A part that belongs to a request before this one is no message.
        if (!Buffer.isBuffer(row.source) || originOf(row) !== undefined) return;
        if (!wanted.delete(row.uid)) return;
        bytes += row.source.length;
        onMessage(row.uid, row.source);
        if (bytes > maxBytes)
          end(
            new MailwatchdError('SERVER_PROTOCOL', {
              where,
              detail: 'messages are larger than the sizes it told',
            }),
          );
      };
      await fetchBodies(uids, { uid: true, source: true }, { bodies: maxBytes }, take);
    },

    fetchPart(uid, start, length) {
      const ask = async () => {
        const row = await client.fetchOne(
          String(uid),
          { uid: true, source: { start, maxLength: length } },
          { uid: true },
        );
        if (!row || row.uid !== uid) return null;
        // An answer that belongs to another request (Apache James sends some late).
        const origin = originOf(row);
        if (origin !== undefined && origin !== start) return null;
        if (row.source) return row.source;
        // NIL at the start is an answer without the message, past it the message's end.
        return start === 0 ? null : Buffer.alloc(0);
      };
      // Some servers answer the first part with the whole message.
      return operation('FETCH', ask, { bodies: start === 0 ? maxLiteralBytes : length });
    },

    createFolder: (name) => confirmed('CREATE', () => client.mailboxCreate(name)),

    append: (folder, message) => confirmed('APPEND', () => client.append(folder, message, ['\\Seen'])),

    addSeen: (uids) =>
      confirmed('STORE', () =>
        client.messageFlagsAdd(sequenceSet(uids), ['\\Seen'], { uid: true, silent: true }),
      ),

    async move(uids, path) {
      // imapflow would copy and expunge, which removes what others have marked.
      if (!client.capabilities.has('MOVE')) throw new MailwatchdError('MOVE_UNSUPPORTED', { where });
      await confirmed('MOVE', () => client.messageMove(sequenceSet(uids), path, { uid: true }));
    },

    async deleteAndExpunge(uids) {
      if (!client.capabilities.has('UIDPLUS')) throw new MailwatchdError('DELETE_UNSUPPORTED', { where });
      await confirmed('EXPUNGE', () => client.messageDelete(sequenceSet(uids), { uid: true }));
    },

    noop: () => operation('NOOP', () => client.noop()),

    async certificate() {
      const { host, port, security } = options;
      const age = clock.monotonic() - certificateSeenAt;
      const isFresh =
        age < CERTIFICATE.everyMs || clock.now() + CERTIFICATE.leftMs < (certificate?.until ?? 0);
      if (certificate === null || security === 'none' || isFresh) return certificate;
      certificateSeenAt = clock.monotonic();
      certificate =
        (await currentValidity({ host, port, security, timeout: operationMs, clock })) ?? certificate;
      return certificate;
    },

    async quota(path) {
      // False without the capability, which asks nothing, and for a refusal, which is no trouble.
      const told = await operation('GETQUOTAROOT', () => client.getQuota(path));
      return told ? fullest(told) : null;
    },

    canIdle: () => client.capabilities.has('IDLE') && !idleRefused,

    wait(milliseconds, waitSignal) {
      return new Promise((resolve) => {
        if (news || closed || waitSignal.aborted) return resolve();
        const done = () => {
          cancel();
          wakers.delete(done);
          waitSignal.removeEventListener('abort', done);
          resolve();
        };
        const cancel = clock.after(milliseconds, done);
        wakers.add(done);
        waitSignal.addEventListener('abort', done, { once: true });
        if (!connection.canIdle()) return;
        metered.allow(MAX_RESPONSES, MAX_RESPONSE_BYTES);
        const started = clock.monotonic();
        // Ended by the next command, which sends DONE; it resolves then, and finds nobody waiting.
        client.idle().then(
          (answer) => {
            if (!wakers.has(done)) return;
            if (Object.is(answer, false) || clock.monotonic() - started < SHORTEST_IDLE_MS)
              idleRefused = true;
            done();
          },
          () => done(),
        );
      });
    },

    hasNews: () => news,
    takeNews: () => {
      news = false;
    },
    heardAt: () => heardAt,

    async logout() {
      if (!closed) {
        await new Promise<void>((resolve) => {
          const cancel = clock.after(LOGOUT_MS, resolve);
          const done = () => {
            cancel();
            resolve();
          };
          client.logout().then(done, done);
        });
      }
      client.close();
    },

    close: () => client.close(),
    isClosed: () => closed,
  };

  const giveUp = clock.after(operationMs, () => {
    const seconds = Math.round(operationMs / 1000);
    failure ??= new MailwatchdError('OPERATION_TIMED_OUT', { where, detail: `no login within ${seconds} s` });
    client.close();
  });
  const stop = () => client.close();
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) throw new Stopped();
    await client.connect();
  } catch (error) {
    client.close();
    if (signal.aborted) throw new Stopped();
    throw await explained(failure ?? fault(error, context()));
  } finally {
    giveUp();
    signal.removeEventListener('abort', stop);
  }
  log.debug('logged_in', { server: where });
  return connection;

  /** An unknown issuer is only useful with its fingerprint, which a second, anonymous handshake shows. */
  async function explained(error: MailwatchdError): Promise<MailwatchdError> {
    if (error.code !== 'TLS_UNKNOWN_ISSUER' || options.security === 'none') return error;
    const { host, port, security } = options;
    const timeout = Math.max(0, operationMs - (clock.monotonic() - begun));
    const issuer = await untrustedIssuer({ host, port, security, timeout, clock });
    if (issuer === null) return error;
    return new MailwatchdError(error.code, {
      where,
      detail: `${error.detail}; ${printable(issuer)}`,
      ...(error.remedy !== undefined && { remedy: error.remedy }),
    });
  }
}

type OnStatus = (response: { attributes: Items }) => Promise<void>;

/**
 * imapflow's own ways to send a command and to hear what no command asked for, not in its types: its version is pinned,
 * and tests of sharing hold this.
 */
interface Internals {
  exec(name: string, words: Word[], options: { untagged: { STATUS: OnStatus } }): Promise<{ next(): void }>;
  untaggedHandlers: { STATUS?: OnStatus };
  /** By response code. */
  sectionHandlers: Record<string, () => Promise<void>>;
}

/**
 * Both halves in the same words, so that each message is in one of them: but for one at the border where the server has
 * WITHIN (RFC 5032), since imapflow then asks by seconds from now.
 */
function criterion(age: Age) {
  return 'since' in age ? { since: new Date(age.since) } : { not: { since: new Date(age.before) } };
}

function fullest({ storage, message }: QuotaResponse): Quota | null {
  const resources = [
    { resource: 'storage' as const, ...storage },
    { resource: 'message' as const, ...message },
  ];
  let found: Quota | null = null;
  for (const { resource, usage = 0, limit = 0 } of resources)
    if (limit > 0 && (found === null || usage / limit > found.used / found.limit))
      found = { resource, used: usage, limit };
  return found;
}

/** imapflow's logger: we listen for what its methods swallow, and print nothing of it. */
function listeningLogger(onWarning: (entry: { err?: unknown; msg?: unknown }) => void) {
  const ignore = () => undefined;
  return {
    // Keeps imapflow from composing entries that nobody reads.
    isLevelEnabled: (level: string) => level === 'warn' || level === 'error',
    trace: ignore,
    debug: ignore,
    info: ignore,
    warn: onWarning,
    error: ignore,
    fatal: ignore,
  };
}

const isRefusal = (error: unknown): boolean =>
  typeof error === 'object' &&
  error !== null &&
  'responseStatus' in error &&
  error.responseStatus !== undefined;
