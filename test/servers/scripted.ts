/**
 * A small IMAP server on 127.0.0.1 that does what a test tells it: a well-behaved IMAP4rev1 server, of which
 * a script may replace any answer. Plain, TLS and STARTTLS.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type SecureContextOptions, TLSSocket } from 'node:tls';

export interface ScriptedMessage {
  uid: number;
  source: Buffer;
  internalDate: Date;
  flags: Set<string>;
  /** RFC822.SIZE, where it is to differ from the truth. */
  size?: number;
  /** Further items of its rows, as they are sent where they are asked for: `EMAILID` → `(M6d99)`. */
  items?: Record<string, string>;
}

export interface ScriptedFolder {
  name: string;
  uidValidity: number;
  /** What SELECT tells; null: nothing. */
  uidNext: number | null;
  messages: ScriptedMessage[];
  /** What LIST tells of it (RFC 3501 §7.2.2, RFC 6154 §2). */
  attributes: string[];
}

export interface Command {
  tag: string;
  /** In upper case, `UID FETCH` as one. */
  name: string;
  /** What follows the name, literals put in. */
  rest: string;
  session: ScriptedSession;
}

/** One connection of a client. */
export interface ScriptedSession {
  /** The n-th connection since the server started, from 1. */
  number: number;
  folder: ScriptedFolder | null;
  idling: boolean;
  /** Whether it asked to be told of a folder that is not open (NOTIFY, RFC 5465). */
  listensTo(folder: string): boolean;
  secure: boolean;
  /** Null outside of TLS. */
  tls: TLSSocket | null;
  /** Whether the connection still stands. */
  alive(): boolean;
  /** Sends lines, each with its line end. */
  send(...lines: (string | Buffer)[]): void;
  /** Sends bytes as they are. */
  write(bytes: string | Buffer): void;
  /** Sends what `next` gives, without end, as fast as the client takes it. */
  pour(next: () => string | Buffer): void;
  /** Sends what is due and closes (FIN). */
  end(...lines: string[]): void;
  /** Closes at once (RST where the system does so). */
  destroy(): void;
  /** RST, outside of TLS: what is on its way may be lost. */
  reset(): void;
  /** The default answer to a command. */
  answer(command: Command): void;
  /** Sends this in plain text, in one piece, and goes over to TLS. */
  upgrade(lines: string): void;
}

/** Replaces the answer to a command: true means it has been dealt with, also by silence. */
export type Script = (command: Command) => boolean | undefined;

/** Takes a connection before a byte was exchanged: true means it has been dealt with, also by silence. */
export type Accept = (socket: Socket) => boolean | undefined;

/** Sends bytes of an answer in a way of its own, with `send`, or not at all. */
export type Transmit = (bytes: Buffer, session: ScriptedSession, send: (bytes: Buffer) => void) => void;

/** Bytes of a client. */
export interface Heard {
  /** When its connection began, monotonic ms. */
  connectedAt: number;
  bytes: Buffer;
}

export interface ScriptedOptions {
  security?: 'tls' | 'starttls' | 'none';
  /** PEM texts, for TLS, and whatever else its handshake takes. */
  certificate?: SecureContextOptions;
  /** An address of 127.0.0.0/8 and a port; without: 127.0.0.1 and a free one. */
  address?: string;
  port?: number;
  /** What CAPABILITY tells beside IMAP4rev1. */
  capabilities?: string[];
  user?: string;
  password?: string;
  greeting?: string | null;
  script?: Script;
}

export interface ScriptedServer extends AsyncDisposable {
  address: string;
  port: number;
  folders: Map<string, ScriptedFolder>;
  delimiter: string;
  capabilities: string[];
  password: string;
  /** Access tokens that OAUTHBEARER and XOAUTH2 take. */
  accessTokens: Set<string>;
  greeting: string | null;
  /** Whether clients need not log in. */
  preauthenticated: boolean;
  /** Whether sessions that are idle, or asked to be told, are told of what happens. */
  pushes: boolean;
  script: Script | undefined;
  accept: Accept | undefined;
  transmit: Transmit | undefined;
  /** For the handshakes from now on. */
  certificate: SecureContextOptions | undefined;
  /** Every command received, as `NAME rest`, without passwords. */
  commands: string[];
  sessions: Set<ScriptedSession>;
  /** What clients sent outside of TLS, and inside of it. */
  heard: { plain: Heard[]; sealed: Heard[] };
  /** How many connections there were. */
  connections(): number;
  /** When each of them began, monotonic ms. */
  connectedAt: number[];
  /** Closes the port, so that connections are refused, and opens it again. */
  stopListening(): void;
  listen(): Promise<void>;
  createFolder(name: string, values?: Partial<ScriptedFolder>): ScriptedFolder;
  /** Puts a message into a folder and tells sessions that are idle, or asked to be told. Returns its UID. */
  deliver(folder: string, source: string | Buffer, values?: Partial<ScriptedMessage>): number;
  /** Removes a message and tells them likewise. */
  expunge(folder: string, uid: number): void;
  /** Resolves when the `count`-th command (from now on) that matches has been received. */
  seen(pattern: RegExp, count?: number): Promise<Command>;
  /** Resolves when a client is in IDLE, at once where one is. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export async function startScriptedServer(options: ScriptedOptions = {}): Promise<ScriptedServer> {
  const security = options.security ?? 'none';
  const user = options.user ?? 'ann@example.org';
  const waiting = new Set<{ pattern: RegExp; left: number; resolve: (command: Command) => void }>();
  const idleWaiters: (() => void)[] = [];
  let connections = 0;
  const sockets = new Set<Socket>();

  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  };
  const accept = (socket: Socket, connectedAt: number) => {
    keep(socket);
    serve(socket, ++connections, connectedAt);
  };
  const listener = createServer({ noDelay: true }, (socket) => {
    keep(socket);
    const connectedAt = performance.now();
    server.connectedAt.push(connectedAt);
    if (server.accept?.(socket))
      socket.on('data', (bytes) => server.heard.plain.push({ connectedAt, bytes }));
    else if (security === 'tls') handshake(socket, connectedAt);
    else accept(socket, connectedAt);
  });
  /** A TLS server of its own for each, since the certificate may have changed. */
  const handshake = (socket: Socket, connectedAt: number) =>
    createTlsServer({ ...server.certificate, noDelay: true }, (secure) => accept(secure, connectedAt))
      .on('tlsClientError', () => undefined)
      .emit('connection', socket);
  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(port, options.address ?? '127.0.0.1', () => {
        listener.off('error', reject);
        resolve();
      });
    });
  await listen(options.port ?? 0);

  const server: ScriptedServer = {
    address: options.address ?? '127.0.0.1',
    port: (listener.address() as AddressInfo).port,
    folders: new Map(),
    delimiter: '/',
    capabilities: options.capabilities ?? ['IDLE', 'UIDPLUS', 'MOVE', 'ID', 'NAMESPACE'],
    password: options.password ?? 'secret-pa55word',
    accessTokens: new Set(),
    greeting: options.greeting === undefined ? '* OK ready' : options.greeting,
    preauthenticated: false,
    pushes: true,
    script: options.script,
    accept: undefined,
    transmit: undefined,
    certificate: options.certificate,
    commands: [],
    sessions: new Set(),
    heard: { plain: [], sealed: [] },
    connections: () => connections,
    connectedAt: [],
    stopListening: () => {
      listener.close();
    },
    listen: () => listen(server.port),
    createFolder(name, values = {}) {
      const folder = {
        name,
        uidValidity: 1_700_000_000,
        uidNext: 1,
        messages: [],
        attributes: [],
        ...values,
      };
      server.folders.set(name, folder);
      return folder;
    },
    deliver(name, source, values = {}) {
      const folder = server.folders.get(name)!;
      const uid = values.uid ?? folder.uidNext ?? (folder.messages.at(-1)?.uid ?? 0) + 1;
      folder.messages.push({
        source: Buffer.from(source),
        internalDate: new Date(Date.UTC(2026, 10, 20, 11)),
        flags: new Set(),
        ...values,
        uid,
      });
      if (folder.uidNext !== null) folder.uidNext = Math.max(folder.uidNext, uid + 1);
      push(folder, `* ${folder.messages.length} EXISTS`);
      return uid;
    },
    expunge(name, uid) {
      const folder = server.folders.get(name)!;
      const index = folder.messages.findIndex((message) => message.uid === uid);
      folder.messages.splice(index, 1);
      push(folder, `* ${index + 1} EXPUNGE`);
    },
    seen: (pattern, count = 1) =>
      new Promise((resolve) => {
        waiting.add({ pattern, left: count, resolve });
      }),
    idle: () =>
      new Promise((resolve) => {
        if ([...server.sessions].some(({ idling }) => idling)) resolve();
        else idleWaiters.push(resolve);
      }),
    async close() {
      const closed = new Promise((resolve) => listener.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
  server.createFolder('INBOX');

  /** RFC 5465 §5.2 and §5.3: of a folder that is not open UIDNEXT and MESSAGES. */
  function push(folder: ScriptedFolder, line: string): void {
    if (!server.pushes) return;
    for (const session of server.sessions) {
      if (session.idling && session.folder === folder) session.send(line);
      if (session.folder !== folder && session.listensTo(folder.name))
        session.send(
          `* STATUS "${folder.name}" (UIDNEXT ${folder.uidNext} MESSAGES ${folder.messages.length})`,
        );
    }
  }

  function serve(initial: Socket, number: number, connectedAt: number): void {
    let socket = initial;
    let buffered = Buffer.alloc(0);
    let authenticated = false;
    /** The line so far and how many bytes of a literal are still to come. */
    let partial = '';
    let literal = 0;
    /** What the next line of the client answers (RFC 3501 §6.2.2). */
    let sasl: ((line: string) => void) | null = null;
    let idleTag: string | null = null;
    let listensTo: ScriptedSession['listensTo'] = () => false;

    const put = (bytes: Buffer): void => {
      if (session.alive()) socket.write(bytes);
    };
    const write = (bytes: string | Buffer) => {
      const whole = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
      if (server.transmit) server.transmit(whole, session, put);
      else put(whole);
    };
    const session: ScriptedSession = {
      number,
      folder: null,
      idling: false,
      listensTo: (name) => listensTo(name),
      secure: security === 'tls',
      tls: initial instanceof TLSSocket ? initial : null,
      alive: () => !socket.destroyed && socket.writable,
      write,
      pour(next) {
        let more = true;
        // A turn of the event loop for the others, whatever the client takes.
        while (more && session.alive()) more = socket.write(next());
        if (!session.alive()) return;
        socket.once('drain', () => setImmediate(() => session.pour(next)));
      },
      send(...lines) {
        for (const line of lines)
          write(Buffer.concat([Buffer.isBuffer(line) ? line : Buffer.from(line), Buffer.from('\r\n')]));
      },
      end(...lines) {
        session.send(...lines);
        socket.end();
      },
      destroy: () => socket.destroy(),
      reset() {
        if (session.secure) socket.destroy();
        else socket.resetAndDestroy();
      },
      answer,
      upgrade(lines) {
        socket.off('data', read);
        session.write(lines);
        // Destroying a socket under its TLS crashes the process (Node 24.21).
        sockets.delete(socket);
        const secure = new TLSSocket(socket, { isServer: true, ...server.certificate });
        socket = secure;
        sockets.add(secure);
        session.secure = true;
        session.tls = secure;
        attach();
      },
    };
    server.sessions.add(session);
    const attach = () => {
      socket.on('data', read);
      socket.on('error', () => undefined);
      socket.on('close', () => server.sessions.delete(session));
    };
    attach();
    if (server.greeting !== null) session.send(server.greeting);

    function read(chunk: Buffer): void {
      server.heard[session.secure ? 'sealed' : 'plain'].push({ connectedAt, bytes: chunk });
      buffered = Buffer.concat([buffered, chunk]);
      for (;;) {
        if (literal > 0) {
          if (buffered.length < literal) return;
          partial += JSON.stringify(buffered.subarray(0, literal).toString());
          buffered = buffered.subarray(literal);
          literal = 0;
        }
        const end = buffered.indexOf('\n');
        if (end < 0) return;
        const line = buffered.subarray(0, end).toString().replace(/\r$/, '');
        buffered = buffered.subarray(end + 1);
        const announced = /\{(\d+)(\+?)\}$/.exec(line);
        if (announced) {
          partial += line.slice(0, announced.index);
          literal = Number(announced[1]);
          if (announced[2] === '') session.send('+ go on');
          continue;
        }
        const whole = partial + line;
        partial = '';
        receive(whole);
      }
    }

    function receive(line: string) {
      if (sasl !== null) {
        const answered = sasl;
        sasl = null;
        return answered(line);
      }
      if (idleTag !== null && /^done$/i.test(line)) {
        const command = { tag: idleTag, name: 'DONE', rest: '', session };
        idleTag = null;
        session.idling = false;
        note(command);
        if (server.script?.(command)) return;
        return session.send(`${command.tag} OK idle ended`);
      }
      const match = /^(\S+) (UID \S+|\S+) ?(.*)$/s.exec(line);
      if (!match) return session.send('* BAD what?');
      const command = { tag: match[1]!, name: match[2]!.toUpperCase(), rest: match[3]!, session };
      note(command);
      if (server.script?.(command)) return;
      answer(command);
    }

    function note(command: Command): void {
      const shown =
        command.name === 'LOGIN'
          ? ''
          : command.name === 'AUTHENTICATE'
            ? command.rest.split(' ')[0]!
            : command.rest;
      const text = `${command.name} ${shown}`.trim();
      server.commands.push(text);
      for (const waiter of [...waiting]) {
        if (!waiter.pattern.test(text) || --waiter.left > 0) continue;
        waiting.delete(waiter);
        // After the answer to this command, if it is given at once.
        setImmediate(() => waiter.resolve(command));
      }
    }

    function login({ tag }: Command, name: string, password: string) {
      if (name !== user || password !== server.password)
        return session.send(`${tag} NO [AUTHENTICATIONFAILED] wrong user name or password`);
      authenticated = true;
      session.send(`${tag} OK [CAPABILITY ${capabilities()}] welcome`);
    }

    /** PLAIN, or a token, whose refusal is explained in a challenge that wants an answer (RFC 7628 §3.2.3). */
    function authenticate(command: Command) {
      const [mechanism, initial] = command.rest.split(' ');
      const respond = (line: string) => {
        const fields = Buffer.from(line, 'base64').toString();
        if (mechanism === 'PLAIN') {
          const [, name, password] = fields.split('\0');
          return login(command, name ?? '', password ?? '');
        }
        const [named, ...more] = fields.split('\x01');
        const token = more.find((field) => field.startsWith('auth=Bearer '))?.slice('auth=Bearer '.length);
        const isUser = named === (mechanism === 'XOAUTH2' ? `user=${user}` : `n,a=${user},`);
        if (isUser && server.accessTokens.has(token ?? '')) return login(command, user, server.password);
        session.send(`+ ${Buffer.from('{"status":"invalid_token"}').toString('base64')}`);
        sasl = () => login(command, '', '');
      };
      if (initial !== undefined) return respond(initial);
      sasl = respond;
      session.send('+ ');
    }

    function capabilities(): string {
      const all = ['IMAP4rev1', ...server.capabilities];
      return (security === 'starttls' && !session.secure ? [...all, 'STARTTLS', 'LOGINDISABLED'] : all).join(
        ' ',
      );
    }

    function answer(command: Command) {
      const { tag, name, rest } = command;
      const words = tokens(rest);
      const ok = (text = 'done') => session.send(`${tag} OK ${text}`);
      switch (name) {
        case 'CAPABILITY':
          session.send(`* CAPABILITY ${capabilities()}`);
          return ok();
        case 'LOGIN':
          return login(command, words[0] ?? '', words[1] ?? '');
        case 'AUTHENTICATE':
          return authenticate(command);
        case 'STARTTLS':
          return session.upgrade(`${tag} OK begin\r\n`);
        case 'ID':
          session.send('* ID NIL');
          return ok();
        case 'NAMESPACE':
          session.send(`* NAMESPACE (("" "${server.delimiter}")) NIL NIL`);
          return ok();
        case 'LOGOUT':
          session.send('* BYE see you');
          return session.end(`${tag} OK bye`);
        case 'NOOP':
          return ok();
      }
      if (!authenticated && !server.preauthenticated) return session.send(`${tag} BAD not logged in`);
      switch (name) {
        case 'LIST':
        case 'XLIST':
        case 'LSUB': {
          // Several patterns and RETURN (STATUS …) are of RFC 5258 and RFC 5819.
          const [, several, returned] = /^"" \((.*?)\) RETURN \((.*)\)$/.exec(rest) ?? [];
          const patterns = several === undefined ? [words[1] ?? '*'] : tokens(several);
          for (const folder of server.folders.values()) {
            if (!patterns.includes('*') && !patterns.includes(folder.name)) continue;
            session.send(`* ${name} (${folder.attributes.join(' ')}) "${server.delimiter}" "${folder.name}"`);
            if (returned !== undefined) session.send(status(folder));
          }
          return ok();
        }
        case 'STATUS': {
          const folder = server.folders.get(words[0] ?? '');
          if (folder === undefined) return session.send(`${tag} NO [NONEXISTENT] no such folder`);
          session.send(status(folder));
          return ok();
        }
        case 'NOTIFY': {
          const [, names, personal] =
            /^SET \((?:mailboxes \((.*?)\)|(personal)) \(MessageNew MessageExpunge\)\)$/.exec(rest) ?? [];
          if (names === undefined && personal === undefined && rest !== 'NONE')
            return session.send(`${tag} BAD what?`);
          const named = new Set(tokens(names ?? ''));
          listensTo = (name) => personal !== undefined || named.has(name);
          return ok();
        }
        case 'UNSELECT':
          session.folder = null;
          return ok();
        case 'SELECT':
        case 'EXAMINE':
          return select(tag, words[0] ?? '');
        case 'CREATE':
          server.createFolder(words[0] ?? '');
          return ok();
        case 'SUBSCRIBE':
          return ok();
        case 'APPEND': {
          if (!server.folders.has(words[0] ?? ''))
            return session.send(`${tag} NO [TRYCREATE] no such folder`);
          // The literal stands at the end, as JSON (`read`).
          const source = JSON.parse(rest.slice(rest.indexOf(') "') + 2)) as string;
          server.deliver(words[0] ?? '', source, { flags: new Set(['\\Seen']), internalDate: new Date() });
          return ok();
        }
        case 'IDLE':
          idleTag = tag;
          session.send('+ idling');
          session.idling = true;
          for (const resolve of idleWaiters.splice(0)) setImmediate(resolve);
          return;
      }
      const folder = session.folder;
      if (!folder) return session.send(`${tag} BAD no folder is selected`);
      switch (name) {
        case 'UID SEARCH':
          return search(tag, folder, words);
        case 'FETCH':
        case 'UID FETCH':
          return fetch(tag, folder, name, rest);
        case 'UID STORE': {
          for (const message of pick(folder, words[0] ?? '', true))
            for (const flag of /\((.*)\)/.exec(rest)?.[1]?.split(' ') ?? []) message.flags.add(flag);
          return ok();
        }
        case 'UID EXPUNGE':
        case 'EXPUNGE': {
          const chosen = name === 'EXPUNGE' ? folder.messages : pick(folder, words[0] ?? '', true);
          remove(
            folder,
            chosen.filter((message) => message.flags.has('\\Deleted')),
          );
          return ok();
        }
        case 'UID MOVE':
        case 'UID COPY': {
          const target = server.folders.get(words[1] ?? '');
          if (!target) return session.send(`${tag} NO [TRYCREATE] no such folder`);
          const chosen = pick(folder, words[0] ?? '', true);
          for (const message of chosen) server.deliver(target.name, message.source);
          if (name === 'UID MOVE') remove(folder, chosen);
          return ok();
        }
      }
      session.send(`${tag} BAD unknown command`);
    }

    function remove(folder: ScriptedFolder, messages: ScriptedMessage[]): void {
      for (const message of messages) {
        const index = folder.messages.indexOf(message);
        folder.messages.splice(index, 1);
        session.send(`* ${index + 1} EXPUNGE`);
      }
    }

    function select(tag: string, name: string) {
      const folder = server.folders.get(name.toUpperCase() === 'INBOX' ? 'INBOX' : name);
      session.folder = folder ?? null;
      if (!folder) return session.send(`${tag} NO [NONEXISTENT] no such folder`);
      session.send(
        `* FLAGS (${FLAGS.join(' ')})`,
        `* OK [PERMANENTFLAGS (${FLAGS.join(' ')} \\*)] flags`,
        `* ${folder.messages.length} EXISTS`,
        '* 0 RECENT',
        `* OK [UIDVALIDITY ${folder.uidValidity}] valid`,
      );
      if (folder.uidNext !== null) session.send(`* OK [UIDNEXT ${folder.uidNext}] next`);
      session.send(`${tag} OK [READ-WRITE] selected`);
    }

    function search(tag: string, folder: ScriptedFolder, words: string[]): void {
      let found = folder.messages;
      for (let at = 0; at < words.length; at++) {
        const key = words[at]?.toUpperCase();
        if (key === 'UID') found = intersect(found, pick(folder, words[++at] ?? '', true));
        if (key === 'SINCE') {
          const isNegated = words[at - 1]?.toUpperCase() === 'NOT';
          const since = new Date(`${words[++at]} UTC`).getTime();
          found = found.filter(({ internalDate }) => internalDate.getTime() >= since !== isNegated);
        }
      }
      session.send(`* SEARCH${found.map(({ uid }) => ` ${uid}`).join('')}`, `${tag} OK found`);
    }

    function fetch(tag: string, folder: ScriptedFolder, name: string, rest: string): void {
      const [, set, items] = /^(\S+) (.*)$/s.exec(rest) ?? [];
      for (const message of pick(folder, set ?? '', name === 'UID FETCH'))
        session.send(row(folder, message, items ?? ''));
      session.send(`${tag} OK fetched`);
    }
  }

  return server;
}

const status = ({ name, messages, uidNext, uidValidity }: ScriptedFolder) =>
  `* STATUS "${name}" (MESSAGES ${messages.length}${uidNext === null ? '' : ` UIDNEXT ${uidNext}`} UIDVALIDITY ${uidValidity})`;

const FLAGS = ['\\Answered', '\\Flagged', '\\Deleted', '\\Seen', '\\Draft'];

/** One FETCH answer of a message with what `items` asks for. */
export function row(folder: ScriptedFolder, message: ScriptedMessage, items: string): Buffer {
  const parts: Buffer[] = [Buffer.from(`UID ${message.uid}`)];
  const add = (text: string) => parts.push(Buffer.from(text));
  if (/FLAGS/.test(items)) add(`FLAGS (${[...message.flags].join(' ')})`);
  if (/INTERNALDATE/.test(items)) add(`INTERNALDATE "${imapDate(message.internalDate)}"`);
  if (/RFC822\.SIZE/.test(items)) add(`RFC822.SIZE ${message.size ?? message.source.length}`);
  for (const [name, value] of Object.entries(message.items ?? {}))
    if (items.split(/[ ()]/).includes(name)) add(`${name} ${value}`);
  if (/HEADER\.FIELDS/.test(items)) {
    const field = /^message-id:.*(?:\r?\n[ \t].*)*\r?\n/im.exec(message.source.toString('latin1'))?.[0] ?? '';
    const text = Buffer.from(`${field}\r\n`, 'latin1');
    parts.push(literal('BODY[HEADER.FIELDS (message-id)]', text));
  }
  const partial = /BODY\.PEEK\[\](?:<(\d+)\.(\d+)>)?/.exec(items);
  if (partial) {
    const start = partial[1] === undefined ? undefined : Number(partial[1]);
    const bytes =
      start === undefined ? message.source : message.source.subarray(start, start + Number(partial[2]));
    parts.push(literal(start === undefined ? 'BODY[]' : `BODY[]<${start}>`, bytes));
  }
  const sequence = folder.messages.indexOf(message) + 1;
  const joined = parts.flatMap((part, index) => (index === 0 ? [part] : [Buffer.from(' '), part]));
  return Buffer.concat([Buffer.from(`* ${sequence} FETCH (`), ...joined, Buffer.from(')')]);
}

const literal = (name: string, bytes: Buffer) =>
  Buffer.concat([Buffer.from(`${name} {${bytes.length}}\r\n`), bytes]);

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function imapDate(date: Date): string {
  const iso = date.toISOString();
  const day = String(date.getUTCDate()).padStart(2, ' ');
  return `${day}-${MONTHS[date.getUTCMonth()]}-${iso.slice(0, 4)} ${iso.slice(11, 19)} +0000`;
}

/** The messages that a sequence set names: RFC 3501 §9, `*` and swapped ends included. */
export function pick(folder: ScriptedFolder, set: string, byUid: boolean): ScriptedMessage[] {
  const { messages } = folder;
  const numberOf = (message: ScriptedMessage, index: number) => (byUid ? message.uid : index + 1);
  const last = messages.length === 0 ? 0 : numberOf(messages.at(-1)!, messages.length - 1);
  const ranges = set.split(',').map((part) => {
    const [a, b] = part.split(':').map((end) => (end === '*' ? last : Number(end)));
    return [Math.min(a!, b ?? a!), Math.max(a!, b ?? a!)] as const;
  });
  return messages.filter((message, index) => {
    const number = numberOf(message, index);
    return ranges.some(([low, high]) => number >= low && number <= high);
  });
}

function intersect(a: ScriptedMessage[], b: ScriptedMessage[]): ScriptedMessage[] {
  const other = new Set(b);
  return a.filter((message) => other.has(message));
}

/** Atoms and quoted strings of a command, quotes taken off. */
function tokens(rest: string): string[] {
  return [...rest.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    (match) => match[2] ?? match[1]!.replace(/\\(.)/g, '$1'),
  );
}
