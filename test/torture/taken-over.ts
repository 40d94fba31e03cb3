/** A copy of the program whose parser processes a module of ours has taken over. */
import { cpSync, existsSync, mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bundleEntry } from '../../scripts/build.ts';
import { PROGRAM } from '../dovecot/workplace.ts';

/** Makes it in `directory`/program, with `module` of this folder as the parser's entry, and gives its own. */
export async function takeOver(directory: string, module: string): Promise<string> {
  const [original, copy] = [dirname(dirname(PROGRAM)), join(directory, 'program')];
  mkdirSync(copy);
  cpSync(dirname(PROGRAM), join(copy, 'dist'), { recursive: true });
  for (const name of ['package.json', 'schema', 'node_modules'])
    if (existsSync(join(original, name))) symlinkSync(realpathSync(join(original, name)), join(copy, name));
  await bundleEntry(join(import.meta.dirname, module), join(copy, 'dist/message/parser-process.cjs'));
  return join(copy, 'dist/main.js');
}
