/** What a message is called: its id, its staged stem, and where it is published. Pure; every name is ours. */
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import type { Epoch, Mailbox, MessageIdentity, MessageMetadata } from '../model.ts';

/** The contract: a folder's name of this form is its own slug. */
const PLAIN_FOLDER = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

/** A slug is at most 64 bytes: what is left of the name, `~` and 8 hex digits. */
const SLUG_REST = 55;

/** Beyond this year `yyyy` would not be four digits. */
const LAST_INSTANT = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** The folder's part of an id: no two folders share one, and it never begins with a dot. */
export function folderSlug(folder: string): string {
  if (PLAIN_FOLDER.test(folder)) return folder;
  const rest = folder
    .replace(/[^A-Za-z0-9._-]/g, '')
    .replace(/^\.+/, '')
    .slice(0, SLUG_REST);
  return `${rest}~${createHash('sha256').update(folder).digest('hex').slice(0, 8)}`;
}

/** `<folder slug>-<epoch label>-<uid>`, unique within the account. */
export function messageId(folder: string, label: string, uid: number): string {
  return `${folderSlug(folder)}-${label}-${uid}`;
}

/**
 * The parts of an id, or null where it is none. Neither a label nor a UID holds a hyphen, so the
 * last two hyphens are the separators whatever the folder is called.
 */
export function parseId(id: string): { slug: string; label: string; uid: number } | null {
  const parts = /^(.+)-([0-9]{1,20}(?:\.[0-9]{1,9})?)-([0-9]{1,10})$/.exec(id);
  if (parts === null) return null;
  const [, slug, label, uid] = parts as unknown as [string, string, string, string];
  return { slug, label, uid: Number(uid) };
}

/** All that names a message, from its epoch and what FETCH told. */
export function messageIdentity(epoch: Epoch, message: MessageMetadata): MessageIdentity {
  return {
    account: epoch.account,
    folder: epoch.folder,
    id: messageId(epoch.folder, epoch.label, message.uid),
    uid: message.uid,
    uidValidity: epoch.label,
    internalDate: message.internalDate,
    flags: message.flags,
    ...(message.extensions && { extensions: message.extensions }),
  };
}

/** The file name of a message's `copy`-th publishing without its ending: the id, then `<id>~2` and on. */
export function publishedName(id: string, copy: number): string {
  return copy === 1 ? id : `${id}~${copy}`;
}

/**
 * The name of staged files. The attempt makes it unique in the run: what an earlier attempt staged
 * may still be the only copy of a message whose row says "staged".
 */
export function stagedStem(account: string, name: string, attempt: number): string {
  return `${account}~${name}.${attempt}`;
}

/** The JSON's path below the storage directory: the configured template filled in. */
export function publishedPath(template: string, identity: MessageIdentity, name: string): string {
  const date = new Date(datable(identity.internalDate));
  const pad = (number: number, width: number) => String(number).padStart(width, '0');
  const values: Record<string, string> = {
    account: identity.account,
    folder: folderSlug(identity.folder),
    yyyy: pad(date.getUTCFullYear(), 4),
    mm: pad(date.getUTCMonth() + 1, 2),
    dd: pad(date.getUTCDate(), 2),
    id: name,
  };
  return posix.normalize(template.replace(/\{(\w+)\}/g, (token, key: string) => values[key] ?? token));
}

/** Where a quarantined message lies below the storage directory, without its ending. */
export function quarantinePath(account: string, id: string): string {
  return posix.join(QUARANTINE, account, id);
}

/** Ours alone, below the storage directory. */
export const STAGING = '.staging';
export const QUARANTINE = '.quarantine';

/** How a mailbox is written in messages: `account/folder`. */
export function mailboxName(mailbox: Mailbox): string {
  return `${mailbox.account}/${mailbox.folder}`;
}

/** INTERNALDATE comes from the server: whatever it is, it becomes an instant that has a date. */
export function datable(internalDate: number): number {
  if (!Number.isFinite(internalDate)) return 0;
  return Math.min(Math.max(0, Math.trunc(internalDate)), LAST_INSTANT);
}
