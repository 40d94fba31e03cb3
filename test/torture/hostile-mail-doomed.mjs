/** The parser, but messages with a field X-Doom find what every limit is for: a defect that nobody knows yet. */
const MIB = 1024 * 1024;

const dooms = {
  loop() {
    for (;;);
  },
  /** Where no other JavaScript has its turn, nor V8 itself. */
  regexp() {
    /^(a+)+$/.test(`${'a'.repeat(64)}!`);
  },
  heap() {
    const kept = [];
    for (;;) kept.push(new Array(1000).fill({}));
  },
  /** V8 does not count these. More than the limit, and less than harms the machine where there is none. */
  buffers() {
    const kept = [];
    for (let n = 0; n < 96; n++) kept.push(Buffer.alloc(8 * MIB, 1));
    for (;;);
  },
  stop() {
    process.kill(process.pid, 'SIGSTOP');
  },
  /** Of all signals but two. */
  deaf() {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => undefined);
    for (;;);
  },
  abort() {
    process.abort();
  },
  exit() {
    process.exit(0);
  },
  recursion() {
    const deeper = () => deeper() + 1;
    deeper();
  },
};

process.on('message', ({ number, job }) => {
  const [, doom] = /^X-Doom: (\w+)/m.exec(Buffer.from(job.source).toString('latin1')) ?? [];
  if (doom === undefined) return;
  process.send({ kind: 'started', number });
  dooms[doom]();
});

await import('./parser-process-itself.js');
