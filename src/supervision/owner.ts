/** Who may touch a state directory. */
import { stat } from 'node:fs/promises';
import { MailwatchdError } from '../errors.ts';

/**
 * Throws WRONG_USER unless `uid` owns the state directory: files of another user in it (root's, after
 * one `sudo mailwatchd once`) would stop the daemon. Root may where root owns it. STORAGE_MISSING or
 * STORAGE_DENIED where its owner cannot be told.
 */
export async function assertOwner(
  stateDirectory: string,
  uid: number = process.geteuid?.() ?? 0,
): Promise<void> {
  const owner = await ownerOf(stateDirectory);
  if (owner === uid) return;
  throw new MailwatchdError('WRONG_USER', {
    where: stateDirectory,
    detail: `belongs to user ${owner}, this process runs as user ${uid}`,
    remedy:
      owner === 0
        ? 'run it as root, or chown the directory'
        : `run it with: sudo -u '#${owner}' mailwatchd …`,
  });
}

/** As `assertOwner`, but root may read everybody's. */
export async function assertReader(
  stateDirectory: string,
  uid: number = process.geteuid?.() ?? 0,
): Promise<void> {
  if (uid !== 0) await assertOwner(stateDirectory, uid);
}

async function ownerOf(directory: string): Promise<number> {
  try {
    return (await stat(directory)).uid;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new MailwatchdError(code === 'ENOENT' ? 'STORAGE_MISSING' : 'STORAGE_DENIED', {
      where: directory,
      detail: code === 'ENOENT' ? 'does not exist' : `cannot be looked at (${code ?? 'unknown error'})`,
      remedy: 'create it, owned by the user of the daemon',
    });
  }
}
