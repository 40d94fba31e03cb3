/** A parser process for the sandbox's test: tries what a parser must not do, and tells what came of it. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import v8 from 'node:v8';
import { Worker } from 'node:worker_threads';
import { openParserEnd } from '../../src/message/parser-channel.ts';

const outcome = (action) => {
  try {
    action();
    return 'allowed';
  } catch (error) {
    return error.code ?? error.message;
  }
};

const channel = openParserEnd();

function probe({ number, job }) {
  const { inside, outside, flags } = JSON.parse(Buffer.from(job.source).toString());
  if (flags) {
    channel.post({ kind: 'started', number });
    channel.flush();
    v8.setFlagsFromString(flags);
    return channel.post({ kind: 'done', number, result: { flags: 'allowed' } });
  }
  const result = {
    writeInside: outcome(() => fs.writeFileSync(`${inside}/written`, 'x')),
    readProgram: outcome(() => fs.readFileSync(new URL('../../package.json', import.meta.url))),
    readOutside: outcome(() => fs.readFileSync(`${outside}/secret`)),
    writeOutside: outcome(() => fs.writeFileSync(`${outside}/written`, 'x')),
    readSystem: outcome(() => fs.readFileSync('/etc/passwd')),
    symlink: outcome(() => fs.symlinkSync(`${outside}/secret`, `${inside}/link`)),
    link: outcome(() => fs.linkSync(`${outside}/secret`, `${inside}/link`)),
    rename: outcome(() => fs.renameSync(`${outside}/secret`, `${inside}/link`)),
    process: outcome(() => {
      const { error } = spawnSync('/bin/true');
      if (error) throw error;
    }),
    worker: outcome(() => new Worker('', { eval: true })),
    sqlite: typeof process.getBuiltinModule('node:sqlite'),
    environment: Object.keys(process.env),
  };
  channel.post({ kind: 'started', number });
  channel.post({ kind: 'done', number, result });
}

channel.post({ kind: 'ready' });
for (let request = channel.receive(); request !== null; request = channel.receive()) probe(request);
