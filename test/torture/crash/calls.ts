/** Which of a program's system calls matter, how much, and what they are called in a report. */
import { join } from 'node:path';
import type { Call } from '../strace.ts';

/** Files below the stage's directory, opened for writing, and sockets; stderr and what Node itself reads are nobody's loss. */
export function isOurs({ name, text }: Call, directory: string): boolean {
  if (/^open/.test(name) && !/O_WRONLY|O_RDWR|O_CREAT/.test(text)) return false;
  if (text.includes(`${directory}/gate`)) return false;
  return text.includes(`${directory}/`) || /^\w+\((?:[3-9]|\d\d+)<(?:TCP|UNIX)/.test(text);
}

/** Moving a message or removing what is left of it, here or on the server, all else in the storage directory, committing, the rest, and what SQLite writes between two syncs. */
export function rankOf({ name, text }: Call, directory: string): number {
  if (/^(rename|link|unlink|rmdir)/.test(name) || /UID (STORE|MOVE|EXPUNGE)/.test(text)) return 0;
  if (text.includes(`${directory}/storage`)) return 1;
  if (/^(fsync|fdatasync|syncfs|ftruncate)/.test(name)) return 2;
  return name === 'pwrite64' ? 4 : 3;
}

export function labelOf({ name, nth, text }: Call, directory: string): string {
  const words = text
    .replaceAll(`${directory}/`, '')
    .replaceAll(/\d{8}T\d{6}Z-[0-9a-f]{8}/g, 'RUN')
    .replace(/\s+= .*$/, '');
  return `${name} ${nth}: ${words.length > 160 ? `${words.slice(0, 160)}…` : words}`;
}

/** The files that a call names, by path or by descriptor. */
function pathsOf({ text }: Call): string[] {
  const named = [...text.matchAll(/"(\/[^"]*)"/g)].map((match) => match[1]!);
  const open = [...text.replace(/\) += .*$/, ')').matchAll(/\d+<(\/[^>]*)>/g)].map((match) => match[1]!);
  return [...named, ...open];
}

/** Part of the name is made at random at each start. */
const isRandom = (path: string): boolean => /\d{8}T\d{6}Z-|[0-9a-f]{8}-[0-9a-f]{4}-/.test(path);

/** A path below the stage's directory, and which of a name's calls on it. */
export interface OnPath {
  path: string;
  nth: number;
}

/** Node wakes its threads by `write` and loads itself by `openat`, and dies where these fail. */
export const isShared = ({ name }: Call): boolean => ['write', 'writev', 'sendmsg', 'openat'].includes(name);

/** Counted by path, such a call is hit whatever Node does meanwhile. */
export function byPath(call: Call, calls: Call[], directory: string): OnPath | null {
  const path = pathsOf(call).find((each) => each.startsWith(`${directory}/`) && !isRandom(each));
  if (path === undefined || !isShared(call)) return null;
  const same = calls.filter((each) => each.name === call.name && pathsOf(each).includes(path));
  return { path: path.slice(directory.length + 1), nth: same.indexOf(call) + 1 };
}

/** What strace is to do to one call, and on which path. */
export function injection(
  { call, on }: { call: Call; on: OnPath | null },
  directory: string,
  how: string,
  lasting = false,
): [inject: string, path?: string] {
  const inject = `${call.name}:${how}:when=${on?.nth ?? call.nth}${lasting ? '+' : ''}`;
  return on === null ? [inject] : [inject, join(directory, on.path)];
}
