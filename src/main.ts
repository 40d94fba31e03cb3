#!/usr/bin/env node
/** argv → exit status; the only place that exits the process. */
import process from 'node:process';
import { boundYoungGeneration, collectOnlyWhenNeeded } from './heap.ts';

/** The first version whose `node:sqlite`, permission model and AsyncDisposableStack we were tested with. */
const OLDEST_NODE = 24;

if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  process.stderr.write(
    `mailwatchd: USAGE: Node.js ${process.versions.node} is too old, ${OLDEST_NODE} or later is needed: ` +
      "run it as 'npx node dist/main.js' in its own directory, which brings one\n",
  );
  process.exit(64);
}

// Node would open its debugger to whoever can signal us: a parser that a message took over, for one.
process.on('SIGUSR1', () => undefined);

// A defect ends the process: what it was doing is in the ledger, and the supervisor starts it again.
process.on('uncaughtException', (error) => {
  const place = error.stack?.split('\n')[1]?.trim() ?? 'no stack';
  // Foreign text may be in it; what escapes that elsewhere may be what failed.
  const told = `${JSON.stringify(error.message)} ${place}`.replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  process.stderr.write(`mailwatchd: INTERNAL: ${told}: please report it\n`);
  process.exit(70);
});

// Half of these threads may wait for name servers (libuv), which may be silent about several hosts at once; it
// must be said before the first is needed.
process.env.UV_THREADPOOL_SIZE ??= '16';

boundYoungGeneration();
collectOnlyWhenNeeded();

// Loaded after the check, since an older Node cannot load it.
const { runCommandLine } = await import('./cli.ts');
process.exit(await runCommandLine(process.argv.slice(2), process));
