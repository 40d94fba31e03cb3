/** Admission by bytes: how much mail may be in memory at once, in the order of asking. */

export interface Budget {
  /** See `Intake.reserve`. The returned release may be called more than once; only the first counts. */
  reserve(bytes: number, options: { alone: boolean; signal: AbortSignal }): Promise<() => void>;
}

interface Waiting {
  bytes: number;
  alone: boolean;
  admit(): void;
}

/**
 * A budget of `capacity` bytes. First come, first served, so that neither a large message nor one that
 * wants to be alone waits for ever behind small ones.
 */
export function createBudget(capacity: number): Budget {
  let used = 0;
  let holders = 0;
  let heldAlone = false;
  const queue: Waiting[] = [];

  const fits = (next: Waiting): boolean => {
    if (holders === 0) return true;
    return !heldAlone && !next.alone && used + next.bytes <= capacity;
  };

  const admitWaiting = (): void => {
    for (let next = queue[0]; next && fits(next); next = queue[0]) {
      queue.shift();
      used += next.bytes;
      holders += 1;
      heldAlone = next.alone;
      next.admit();
    }
  };

  const release = ({ bytes }: Waiting): void => {
    used -= bytes;
    holders -= 1;
    heldAlone = false;
    admitWaiting();
  };

  return {
    reserve: (bytes, { alone, signal }) =>
      new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const giveUp = () => {
          queue.splice(queue.indexOf(waiting), 1);
          reject(signal.reason);
          admitWaiting();
        };
        const waiting: Waiting = {
          bytes,
          alone,
          admit: () => {
            signal.removeEventListener('abort', giveUp);
            let held = true;
            resolve(() => {
              if (held) release(waiting);
              held = false;
            });
          },
        };
        signal.addEventListener('abort', giveUp, { once: true });
        queue.push(waiting);
        admitWaiting();
      }),
  };
}
