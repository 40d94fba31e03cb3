/** Secrets that are found again, in every form in which programs and servers write them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Workplace } from '../../dovecot/workplace.ts';

/**
 * As it is, as two-byte text, as hexadecimal digits, and in base64 wherever it stands in what is encoded: alone, in
 * SASL PLAIN and LOGIN (RFC 4616), in a header field.
 */
export function formsOf(canary: string): Buffer[] {
  const bytes = Buffer.from(canary);
  const inBase64 = [0, 1, 2].map((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // Characters that also hold bits of what stands before and behind it.
    return encoded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  const forms = [canary, bytes.toString('hex'), ...inBase64].map((form) => Buffer.from(form));
  return [...forms, Buffer.from(canary, 'utf16le')];
}

/** The daemon's files that hold one: mail, status, ledger, logs. */
export function filesWith(canary: string, place: Workplace): string[] {
  const forms = formsOf(canary);
  return filesOf(place).filter((file) => {
    const bytes = readIfThere(file);
    return forms.some((form) => bytes.includes(form));
  });
}

/** All that the daemon of a workplace wrote. */
export const filesOf = ({ storage, state, directory }: Workplace): string[] =>
  [storage, state, join(directory, 'log')].flatMap((below) => [...filesBelow(below)]);

function* filesBelow(directory: string): Generator<string> {
  for (const entry of ifThere(() => readdirSync(directory, { withFileTypes: true })) ?? []) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

/** Empty where it has gone meanwhile. */
export const readIfThere = (file: string): Buffer => ifThere(() => readFileSync(file)) ?? Buffer.alloc(0);

function ifThere<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
