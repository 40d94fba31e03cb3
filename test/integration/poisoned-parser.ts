/** The real parser, but for messages with a field X-Poison, which harm it as that says. */
import { openParserEnd } from '../../src/message/parser-channel.ts';
import { prepareParser } from '../../src/message/parser-work.ts';

const harm: Record<string, () => void> = {
  loop: () => {
    for (;;);
  },
  heap: () => {
    const kept: object[] = [];
    for (;;) kept.push(new Array(1000).fill({}));
  },
  regexp: () => {
    /^(\s*\n?)*$/.test(`${'\n'.repeat(60 * 1024 * 1024)}x`);
  },
  exit: () => process.exit(1),
  abort: () => process.abort(),
  throw: () => {
    throw new Error('thrown');
  },
};

const work = prepareParser();
const channel = openParserEnd();
channel.post({ kind: 'ready' });
for (let request = channel.receive(); request !== null; request = channel.receive()) {
  const { number, job } = request;
  const [, poison] = /^X-Poison: (\w+)/m.exec(Buffer.from(job.source as Uint8Array).toString('latin1')) ?? [];
  channel.post({ kind: 'started', number });
  channel.flush();
  if (poison !== undefined) harm[poison]?.();
  channel.post(work(request));
}
