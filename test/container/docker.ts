/** Runs the `docker` command line, as a user would. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Outcome } from '../dovecot/workplace.ts';

/** Logs of a long test. */
const MAX_OUTPUT = 64 * 1024 * 1024;

/** Resolves with what the command said, whatever its status. */
export const docker = (...parameters: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile('docker', parameters, { maxBuffer: MAX_OUTPUT }, (error, stdout, stderr) => {
      // Where it did not even start, `code` is a name such as ENOENT.
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ status, stdout, stderr: status === null ? `${stderr}${error}` : stderr });
    });
  });

/** Rejects where the command fails; resolves with its output, without the line break at its end. */
export async function dockerOk(...parameters: string[]): Promise<string> {
  const { status, stdout, stderr } = await docker(...parameters);
  if (status !== 0) throw new Error(`docker ${parameters.join(' ')}: exit ${status}: ${stderr}`);
  return stdout.trimEnd();
}

/** Stands in every image of ours, for `textsIn` to find. */
export const LICENSE = 'Permission is hereby granted, free of charge';

/** Which of the texts stand in any layer of an image (`save`) or in the files of a container (`export`). */
export async function textsIn(
  archive: 'save' | 'export',
  name: string,
  texts: readonly string[],
): Promise<string[]> {
  // Neither archive is compressed.
  const search = 'docker "$0" "$1" | grep --text --fixed-strings --only-matching "$2" | sort --unique';
  const { stdout } = await promisify(execFile)('bash', [
    ...['-c', `set -o pipefail; ${search}`, archive, name],
    texts.join('\n'),
  ]);
  return stdout.trimEnd().split('\n');
}
