/** Tells whoever started the daemon how the start ended, through a file descriptor it was given. */
import { closeSync, writeSync } from 'node:fs';

/**
 * The first call writes `text` and closes the descriptor; further ones do nothing, since a start ends
 * once. `null`: nobody asked. What cannot be written is lost: whoever does not listen any more does not
 * decide whether mail is watched.
 */
export function openNotification(fd: number | null): (text: string) => void {
  let open = fd;
  return (text) => {
    if (open === null) return;
    const target = open;
    open = null;
    try {
      writeSync(target, text);
      closeSync(target);
    } catch {
      // the reader is gone, or its disk is full: see above
    }
  };
}
