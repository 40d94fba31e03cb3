/** Stages what goes to quarantine: the raw message as `.eml`, and beside it `.error`, which says why. */
import type { PlainError } from '../errors.ts';
import type { MessageIdentity } from '../model.ts';
import { errorText } from './messages.ts';
import { datable } from './names.ts';
import type { Storage } from './storage.ts';

/** A message to be quarantined. */
export interface QuarantineItem {
  epochId: number;
  identity: MessageIdentity;
  /** RFC822.SIZE, bytes. */
  size: number;
  /** Of the whole raw message, hex; null where it was not read. */
  sha256: string | null;
  messageId: string | null;
  /** The bytes, or a file in the run's directory, which is taken over. */
  source: Uint8Array | { file: string };
  /** False where `source` is only the header. */
  complete: boolean;
  error: PlainError;
  /** How often it was tried, where that was counted. */
  attempts?: number;
}

/** Writes and syncs `<stem>.eml` and `<stem>.error` in the run's directory (file system errors as thrown). */
export function stageQuarantine(
  storage: Storage,
  run: string,
  stem: string,
  item: QuarantineItem,
  now: number,
): void {
  const base = `${storage.runDirectory(run)}/${stem}`;
  const { fileMode } = storage.settings;
  if (item.source instanceof Uint8Array) storage.files.writeFile(`${base}.eml`, item.source, fileMode);
  else storage.files.rename(item.source.file, `${base}.eml`);
  storage.files.syncFile(`${base}.eml`);
  const text = `${JSON.stringify(errorRecord(item, now), null, 2)}\n`;
  storage.files.writeFile(`${base}.error`, Buffer.from(text), fileMode);
  storage.files.syncFile(`${base}.error`);
}

function errorRecord({ identity, error, ...item }: QuarantineItem, now: number): Record<string, unknown> {
  return {
    code: error.code,
    message: errorText(error),
    account: identity.account,
    folder: identity.folder,
    uid: identity.uid,
    uidValidity: identity.uidValidity,
    id: identity.id,
    messageId: item.messageId,
    size: item.size,
    sha256: item.sha256,
    receivedAt: new Date(datable(identity.internalDate)).toISOString(),
    flags: identity.flags,
    ...identity.extensions,
    complete: item.complete,
    attempts: item.attempts ?? null,
    quarantinedAt: new Date(now).toISOString(),
  };
}
