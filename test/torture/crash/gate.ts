/** Loaded into the program before anything else: tells its threads' ids, holds the one that is to be traced until it is, and lets parsers die. */
import { openSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';

const directory = process.env.TORTURE_GATE ?? '';
const held = process.env.TORTURE_HELD ?? '';
const self = isMainThread ? 'main' : 'spool';

// Whoever waits for the file finds it whole.
writeFileSync(`${directory}/${self}.new`, readlinkSync('/proc/thread-self').split('/').at(-1) ?? '');
renameSync(`${directory}/${self}.new`, `${directory}/${self}`);
// As by a message that cannot be parsed: a parser ends with the directory that it makes for attachments.
if (isMainThread && process.env.TORTURE_PARSERS === 'die') {
  const calls = '?chmod,?fchmodat';
  const strace = `/usr/bin/strace -f -o /dev/null -e trace=${calls} -e inject=${calls}:signal=SIGKILL`;
  // strace that is killed lets go of what it traces.
  const node = `/usr/bin/setpriv --pdeathsig KILL ${process.execPath}`;
  const parser = join(directory, 'parser');
  writeFileSync(parser, `#!/bin/sh\nexec ${strace} ${node} "$@"\n`, { mode: 0o755 });
  process.execPath = parser;
}
// libuv starts its threads with their first work.
if (isMainThread) await stat('/');
// Opening a FIFO waits for its other end.
if (held === self || (held === 'pool' && isMainThread)) openSync(`${directory}/fifo`, 'r');
