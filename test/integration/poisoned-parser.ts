/** The real parser, but for messages with a field X-Poison, which harm it as that says. */
import type { Request } from '../../src/message/parser-protocol.ts';

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

process.on('message', (message) => {
  const { number, job } = message as Request;
  const [, poison] = /^X-Poison: (\w+)/m.exec(Buffer.from(job.source as Uint8Array).toString('latin1')) ?? [];
  if (poison === undefined) return;
  process.send?.({ kind: 'started', number });
  harm[poison]?.();
});

await import('../../src/message/parser-process.ts');
