/** A parser process for the sandbox's test: tries what a parser must not do, and tells what came of it. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import v8 from 'node:v8';
import { Worker } from 'node:worker_threads';

const outcome = (action) => {
  try {
    action();
    return 'allowed';
  } catch (error) {
    return error.code ?? error.message;
  }
};

process.on('disconnect', () => process.exit(0));
process.on('message', ({ number, job }) => {
  const { inside, outside, flags } = JSON.parse(Buffer.from(job.source).toString());
  if (flags) {
    process.send({ kind: 'started', number });
    v8.setFlagsFromString(flags);
    return process.send({ kind: 'done', number, result: 'allowed' });
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
  process.send({ kind: 'started', number });
  process.send({ kind: 'done', number, result });
});
process.send({ kind: 'ready' });
