/** Where the program's own files lie: in src/ from source, in dist/ once it is built and bundled (scripts/build.ts). */

/** The directory of its code. */
export const CODE_DIRECTORY = import.meta.dirname;

/** The entry of a thread or a process of its own; `name` is its path in src/ without the ending. */
export function programEntry(name: 'spool/thread' | 'message/parser-process'): URL {
  return new URL(`./${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.cjs'}`, import.meta.url);
}

/** A file of the package that lies beside its code, such as package.json. */
export function packageFile(path: string): URL {
  return new URL(`../${path}`, import.meta.url);
}
