/** Mail that goes into a server and comes out of a container: sent, consumed at once, and counted at the end. */
import { expect } from 'vitest';
import { type Consumed, startConsumer } from '../dovecot/consumer.ts';
import { expectEachOnce, readTruth, type WatchedFolder } from '../dovecot/ground-truth.ts';
import { makeSmallMessage } from '../servers/corpus.ts';
import type { Dovecot } from '../servers/dovecot.ts';
import { seededRandom } from '../servers/random.ts';
import { until } from '../servers/until.ts';
import { type Container, CYCLES, SPACED } from './harness.ts';

/** So many messages may be under way in a stream. */
const BACKLOG = 20;

export interface MailFlow extends Disposable {
  /** Sends a message to a folder, the first where none is named; resolves with its Message-ID. */
  deliver(folder?: WatchedFolder): Promise<string>;
  /** Resolves once that message was published. */
  published(messageId: string, within?: number): Promise<Consumed>;
  /** A message there and back. */
  flows(folder?: WatchedFolder, within?: number): Promise<void>;
  /**
   * Does what stops the mail, and sends a message into it. `over` waits until that is published, and
   * prints and resolves with how many seconds passed since.
   */
  outage(
    scenario: string,
    trouble: () => Promise<unknown>,
  ): Promise<{ over(within?: number): Promise<number> }>;
  /** Sends one message after another, as many as the container keeps up with, until it is stopped. */
  stream(): { sent(): number; stop(): Promise<void> };
  /**
   * Waits for the last, and expects that all that is on the server was published, and each once. Resolves
   * with what was.
   */
  expectEachOnce(): Promise<Consumed[]>;
}

/** Consumes from a container's storage at once, as hastily as can be. */
export function startMailFlow(
  server: Dovecot,
  container: Pick<Container, 'storage' | 'until'>,
  folders: WatchedFolder[],
): MailFlow {
  const consumer = startConsumer(container.storage);
  const random = seededRandom(1);
  let count = 0;

  const find = (messageId: string) =>
    consumer.consumed.find(({ document }) => document.messageId === messageId);

  const flow: MailFlow = {
    async deliver(target = folders[0]!) {
      const messageId = `${++count}@flow.example`;
      const text = makeSmallMessage(random, 'x')
        .toString('latin1')
        .replace(/^Message-ID:.*\r\n/m, '');
      const raw = Buffer.from(`Message-ID: <${messageId}>\r\n${text}`, 'latin1');
      if (target.folder === 'INBOX') await server.deliver(target.user, raw);
      else await server.append(target.user, target.folder, raw);
      return messageId;
    },
    published: (messageId, within = CYCLES) =>
      container.until(`${messageId} to be published`, () => find(messageId) ?? null, within),
    async flows(target, within) {
      await flow.published(await flow.deliver(target), within);
    },
    async outage(scenario, trouble) {
      const begun = performance.now();
      await trouble();
      const messageId = await flow.deliver();
      return {
        async over(within) {
          const { seenAt } = await flow.published(messageId, within);
          const seconds = (seenAt - begun) / 1000;
          console.log(`scenario: ${scenario}: mail flowed again after ${seconds.toFixed(1)} s`);
          return seconds;
        },
      };
    },
    stream() {
      const before = count;
      let stopped = false;
      const sending = (async () => {
        while (!stopped) {
          await flow.deliver();
          await until('the backlog', () => stopped || count - consumer.consumed.length < BACKLOG, SPACED);
        }
      })();
      // Whoever stops it hears of it.
      sending.catch(() => undefined);
      return {
        sent: () => count - before,
        async stop() {
          stopped = true;
          await sending;
        },
      };
    },
    async expectEachOnce() {
      const truth = await readTruth(server, folders);
      expect(truth.length).toBe(count);
      await container
        .until('the last message', () => consumer.consumed.length >= truth.length)
        .finally(() => consumer.stop());
      expectEachOnce(consumer, truth, 'uid');
      return consumer.consumed;
    },
    [Symbol.dispose]: () => consumer.stop(),
  };
  return flow;
}
