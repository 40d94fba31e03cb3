/** A small IMAP client of our own: what the daemon tells is compared with what this one sees on the wire. */
import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';

/** One response line; each literal is left in `text` as `{n}` and stands in `literals`, in order. */
export interface ImapLine {
  text: string;
  literals: Buffer[];
}

/** A message as the server has it. */
export interface ServerMessage {
  uid: number;
  /** RFC822.SIZE. */
  size: number;
  /** Of the bytes that BODY[] gives, hex. */
  sha256: string;
  /** Without angle brackets. */
  messageId: string | null;
  /** INTERNALDATE, ms. */
  internalDate: number;
  flags: string[];
}

export interface ImapClient extends AsyncDisposable {
  /** Sends one command (buffers go as literals) and resolves with all lines of its answer, the tagged one last; rejects on NO, BAD and a lost connection. */
  command(...parts: (string | Buffer)[]): Promise<ImapLine[]>;
  /** Begins IDLE and resolves once the server waits; `done` ends it. One at a time. */
  idle(onLine: (line: ImapLine) => void): Promise<{ done(): Promise<void> }>;
  /** Every message of a folder, by ascending UID; does not set \Seen. */
  messages(folder: string): Promise<ServerMessage[]>;
  close(): Promise<void>;
}

/** Connects without TLS and logs in. */
export async function connectImap(options: {
  host: string;
  port: number;
  user: string;
  password: string;
}): Promise<ImapClient> {
  const socket = connect({ host: options.host, port: options.port, noDelay: true });
  const reader = createLineReader(socket);
  let listener: ((line: ImapLine) => void) | null = null;
  let count = 0;

  /** Reads up to the line that `isLast` accepts; what came before it is untagged. */
  async function readUntil(
    isLast: (line: ImapLine) => boolean,
  ): Promise<{ untagged: ImapLine[]; last: ImapLine }> {
    const untagged: ImapLine[] = [];
    while (true) {
      const line = await reader.next();
      if (isLast(line)) return { untagged, last: line };
      untagged.push(line);
      listener?.(line);
    }
  }

  async function finish(tag: string): Promise<ImapLine[]> {
    const { untagged, last } = await readUntil((line) => line.text.startsWith(`${tag} `));
    if (!last.text.startsWith(`${tag} OK`)) throw new Error(`IMAP: ${last.text}`);
    return [...untagged, last];
  }

  /** One command at a time: whose answer is being read is never in doubt. */
  let queue: Promise<unknown> = Promise.resolve();
  function command(...parts: (string | Buffer)[]): Promise<ImapLine[]> {
    const answered = queue.then(() => transmit(parts));
    queue = answered.catch(() => undefined);
    return answered;
  }

  async function transmit(parts: (string | Buffer)[]): Promise<ImapLine[]> {
    const tag = `t${++count}`;
    socket.write(`${tag} `);
    for (const part of parts) {
      // LITERAL+ (RFC 7888): no waiting for the server's go-ahead.
      if (typeof part !== 'string') socket.write(`{${part.length}+}\r\n`);
      socket.write(part);
    }
    socket.write('\r\n');
    return finish(tag);
  }

  const client: ImapClient = {
    command,
    async idle(onLine) {
      const tag = `t${++count}`;
      listener = onLine;
      socket.write(`${tag} IDLE\r\n`);
      await readUntil((line) => line.text.startsWith('+'));
      const finished = finish(tag);
      // Awaited by `done`; until then a lost connection is nobody's unhandled rejection.
      finished.catch(() => undefined);
      return {
        async done() {
          socket.write('DONE\r\n');
          await finished;
          listener = null;
        },
      };
    },
    async messages(folder) {
      await command('EXAMINE ', quote(folder));
      const lines = await command('UID FETCH 1:* (UID RFC822.SIZE INTERNALDATE FLAGS BODY.PEEK[])');
      // STATUS of a selected folder would tell what this session last saw.
      await command('UNSELECT');
      return lines
        .filter((line) => line.literals.length === 1 && line.text.includes(' FETCH ('))
        .map(readMessage)
        .sort((a, b) => a.uid - b.uid);
    },
    async close() {
      socket.destroy();
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
    },
  };

  await readUntil((line) => line.text.startsWith('* OK'));
  await command('LOGIN ', quote(options.user), ' ', quote(options.password));
  return client;
}

/** A quoted string with a mailbox name in modified UTF-7 (RFC 3501 §5.1.3), which leaves plain ASCII as it is. */
export function quote(text: string): string {
  const encoded = text
    .replaceAll('&', '&-')
    .replace(
      /[^ -~]+/g,
      (run) =>
        `&${Buffer.from(run, 'utf16le').swap16().toString('base64').replace(/=+$/, '').replaceAll('/', ',')}-`,
    );
  return `"${encoded.replace(/["\\]/g, '\\$&')}"`;
}

function readMessage(line: ImapLine): ServerMessage {
  const raw = line.literals[0]!;
  const item = (pattern: RegExp) => {
    const match = pattern.exec(line.text);
    if (!match) throw new Error(`IMAP: no ${pattern} in ${line.text}`);
    return match[1]!;
  };
  const header = raw.subarray(0, raw.indexOf('\r\n\r\n')).toString('latin1');
  return {
    uid: Number(item(/\bUID (\d+)/)),
    size: Number(item(/\bRFC822\.SIZE (\d+)/)),
    sha256: createHash('sha256').update(raw).digest('hex'),
    messageId: /^Message-ID:\s*<([^>]*)>/im.exec(header)?.[1] ?? null,
    internalDate: Date.parse(item(/\bINTERNALDATE "([^"]+)"/)),
    flags: item(/\bFLAGS \(([^)]*)\)/)
      .split(' ')
      .filter(Boolean),
  };
}

/** Lines with their literals, from a socket; `next` rejects once the connection has ended. */
function createLineReader(socket: Socket): { next(): Promise<ImapLine> } {
  const lines: ImapLine[] = [];
  let buffer: Buffer = Buffer.alloc(0);
  let partial: ImapLine = { text: '', literals: [] };
  let wanted = 0;
  let ended: Error | null = null;
  let wake: () => void = () => undefined;

  socket.on('data', (chunk: Buffer) => {
    buffer = buffer.length === 0 ? chunk : Buffer.concat([buffer, chunk]);
    while (true) {
      if (wanted > 0) {
        if (buffer.length < wanted) break;
        partial.literals.push(buffer.subarray(0, wanted));
        buffer = buffer.subarray(wanted);
        wanted = 0;
      }
      const end = buffer.indexOf('\r\n');
      if (end < 0) break;
      const text = buffer.subarray(0, end).toString('latin1');
      buffer = buffer.subarray(end + 2);
      partial.text += text;
      const literal = /\{(\d+)\}$/.exec(text);
      if (literal && Number(literal[1]) > 0) {
        wanted = Number(literal[1]);
        continue;
      }
      if (literal) {
        partial.literals.push(Buffer.alloc(0));
        continue;
      }
      lines.push(partial);
      partial = { text: '', literals: [] };
    }
    wake();
  });
  const end = (error?: Error) => {
    ended ??= error ?? new Error('IMAP: the connection ended');
    wake();
  };
  socket.on('error', end);
  socket.on('close', () => end());

  return {
    async next() {
      while (lines.length === 0) {
        if (ended) throw ended;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return lines.shift()!;
    },
  };
}
