/**
 * Folders that are named by what they are for (RFC 6154 §2, RFC 8457 §3): `\All` is `[Gmail]/All Mail` in whatever
 * language its owner reads mail. Such a word is the mailbox's name in ledger, ids and paths too, so that another language
 * or a new name of the folder is no other mailbox, whose mail would all come again.
 */
const USES = ['\\All', '\\Archive', '\\Drafts', '\\Flagged', '\\Important', '\\Junk', '\\Sent', '\\Trash'];

/** The use that a folder's name in the configuration means, in the case of its RFC; null for any other name. */
export function specialUseOf(name: string): string | null {
  return USES.find((use) => use.toLowerCase() === name.toLowerCase()) ?? null;
}
