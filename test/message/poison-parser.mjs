/** A parser process for the pool's tests: does what the message says. The protocol is parser-protocol.ts's. */
import { existsSync, writeFileSync, writeSync } from 'node:fs';
import { openParserEnd } from '../../src/message/parser-channel.ts';

process.on('SIGTERM', () => undefined);
const channel = openParserEnd();
const send = (reply) => {
  channel.post(reply);
  channel.flush();
};
/** What is no reply, as it is. */
const garbage = {
  text: () => Buffer.from('\x04\0\0\0oops'),
  number: () => frame('7'),
  code: () => frame('{"kind":"failed","number":1,"error":{"code":"constructor"}}'),
  detail: () => frame('{"kind":"failed","number":1,"error":{"code":"PARSE_FAILED","detail":{"toString":1}}}'),
  endless: () => Buffer.from('\xff\xff\xff\xff', 'latin1'),
};
/** Replies that are none of this moment, each of which would begin the time of a message anew. */
const outOfTurn = {
  ready: () => send({ kind: 'ready' }),
  started: (number) => send({ kind: 'started', number }),
  done: (number) => send({ kind: 'done', number: number + 1000, result: {} }),
  failed: (number) => send({ kind: 'failed', number: number + 1000, error: { code: 'PARSE_FAILED' } }),
};
const frame = (json) => Buffer.concat([Uint8Array.of(json.length, 0, 0, 0), Buffer.from(json)]);

function obey({ number, job }) {
  const [order, word] = Buffer.from(job.source).toString().split(' ');
  const mark = order === 'filtered' ? undefined : word;
  const once = mark !== undefined && existsSync(mark);
  if (!once && order === 'stop') {
    writeFileSync(mark, '');
    process.kill(process.pid, 'SIGSTOP');
    return;
  }
  send({ kind: 'started', number });
  if (mark !== undefined) writeFileSync(mark, '');
  if (!once && order === 'loop') for (;;);
  if (!once && order === 'half') {
    writeSync(3, Buffer.from('\x40\0\0\0{"kind":"done","num'));
    process.exit(7);
  }
  if (!once && order in outOfTurn) {
    outOfTurn[order](number);
    for (;;);
  }
  if (!once && order in garbage) {
    writeSync(3, garbage[order]());
    for (;;);
  }
  if (!once && order === 'exit') process.exit(7);
  if (!once && order === 'abort') process.abort();
  if (!once && order === 'heap') {
    const kept = [];
    for (;;) kept.push(new Array(1000).fill({}));
  }
  if (!once && order === 'buffers') {
    const kept = [];
    for (let n = 0; n < 40; n += 1) kept.push(Buffer.alloc(8 * 1024 * 1024, 1));
    for (;;);
  }
  if (order === 'full') return send({ kind: 'failed', number, error: { code: 'STORAGE_FULL' } });
  if (!once && order === 'bad')
    return send({ kind: 'failed', number, error: { code: 'PARSE_FAILED', detail: 'bad' } });
  // Of a header: `filtered NAME` by a rule of that name.
  const verdict = { kind: 'filtered', rule: word };
  if (order === 'filtered')
    return send({ kind: 'done', number, result: { verdict, takenBy: null, messageId: null } });
  send({ kind: 'done', number, result: { order, pid: process.pid } });
}

send({ kind: 'ready' });
for (let request = channel.receive(); request !== null; request = channel.receive()) obey(request);
