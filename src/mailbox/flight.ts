/** The messages of one mailbox between FETCH and the ledger: how many, and whether one could not be stored. */

export interface Flight {
  /** Waits until `count` more fit beside what is in flight. Throws what a message failed with. */
  room(count: number, limit: number): Promise<void>;
  /** Takes a message up; its failure comes out of `room` and `land`. */
  launch(message: Promise<void>): void;
  /** Waits until nothing is in flight. Throws what a message failed with, once. */
  land(): Promise<void>;
}

export function createFlight(): Flight {
  let count = 0;
  let failure: { error: unknown } | undefined;
  let changed = Promise.withResolvers<void>();

  const settled = () => {
    count--;
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const until = async (fits: () => boolean) => {
    while (!fits()) await changed.promise;
  };

  return {
    async room(wanted, limit) {
      await until(() => failure !== undefined || count === 0 || count + wanted <= limit);
      if (failure) throw failure.error;
    },
    launch(message) {
      count++;
      message.then(settled, (error: unknown) => {
        failure ??= { error };
        settled();
      });
    },
    async land() {
      await until(() => count === 0);
      const failed = failure;
      failure = undefined;
      if (failed) throw failed.error;
    },
  };
}
