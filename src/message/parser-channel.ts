/** The channel between the pool and a parser process: frames over two pipes. The parser's end of it blocks. */
import { readSync, writeSync } from 'node:fs';
import { jsonOf } from './json.ts';
import { type Reply, type Request, readReply } from './parser-protocol.ts';

/** The parser's descriptors. Not stdout: what a library prints there is no reply. */
const REQUESTS = 0;
const REPLIES = 3;

/** Before a request: the lengths of its JSON and of its message. Before a reply: that of its JSON. 32 bits, little-endian. */
const REQUEST_PREFIX = 8;
const REPLY_PREFIX = 4;

/** The message goes as it is, behind the rest as JSON. */
export function encodeRequest({ number, job }: Request): [head: Buffer, message: Buffer] {
  const message = Buffer.isBuffer(job.source) ? job.source : Buffer.alloc(0);
  const json = JSON.stringify({
    number,
    job: { ...job, source: message === job.source ? null : job.source },
  });
  const length = Buffer.byteLength(json);
  const head = Buffer.allocUnsafe(REQUEST_PREFIX + length);
  head.writeUInt32LE(length);
  head.writeUInt32LE(message.length, 4);
  head.write(json, REQUEST_PREFIX);
  return [head, message];
}

/** A document goes in pieces: its JSON never exists as one string. */
function encodeReply(reply: Reply): Buffer[] {
  const json =
    reply.kind === 'done' && 'headers' in reply.result
      ? [
          Buffer.from(`{"kind":"done","number":${reply.number},"result":`),
          ...jsonOf(reply.result),
          Buffer.from('}'),
        ]
      : [Buffer.from(JSON.stringify(reply))];
  const prefix = Buffer.alloc(REPLY_PREFIX);
  prefix.writeUInt32LE(bytesOf(json));
  return [prefix, ...json];
}

const bytesOf = (pieces: readonly Buffer[]): number => pieces.reduce((sum, { length }) => sum + length, 0);

/**
 * Takes what comes through the channel, and gives the replies that are complete by it. Throws where something else comes:
 * RangeError for what would be longer than `limit` bytes, before it is held; SyntaxError or TypeError for no reply.
 */
export function replyReader(limit: () => number): (chunk: Buffer) => Reply[] {
  const prefix = Buffer.alloc(REPLY_PREFIX);
  // Each byte is copied: however small the pieces are that it comes in, a reply takes no more than its length.
  let awaited = prefix;
  let filled = 0;
  return (chunk) => {
    const replies: Reply[] = [];
    for (let at = 0; at < chunk.length; ) {
      const copied = chunk.copy(awaited, filled, at);
      at += copied;
      filled += copied;
      if (filled < awaited.length) break;
      filled = 0;
      if (awaited !== prefix) {
        replies.push(readReply(awaited.toString()));
        awaited = prefix;
        continue;
      }
      const length = prefix.readUInt32LE();
      if (length === 0 || length > limit()) throw new RangeError(`a reply of ${length} bytes`);
      awaited = Buffer.allocUnsafe(length);
    }
    return replies;
  };
}

/** What one read takes at most, bytes. A message that fits is parsed where it was received: nothing is allocated for it. */
const RECEIVE_BYTES = 256 * 1024;

/** The parser's end, for a process that does one thing after the other. */
export interface ParserEnd {
  /** Waits for the next request; null once the daemon is gone. Its message's bytes are valid until the next call. */
  receive(): Request | null;
  /** Goes out with `flush`, or before `receive` waits. */
  post(reply: Reply): void;
  /** Returns when the system has what was posted: it arrives even if this process dies now. */
  flush(): void;
}

export function openParserEnd(): ParserEnd {
  const buffer = Buffer.allocUnsafe(RECEIVE_BYTES);
  let start = 0;
  let end = 0;
  let posted: Buffer[] = [];

  function flush(): void {
    if (posted.length === 0) return;
    // Small replies go by one write; of a large document no second copy is made.
    const writes = bytesOf(posted) > RECEIVE_BYTES ? posted : [Buffer.concat(posted)];
    posted = [];
    for (const bytes of writes) {
      for (let sent = 0; sent < bytes.length; ) sent += writeSync(REPLIES, bytes, sent);
    }
  }

  /** The next `length` bytes; null where the daemon is gone before the last of them. */
  function take(length: number): Buffer | null {
    if (end - start >= length) {
      start += length;
      return buffer.subarray(start - length, start);
    }
    flush();
    const target = length > buffer.length ? Buffer.allocUnsafe(length) : buffer;
    let filled = buffer.copy(target, 0, start, end);
    while (filled < length) {
      const read = readSync(REQUESTS, target, filled, target.length - filled, null);
      if (read === 0) return null;
      filled += read;
    }
    [start, end] = target === buffer ? [length, filled] : [0, 0];
    return target.subarray(0, length);
  }

  return {
    receive() {
      const prefix = take(REQUEST_PREFIX);
      if (prefix === null) return null;
      const [jsonLength, messageLength] = [prefix.readUInt32LE(), prefix.readUInt32LE(4)];
      const json = take(jsonLength);
      if (json === null) return null;
      const { number, job } = JSON.parse(json.toString()) as Request;
      const message = take(messageLength);
      if (message === null) return null;
      return { number, job: { ...job, source: job.source ?? message } };
    },
    post(reply) {
      posted.push(...encodeReply(reply));
    },
    flush,
  };
}
