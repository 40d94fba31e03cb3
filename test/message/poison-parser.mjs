/** A parser process for the pool's tests: does what the message says. The protocol is parser-protocol.ts's. */
import { existsSync, writeFileSync } from 'node:fs';

process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => undefined);
const send = (reply) => process.send(reply);

process.on('message', ({ number, job }) => {
  const [order, mark] = Buffer.from(job.source).toString().split(' ');
  const once = mark !== undefined && existsSync(mark);
  if (!once && order === 'stop') {
    writeFileSync(mark, '');
    process.kill(process.pid, 'SIGSTOP');
    return;
  }
  send({ kind: 'started', number });
  if (mark !== undefined) writeFileSync(mark, '');
  if (!once && order === 'loop') for (;;);
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
  send({ kind: 'done', number, result: { order, pid: process.pid } });
});
send({ kind: 'ready' });
