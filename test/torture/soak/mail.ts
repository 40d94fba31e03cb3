/** What is sent to a Dovecot of the soak, and what must come of each message in each folder. */
import { createHash } from 'node:crypto';
import type { Consumed } from '../../dovecot/consumer.ts';
import { contentKey, publishingFaults, type Truth } from '../../dovecot/differences.ts';
import { makeSmallMessage } from '../../servers/corpus.ts';
import type { Dovecot } from '../../servers/dovecot.ts';
import { type ImapClient, quote } from '../../servers/imap-client.ts';
import type { Random } from '../../servers/random.ts';
import { letter } from '../crash/scenarios.ts';
import { makeHostile } from '../hostile-mail/generator.ts';
import { mutate } from '../hostile-mail/mutations.ts';
import { KNOWN_WORDS } from '../hostile-mail/words.ts';

/** A watched folder; accounts are called as their users are. */
export interface Folder {
  account: string;
  folder: string;
}

/** Of the messages that are copied, moved or expunged at once. */
const MOST_AT_ONCE = 6;
/** What stays in a folder when it is tidied up. */
const KEPT = 60;

export interface Post {
  /** Registers a message: it must come, unless `due` is taken from it. */
  expect(to: Folder, raw: Buffer, due: boolean): Entry;
  /** By APPEND; false where the server does not confirm it: then nobody knows whether it is there. */
  send(to: Folder, raw: Buffer): Promise<boolean>;
  flag(from: Folder, random: Random): Promise<void>;
  expunge(from: Folder, random: Random): Promise<void>;
  /** To a folder of the same account. */
  transfer(how: 'COPY' | 'MOVE', from: Folder, to: Folder, random: Random): Promise<void>;
  /** Removes a folder with all that is in it. */
  remove(folder: Folder): Promise<void>;
  create(folder: Folder): Promise<void>;
  /** Expunges what was published long ago. */
  tidy(folder: Folder): Promise<void>;
  /** How what was seen differs from what was sent. */
  faults(seen: Consumed[]): ReturnType<typeof publishingFaults>;
  /** Messages, and those of them that need not come. */
  counts(): { sent: number; optional: number };
  close(): Promise<void>;
}

interface Entry {
  message: Truth[number];
  /** False: it may come, once. */
  due: boolean;
}

export function openPost(server: Dovecot): Post {
  const entries = new Map<string, Entry>();
  const clients = new Map<string, ImapClient>();
  const key = ({ account, folder }: Folder, raw: Buffer) =>
    contentKey({ account, folder, sha256: hashOf(raw), size: raw.length });

  /** Null where the server refuses or is gone: it was told to. */
  async function withClient<T>(
    { account }: Folder,
    work: (client: ImapClient) => Promise<T>,
  ): Promise<T | null> {
    try {
      const client = clients.get(account) ?? (await server.client(account));
      clients.set(account, client);
      return await work(client);
    } catch (error) {
      await clients.get(account)?.close();
      clients.delete(account);
      if (!/IMAP: |ECONN|EPIPE/.test(String(error))) throw error;
      return null;
    }
  }

  /** Opens a folder, and chooses some of its messages. */
  const withMessages = (
    from: Folder,
    random: Random,
    work: (client: ImapClient, messages: { uid: string; raw: Buffer }[]) => Promise<unknown>,
  ) =>
    withClient(from, async (client) => {
      await client.command('SELECT ', quote(from.folder));
      const all = await search(client);
      const first = random.between(0, all.length);
      const uids = all.slice(first, first + random.between(1, MOST_AT_ONCE));
      if (uids.length > 0) {
        const lines = await client.command(`UID FETCH ${uids.join(',')} (UID BODY.PEEK[])`);
        const messages = lines.flatMap(({ text, literals: [raw] }) => {
          const uid = /\bUID (\d+)/.exec(text)?.[1];
          return raw === undefined || uid === undefined ? [] : [{ uid, raw }];
        });
        await work(client, messages);
      }
      await client.command('UNSELECT');
    });

  const entryOf = (at: Folder, raw: Buffer): Entry => {
    const entry = entries.get(key(at, raw));
    if (entry === undefined)
      throw new Error(`a message that was never sent is in ${at.account}/${at.folder}`);
    return entry;
  };

  const post: Post = {
    expect(to, raw, due) {
      const messageId = /^Message-ID:\s*<([^>]*)>/im.exec(raw.toString('latin1', 0, 2000))?.[1] ?? null;
      const message = {
        ...{ ...to, uid: 0, sha256: hashOf(raw), size: raw.length, messageId },
        ...{ internalDate: 0, flags: [] },
      };
      const entry = { message, due };
      entries.set(key(to, raw), entry);
      return entry;
    },
    async send(to, raw) {
      const entry = post.expect(to, raw, false);
      const sent = await withClient(to, (client) => client.command('APPEND ', quote(to.folder), ' ', raw));
      entry.due = sent !== null;
      return entry.due;
    },
    async flag(from, random) {
      const flags = random.pick(['+FLAGS (\\Seen)', '-FLAGS (\\Seen)', '+FLAGS (\\Flagged $Work)']);
      await withMessages(from, random, (client, messages) =>
        client.command(`UID STORE ${uidSet(messages)} ${flags}`),
      );
    },
    async expunge(from, random) {
      await withMessages(from, random, async (client, messages) => {
        for (const { raw } of messages) entryOf(from, raw).due = false;
        await client.command(`UID STORE ${uidSet(messages)} +FLAGS.SILENT (\\Deleted)`);
        await client.command(`UID EXPUNGE ${uidSet(messages)}`);
      });
    },
    async transfer(how, from, to, random) {
      await withMessages(from, random, async (client, messages) => {
        // The second time it would be known by its Message-ID after a new UIDVALIDITY, and so it would not without.
        const fresh = messages.filter(({ raw }) => !entries.has(key(to, raw)));
        if (fresh.length === 0) return;
        const there = fresh.map(({ raw }) => post.expect(to, raw, false));
        if (how === 'MOVE') for (const { raw } of fresh) entryOf(from, raw).due = false;
        await client.command(`UID ${how} ${uidSet(fresh)} `, quote(to.folder));
        for (const entry of there) entry.due = true;
      });
    },
    async remove(folder) {
      for (const entry of entries.values()) {
        const { message } = entry;
        if (message.account === folder.account && message.folder === folder.folder) entry.due = false;
      }
      await withClient(folder, (client) => client.command('DELETE ', quote(folder.folder)));
    },
    async create(folder) {
      await withClient(folder, (client) => client.command('CREATE ', quote(folder.folder)));
    },
    async tidy(folder) {
      await withClient(folder, async (client) => {
        await client.command('SELECT ', quote(folder.folder));
        const old = (await search(client)).slice(0, -KEPT);
        if (old.length > 0) {
          await client.command(`UID STORE ${old.join(',')} +FLAGS.SILENT (\\Deleted)`);
          await client.command(`UID EXPUNGE ${old.join(',')}`);
        }
        await client.command('UNSELECT');
      });
    },
    faults(seen) {
      const came = new Set(seen.map(({ document }) => contentKey(document)));
      const truth = [...entries].filter(([name, { due }]) => due || came.has(name));
      return publishingFaults(
        seen,
        truth.map(([, { message }]) => message),
        'content',
      );
    },
    counts: () => ({
      sent: entries.size,
      optional: [...entries.values()].filter(({ due }) => !due).length,
    }),
    async close() {
      for (const client of clients.values()) await client.close();
    },
  };
  return post;
}

const hashOf = (raw: Buffer): string => createHash('sha256').update(raw).digest('hex');

const uidSet = (messages: { uid: string }[]): string => messages.map(({ uid }) => uid).join(',');

async function search(client: ImapClient): Promise<string[]> {
  const lines = await client.command('UID SEARCH ALL');
  const found = lines.find(({ text }) => text.startsWith('* SEARCH'))?.text ?? '';
  return found.match(/\d+/g) ?? [];
}

/** Of a large message, bytes: beyond what is fetched in one piece. */
const LARGE = { least: 1_000_000, most: 6_000_000 };

/** Any kind of message; never the same twice, since `name` is in it. */
export function makeMail(random: Random, name: string): Buffer {
  const small = () => makeSmallMessage(random, name);
  const kinds: [weight: number, make: () => Buffer][] = [
    [10, small],
    [3, () => letter(name, { attachments: true })],
    [4, () => makeHostile(random, KNOWN_WORDS).raw],
    [2, () => mutate(random, small(), makeHostile(random, KNOWN_WORDS).raw).raw],
    [1, () => Buffer.concat([small(), Buffer.alloc(random.between(LARGE.least, LARGE.most), 'words\r\n')])],
  ];
  const make = random.pick(kinds.flatMap(([weight, each]) => Array<() => Buffer>(weight).fill(each)));
  return Buffer.concat([make(), Buffer.from(`\r\nThis is ${name}.\r\n`)]);
}

/** As Dovecot hands out what it was given: lines end in CRLF, and there is no NUL. */
export const asStored = (raw: Buffer): Buffer =>
  Buffer.from(
    raw
      .toString('latin1')
      .replaceAll(/\r\n|\r|\n/g, '\r\n')
      .replaceAll('\0', ''),
    'latin1',
  );
