/** The mail that is fetched: two sets, always the same for a seed. */
import { createHash } from 'node:crypto';
import { anySize, makeMessage } from '../../test/servers/corpus.ts';
import type { Dovecot } from '../../test/servers/dovecot.ts';
import { seededRandom } from '../../test/servers/random.ts';

export const SETS = {
  /** What notifications, tickets and letters are: 104 MB. */
  small: { messages: 8_328, largest: 100_000, smallBias: 2.5 },
  /** With attachments, as an office's mailbox is: 1.24 GB. */
  full: { messages: 10_000, largest: 1_000_000, smallBias: 1.202 },
} as const;

export type SetName = keyof typeof SETS;

export interface MailSet {
  name: SetName;
  bytes: number;
  /** Of each message's bytes, hex, sorted. */
  messages: string[];
  /** Of each attachment's bytes, hex, sorted. */
  attachments: string[];
}

/** Appends the set, or the first `limit` messages of it, to the user's INBOX. */
export async function fill(
  server: Dovecot,
  user: string,
  name: SetName,
  limit = Number.POSITIVE_INFINITY,
): Promise<MailSet> {
  const { messages, largest, smallBias } = SETS[name];
  const random = seededRandom(1);
  const set: MailSet = { name, bytes: 0, messages: [], attachments: [] };
  for (let number = 0; number < Math.min(messages, limit); number++) {
    const { raw, expected } = makeMessage(random, `${name}.${number}`, anySize(random, largest, smallBias));
    await server.append(user, 'INBOX', raw);
    set.bytes += raw.length;
    set.messages.push(sha256(raw));
    set.attachments.push(...expected!.attachments.map((file) => file.sha256));
  }
  set.messages.sort();
  set.attachments.sort();
  return set;
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
