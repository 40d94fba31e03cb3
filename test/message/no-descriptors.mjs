/** For the pool's test, under a limit of descriptors: takes all that are left once a parser is warm, and has messages parsed. */
import { openSync } from 'node:fs';
import { startParsers } from '../../src/message/pool.ts';

const parsers = startParsers({ size: 2, stagingDirectory: null, parseSeconds: 30, parseMemoryMb: 512 });
await parsers.warm();
try {
  for (;;) openSync('/dev/null');
} catch (error) {
  process.stdout.write(`${error.code}\n`);
}
const source = Buffer.from('Subject: a\r\n\r\nb');
const jobs = Array.from({ length: 8 }, () => parsers.parseToDocument({ source, attachments: null }));
for (const document of await Promise.all(jobs)) process.stdout.write(document.subject);
await parsers.stop();
