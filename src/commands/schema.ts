/** `mailwatchd schema`: the JSON Schema of the message document. */
import { readFileSync } from 'node:fs';
import { EXIT } from '../errors.ts';

/** Prints it and returns 0. */
export async function schema(io: { stdout: NodeJS.WritableStream }): Promise<number> {
  io.stdout.write(readFileSync(new URL('../../schema/message-v1.json', import.meta.url), 'utf8'));
  return EXIT.OK;
}
