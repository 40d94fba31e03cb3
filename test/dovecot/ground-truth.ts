/** Compares what a consumer saw and what `list` tells with what was sent and what the server has. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { CorpusMessage } from '../servers/corpus.ts';
import type { Dovecot } from '../servers/dovecot.ts';
import type { Consumed, Consumer } from './consumer.ts';
import { type KeyKind, listingFaults, publishingFaults, type Truth } from './differences.ts';
import type { ListedMessage } from './workplace.ts';

/** A watched folder: its account in the configuration, and its user on the server. */
export interface WatchedFolder {
  account: string;
  user: string;
  folder: string;
}

/** Everything that the server has in these folders now. */
export async function readTruth(server: Dovecot, folders: WatchedFolder[]): Promise<Truth> {
  const truth: Truth = [];
  for (const { account, user, folder } of folders) {
    for (const message of await server.messages(user, folder)) truth.push({ ...message, account, folder });
  }
  return truth;
}

/** Each message of the truth became exactly one document, and nothing else became one. */
export function expectEachOnce(consumer: Consumer, truth: Truth, key: KeyKind): void {
  const { lost, doubled, paths } = publishingFaults(consumer.consumed, truth, key);
  expect(consumer.faults).toEqual([]);
  expect(lost, 'lost').toEqual([]);
  expect(doubled, 'published twice, or never sent').toEqual([]);
  expect(paths, 'a path used twice').toEqual([]);
}

/** `list` tells of every document that was seen what it was and where it lay, and of nothing else. */
export function expectListed(consumed: Consumed[], listed: ListedMessage[], storage: string): void {
  const { unlisted, unseen } = listingFaults(consumed, listed, storage);
  expect(unlisted, 'seen, but not listed').toEqual([]);
  expect(unseen, 'listed, but not seen').toEqual([]);
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
