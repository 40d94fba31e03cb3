/** Compares what a consumer saw and what `list` tells with what was sent and what the server has. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { CorpusMessage } from '../servers/corpus.ts';
import type { Dovecot } from '../servers/dovecot.ts';
import type { ServerMessage } from '../servers/imap-client.ts';
import type { Consumed, Consumer } from './consumer.ts';
import type { ListedMessage } from './workplace.ts';

/** A watched folder: its account in the configuration, and its user on the server. */
export interface WatchedFolder {
  account: string;
  user: string;
  folder: string;
}

/** What a watched folder must have become: the server's messages, under the account's name. */
export type Truth = (ServerMessage & { account: string; folder: string })[];

/** Everything that the server has in these folders now. */
export async function readTruth(server: Dovecot, folders: WatchedFolder[]): Promise<Truth> {
  const truth: Truth = [];
  for (const { account, user, folder } of folders) {
    for (const message of await server.messages(user, folder)) truth.push({ ...message, account, folder });
  }
  return truth;
}

/** Where a message lies and which bytes it has. Mail that came twice has one key, twice. */
export const contentKey = (message: {
  account: string;
  folder: string;
  sha256: string;
  size: number;
}): string => `${message.account}/${message.folder} ${message.sha256} ${message.size}`;

const uidKey = (message: {
  account: string;
  folder: string;
  uid: number;
  sha256: string;
  size: number;
}): string => `${contentKey(message)} UID ${message.uid}`;

/** Each message of the truth became exactly one document, and nothing else became one. */
export function expectEachOnce(consumer: Consumer, truth: Truth, key: 'uid' | 'content'): void {
  const keyOf = key === 'uid' ? uidKey : contentKey;
  const seen = consumer.consumed.map(({ document }) => keyOf(document));
  expect(consumer.faults).toEqual([]);
  expect(difference(truth.map(keyOf), seen), 'lost').toEqual([]);
  expect(difference(seen, truth.map(keyOf)), 'published twice, or never sent').toEqual([]);
  const files = consumer.consumed.map(({ path }) => path);
  expect(difference(files, [...new Set(files)]), 'a path used twice').toEqual([]);
}

/** `list` tells of every document that was seen what it was and where it lay, and of nothing else. */
export function expectListed(consumed: Consumed[], listed: ListedMessage[], storage: string): void {
  const rows = listed.filter(({ state }) => state === 'published');
  const told = rows.map((row) =>
    [uidKey(row), row.id, row.messageId, relativeTo(storage, row.path)].join(' '),
  );
  const seen = consumed.map(({ document, path }) =>
    [uidKey(document), document.id, document.messageId, path].join(' '),
  );
  expect(difference(seen, told), 'seen, but not listed').toEqual([]);
  expect(difference(told, seen), 'listed, but not seen').toEqual([]);
}

/** What the messages say is what was sent: subject, and every attachment byte by byte. */
export function expectContent(consumed: Consumed[], sent: CorpusMessage[]): void {
  const byMessageId = new Map(
    sent.flatMap(({ expected }) => (expected?.messageId ? [[expected.messageId, expected]] : [])),
  );
  const wrong = consumed.flatMap(({ document }) => {
    const expected = byMessageId.get(document.messageId ?? '');
    if (!expected) return [];
    const got = {
      subject: document.subject,
      messageId: document.messageId,
      attachments: document.attachments.map(({ filename, sha256 }) => ({ filename, sha256 })),
    };
    return JSON.stringify(got) === JSON.stringify(expected) ? [] : [{ got, expected }];
  });
  expect(wrong).toEqual([]);
}

/** Nothing is left of any run. */
export function expectStagingEmpty(storage: string): void {
  expect(readdirSync(join(storage, '.staging'))).toEqual([]);
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
