/** Functions of the C library that Node has no name for, through a foreign-function interface. */
import { createRequire } from 'node:module';
import type koffi from 'koffi';

/** A function that takes and returns numbers. */
type LibcFunction = (...numbers: number[]) => number;

/** The package is optional, and has no build for some machines. */
const ffi = ((): typeof koffi | null => {
  try {
    return createRequire(import.meta.url)('koffi');
  } catch (error) {
    if (error instanceof Error) return null;
    throw error;
  }
})();

/** By its declaration in C, such as `int syncfs(int descriptor)`; null where this machine does not have it. */
export function libcFunction(declaration: string): LibcFunction | null {
  try {
    return ffi?.load(null).func(declaration) ?? null;
  } catch (error) {
    if (error instanceof Error) return null;
    throw error;
  }
}

/** The name of the error, such as `EIO`, that the last call in this thread failed with. */
export function libcError(): string {
  const number = ffi?.errno();
  return Object.entries(ffi?.os.errno ?? {}).find(([, value]) => value === number)?.[0] ?? 'EIO';
}
