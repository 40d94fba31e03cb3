/** Loaded into the program before anything else: tells its threads' ids, and holds the one that is to be traced until it is. */
import { openSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isMainThread } from 'node:worker_threads';

const directory = process.env.TORTURE_GATE ?? '';
const held = process.env.TORTURE_HELD ?? '';
const self = isMainThread ? 'main' : 'spool';

// Whoever waits for the file finds it whole.
writeFileSync(`${directory}/${self}.new`, readlinkSync('/proc/thread-self').split('/').at(-1) ?? '');
renameSync(`${directory}/${self}.new`, `${directory}/${self}`);
// libuv starts its threads with their first work.
if (isMainThread) await stat('/');
// Opening a FIFO waits for its other end.
if (held === self || (held === 'pool' && isMainThread)) openSync(`${directory}/fifo`, 'r');
