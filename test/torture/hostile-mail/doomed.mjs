/** The parser, but messages with a field X-Doom find what every limit is for: a defect that nobody knows yet. */
import { openParserEnd } from '../../../src/message/parser-channel.ts';
import { prepareParser } from '../../../src/message/parser-work.ts';

const MIB = 1024 * 1024;

/** `begin` announces the message: from then on time and memory are looked at. */
const dooms = {
  loop(begin) {
    begin();
    for (;;);
  },
  /** Where no other JavaScript has its turn, nor V8 itself. */
  regexp(begin) {
    begin();
    /^(a+)+$/.test(`${'a'.repeat(64)}!`);
  },
  // However slow the machine is, all is taken before the time runs. No more than harms it where there is no limit.
  heap(begin) {
    const kept = [];
    for (let n = 0; n < 96 * 1024; n++) kept.push(new Array(1000).fill(n + 0.5));
    begin();
    for (;;);
  },
  /** V8 does not count these. */
  buffers(begin) {
    const kept = [];
    for (let n = 0; n < 96; n++) kept.push(Buffer.alloc(8 * MIB, 1));
    begin();
    for (;;);
  },
  stop(begin) {
    begin();
    process.kill(process.pid, 'SIGSTOP');
  },
  /** Of all signals but two. */
  deaf(begin) {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => undefined);
    begin();
    for (;;);
  },
  abort(begin) {
    begin();
    process.abort();
  },
  exit(begin) {
    begin();
    process.exit(0);
  },
  recursion(begin) {
    begin();
    const deeper = () => deeper() + 1;
    deeper();
  },
};

const work = prepareParser();
const channel = openParserEnd();
channel.post({ kind: 'ready' });
for (let request = channel.receive(); request !== null; request = channel.receive()) {
  const { number, job } = request;
  const [, doom] = /^X-Doom: (\w+)/m.exec(Buffer.from(job.source).toString('latin1')) ?? [];
  const begin = () => {
    channel.post({ kind: 'started', number });
    channel.flush();
  };
  if (doom === undefined) begin();
  else dooms[doom](begin);
  channel.post(work(request));
}
