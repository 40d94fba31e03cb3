/** `mailwatchd schema`: the JSON Schema of the message document. */
import { readFileSync } from 'node:fs';
import { EXIT } from '../errors.ts';
import { packageFile } from '../program.ts';

/** Prints it and returns 0. */
export async function schema(io: { stdout: NodeJS.WritableStream }): Promise<number> {
  io.stdout.write(readFileSync(packageFile('schema/message-v1.json'), 'utf8'));
  return EXIT.OK;
}
