/** A spool thread for tests: ready at once, and dead at the first question. */
import { parentPort } from 'node:worker_threads';

parentPort?.on('message', () => {
  throw new Error('out of luck');
});
parentPort?.postMessage({ kind: 'ready', run: { id: 'x', directory: '/nowhere/x', unclean: false } });
