/** Monit's names of the mailboxes' checks. */
import { createHash } from 'node:crypto';
import type { Mailbox } from '../model.ts';
import { mailboxLabel } from './status.ts';

/** Longer ones make the page's table unreadable. */
const MAX_NAME_LENGTH = 80;

/**
 * `account folder` of each mailbox, with `.` for what Monit cannot have in a name: a quote ends it in its
 * file, and its page puts names into links as they are, so that after a `/` its buttons lead nowhere.
 * Names that would be the same to Monit, which ignores case, get a digest of the mailbox appended. No
 * account holds a space, so none of these can be the name of another check.
 */
export function serviceNames(mailboxes: Mailbox[]): string[] {
  const plain = mailboxes.map(({ account, folder }) => {
    const name = `${account} ${folder.replace(/[^\p{L}\p{N} ._-]/gu, '.')}`;
    return [...name].slice(0, MAX_NAME_LENGTH).join('');
  });
  const counts = new Map<string, number>();
  for (const name of plain) counts.set(name.toLowerCase(), (counts.get(name.toLowerCase()) ?? 0) + 1);
  return mailboxes.map((mailbox, index) => {
    const name = plain[index] ?? '';
    return counts.get(name.toLowerCase()) === 1 ? name : `${name} ${digest(mailbox)}`;
  });
}

const digest = (mailbox: Mailbox): string =>
  createHash('sha256').update(mailboxLabel(mailbox)).digest('hex').slice(0, 8);
