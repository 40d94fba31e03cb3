/** Entry point of a parser process: one message after the other, each announced before it is touched. */
import { type MailwatchdError, plainError, toMailwatchdError } from '../errors.ts';
import { parseMessage } from './document.ts';
import { isStageJob, type Job, type Reply, type Request } from './parser-protocol.ts';
import { parseDocument, stageMessage } from './stage.ts';

/** Runs through most of the parser, so that the first real message finds it loaded and compiled. */
const SAMPLE = [
  'From: =?utf-8?q?A=C3=B1a?= <ana@example.org>',
  'Date: Fri, 20 Nov 2026 11:00:00 +0100',
  'Content-Type: multipart/mixed; boundary=b',
  '',
  '--b',
  'Content-Type: text/html; charset=iso-8859-1',
  'Content-Transfer-Encoding: quoted-printable',
  '',
  '<p>=E9</p>',
  '--b',
  'Content-Type: application/pdf; name=a.pdf',
  'Content-Transfer-Encoding: base64',
  '',
  'QQ==',
  '--b--',
  '',
].join('\r\n');

/** Replies that the channel has not taken whole. */
let unsent = 0;

function send(reply: Reply): void {
  unsent += 1;
  process.send?.(reply, undefined, undefined, () => {
    unsent -= 1;
  });
}

/** From this size on, bytes, what the messages before and the channel left behind would count against this one. */
const LARGE = 8 * 1024 * 1024;

const isLarge = ({ source }: Job): boolean => !(source instanceof Uint8Array) || source.length >= LARGE;

const queue: Request[] = [];

function take(request: Request): void {
  queue.push(request);
  if (queue.length > 1) return;
  send({ kind: 'started', number: request.number });
  setImmediate(work);
}

/** One message a turn of the event loop, which brings in what has come meanwhile. */
function work(): void {
  // Parsing holds the channel up: what it has not taken would come when the next message is done, and be late for this one.
  if (unsent > 0) return void setImmediate(work);
  const request = queue[0];
  if (request === undefined) return;
  const reply = run(request);
  queue.shift();
  // An idle process must not keep what it parsed last.
  if (isLarge(request.job)) setImmediate(() => globalThis.gc?.());
  const next = queue[0]?.number;
  send({ ...reply, ...(next !== undefined && { next }) });
  if (next !== undefined) setImmediate(work);
}

function run({ number, job }: Request): Extract<Reply, { kind: 'done' | 'failed' }> {
  if (isLarge(job)) globalThis.gc?.();
  try {
    const result = isStageJob(job) ? stageMessage(job) : parseDocument(job, umask);
    return { kind: 'done', number, result };
  } catch (thrown) {
    const error: MailwatchdError = toMailwatchdError(thrown, 'PARSE_FAILED');
    return { kind: 'failed', number, error: plainError(error) };
  }
}

// Modes of staged files are exact, whatever the daemon was started with.
const umask = process.umask(0);
// Ctrl-C goes to the whole group: what is in flight is finished, and the daemon ends us by closing the channel.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(0));
parseMessage(Buffer.from(SAMPLE), { identity: null });
process.on('message', (message) => take(message as Request));
send({ kind: 'ready' });
