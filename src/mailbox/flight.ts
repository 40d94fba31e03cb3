/** The messages of one mailbox between FETCH and the ledger: how many, how large, and whether one could not be stored. */
import { RANGE_BYTES } from './ranges.ts';

/** So many bytes of one mailbox are in memory at most: two ranges are parsed while the next one comes. */
const MOST_BYTES = 3 * RANGE_BYTES;

export interface Flight {
  /**
   * Waits until `count` more, of so many bytes together, fit beside what is in flight: `limit` messages at most.
   * Throws what a message failed with.
   */
  room(more: { count: number; bytes: number }, limit: number): Promise<void>;
  /** Takes a message up that holds so many bytes; its failure comes out of `room` and `land`. */
  launch(message: Promise<void>, bytes: number): void;
  /** Waits until nothing is in flight. Throws what a message failed with, once. */
  land(): Promise<void>;
}

export function createFlight(): Flight {
  let count = 0;
  let bytes = 0;
  let failure: { error: unknown } | undefined;
  let changed = Promise.withResolvers<void>();

  const settled = (held: number) => {
    count--;
    bytes -= held;
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const until = async (fits: () => boolean) => {
    while (!fits()) await changed.promise;
  };

  return {
    async room(more, limit) {
      const fits = () => count + more.count <= limit && bytes + more.bytes <= MOST_BYTES;
      await until(() => failure !== undefined || count === 0 || fits());
      if (failure) throw failure.error;
    },
    launch(message, held) {
      count++;
      bytes += held;
      message.then(
        () => settled(held),
        (error: unknown) => {
          failure ??= { error };
          settled(held);
        },
      );
    },
    async land() {
      await until(() => count === 0);
      const failed = failure;
      failure = undefined;
      if (failed) throw failed.error;
    },
  };
}
