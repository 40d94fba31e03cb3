/**
 * Bundles the program into dist/: main.js with a file for each command, and one file for each thread and process of
 * its own. Loading a few files instead of four hundred starts a parser in half the time (docs/performance.md).
 */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type RolldownOptions, rolldown } from 'rolldown';

const project = dirname(import.meta.dirname);

/** What of mailparser is not called (its streams, and what they convert with), and does nothing by being imported. */
const UNCALLED =
  /node_modules\/(@zone-eu\/mailsplit|html-to-text|linkify-it|mailparser|selderee|@selderee|tlds|uc\.micro)\//;

const options: RolldownOptions = {
  cwd: project,
  platform: 'node',
  tsconfig: true,
  treeshake: { moduleSideEffects: [{ test: UNCALLED, sideEffects: false }] },
};

/** The command line; packages that are only there for some machines or loaded when needed are asked for by `require`. */
async function bundleMain(directory: string): Promise<void> {
  const bundle = await rolldown({ ...options, input: { main: 'src/main.ts' } });
  await bundle.write({
    dir: directory,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name].js',
  });
  await bundle.close();
}

/** One file, as CommonJS: importing `node:fs` from a module loads all of Node's streams, which takes 10 ms. */
export async function bundleEntry(input: string, file: string): Promise<void> {
  const bundle = await rolldown({ ...options, input });
  await bundle.write({ file, format: 'cjs', codeSplitting: false });
  await bundle.close();
}

if (import.meta.main) {
  const dist = join(project, 'dist');
  rmSync(dist, { recursive: true, force: true });
  await bundleMain(dist);
  for (const name of ['spool/thread', 'message/parser-process'])
    await bundleEntry(`src/${name}.ts`, join(dist, `${name}.cjs`));
}
