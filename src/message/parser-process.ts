/** Entry point of a parser process: one message after the other, each announced before it is touched. */
import { openParserEnd } from './parser-channel.ts';
import type { Job } from './parser-protocol.ts';
import { prepareParser } from './parser-work.ts';

/** From this size on, bytes, what the messages before left behind would count against this one. */
const LARGE = 8 * 1024 * 1024;

const isLarge = ({ source }: Job): boolean => !(source instanceof Uint8Array) || source.length >= LARGE;

const work = prepareParser();
const channel = openParserEnd();
let wasLarge = false;

/** False once the daemon is gone. A function of its own: what it held of a large message is garbage when it returned. */
function serveNext(): boolean {
  if (wasLarge) {
    // An idle process must not keep what it parsed last.
    channel.flush();
    globalThis.gc?.();
  }
  const request = channel.receive();
  if (request === null) return false;
  channel.post({ kind: 'started', number: request.number });
  channel.flush();
  wasLarge = isLarge(request.job);
  if (wasLarge) globalThis.gc?.();
  channel.post(work(request));
  return true;
}

channel.post({ kind: 'ready' });
while (serveNext());
