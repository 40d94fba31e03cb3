/** A parser process for the pool's tests: says that it is done with the first message before it has read it. */
import { readSync } from 'node:fs';
import { openParserEnd } from '../../src/message/parser-channel.ts';

const channel = openParserEnd();
channel.post({ kind: 'ready' });
channel.flush();
readSync(0, Buffer.alloc(1));
const row = {
  messageId: null,
  size: 1,
  sha256: '0'.repeat(64),
  hasAttachments: false,
  hasSource: false,
  warnings: [],
};
channel.post({ kind: 'started', number: 1 });
channel.post({ kind: 'done', number: 1, result: row });
channel.flush();
for (;;);
