/** Loaded into the daemon's threads before anything else: at SIGUSR2 both collect their garbage, and what is left is appended to a file. */
import { appendFileSync } from 'node:fs';
import { getHeapSpaceStatistics } from 'node:v8';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

const file = process.env.TORTURE_VITALS ?? '';
const channel = new BroadcastChannel('torture-vitals');

/** Where V8 keeps machine code and bytecode. */
const CODE = ['code_space', 'code_large_object_space', 'trusted_space', 'trusted_large_object_space'];

/** Bytes of a thread after collecting garbage: `used` by objects and by Buffers, which are outside of the heap; `code` compiled; `heap` what V8 holds of the system for objects and code. */
function memory(): { used: number; code: number; heap: number } {
  // V8 keeps pages that it freed for later, 70 MB after a burst, until it runs short of memory; what cannot be given
  // back is what grows.
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  const spaces = getHeapSpaceStatistics();
  const sum = (of: typeof spaces, field: 'space_used_size' | 'physical_space_size') =>
    of.reduce((total, space) => total + space[field], 0);
  const code = sum(
    spaces.filter(({ space_name }) => CODE.includes(space_name)),
    'space_used_size',
  );
  const used = sum(spaces, 'space_used_size') - code + process.memoryUsage().external;
  return { used, code, heap: sum(spaces, 'physical_space_size') };
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
    const line = JSON.stringify({ main: memory(), spool: data, resources: resources() });
    appendFileSync(file, `${line}\n`);
  };
} else {
  channel.onmessage = () => channel.postMessage(memory());
}
channel.unref();
