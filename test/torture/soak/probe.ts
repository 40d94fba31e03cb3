/** Loaded into the daemon's threads before anything else: at SIGUSR2 both collect their garbage, and what is left is appended to a file. */
import { appendFileSync } from 'node:fs';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

const file = process.env.TORTURE_VITALS ?? '';
const channel = new BroadcastChannel('torture-vitals');

/** Bytes that are still in use; Buffers are outside of the heap. */
function inUse(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** How many there are of each kind. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

if (isMainThread) {
  process.on('SIGUSR2', () => channel.postMessage('measure'));
  channel.onmessage = ({ data }) => {
    const line = JSON.stringify({ main: inUse(), spool: data, resources: resources() });
    appendFileSync(file, `${line}\n`);
  };
} else {
  channel.onmessage = () => channel.postMessage(inUse());
}
channel.unref();
