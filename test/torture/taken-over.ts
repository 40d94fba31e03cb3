/** A copy of the program whose parser processes a module of ours has taken over. */
import { cpSync, existsSync, mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PROGRAM } from '../dovecot/workplace.ts';

/** Makes it in `directory`/program, and gives its entry. */
export function takeOver(directory: string, module: string): string {
  const [original, copy] = [dirname(dirname(PROGRAM)), join(directory, 'program')];
  mkdirSync(copy);
  cpSync(dirname(PROGRAM), join(copy, 'dist'), { recursive: true });
  for (const name of ['package.json', 'schema', 'node_modules'])
    if (existsSync(join(original, name))) symlinkSync(realpathSync(join(original, name)), join(copy, name));
  cpSync(join(import.meta.dirname, module), join(copy, 'dist/message/parser-process.js'));
  return join(copy, 'dist/main.js');
}
