/** Compares what a consumer saw and what `list` tells with what the server had; what differs is told in words. */
import type { ServerMessage } from '../servers/imap-client.ts';
import type { Consumed } from './consumer.ts';
import type { ListedMessage } from './workplace.ts';

/** What a watched folder must have become: the server's messages, under the account's name. */
export type Truth = (ServerMessage & { account: string; folder: string })[];

/** `uid`: each message by itself. `content`: messages were numbered anew; mail that came twice has one key, twice. */
export type KeyKind = 'uid' | 'content';

interface Keyed {
  account: string;
  folder: string;
  uid: number;
  sha256: string;
  size: number;
}

/** Where a message lies and which bytes it has. Mail that came twice has one key, twice. */
export const contentKey = (message: Omit<Keyed, 'uid'>): string =>
  `${message.account}/${message.folder} ${message.sha256} ${message.size}`;

const uidKey = (message: Keyed): string => `${contentKey(message)} UID ${message.uid}`;

const KEYS = { uid: uidKey, content: contentKey };

/** What did not become a document, what became more than one or was never sent, and paths that were used twice. */
export function publishingFaults(
  consumed: Consumed[],
  truth: Truth,
  key: KeyKind,
): { lost: string[]; doubled: string[]; paths: string[] } {
  const sent = truth.map(KEYS[key]);
  const seen = consumed.map(({ document }) => KEYS[key](document));
  const paths = consumed.map(({ path }) => path);
  return {
    lost: difference(sent, seen),
    doubled: difference(seen, sent),
    paths: difference(paths, [...new Set(paths)]),
  };
}

/** `list` tells of every document that was seen what it was and where it lay, and of nothing else. */
export function listingFaults(
  consumed: Consumed[],
  listed: ListedMessage[],
  storage: string,
): { unlisted: string[]; unseen: string[] } {
  const told = listed
    .filter(({ state }) => state === 'published')
    .map((row) => [uidKey(row), row.id, row.messageId, relativeTo(storage, row.path)].join(' '));
  const seen = consumed.map(({ document, path }) =>
    [uidKey(document), document.id, document.messageId, path].join(' '),
  );
  return { unlisted: difference(seen, told), unseen: difference(told, seen) };
}

const relativeTo = (storage: string, path: string | null): string | null =>
  path?.startsWith(`${storage}/`) ? path.slice(storage.length + 1) : path;

/** What `all` holds more often than `some` does. */
function difference(all: string[], some: string[]): string[] {
  const counts = new Map<string, number>();
  for (const each of some) counts.set(each, (counts.get(each) ?? 0) + 1);
  return all.filter((each) => {
    const left = counts.get(each) ?? 0;
    counts.set(each, left - 1);
    return left <= 0;
  });
}
