/** Admission by bytes: how much mail may be in memory at once, in the order of asking. */

export interface Reservation {
  /** Waits until nothing else is in flight, and keeps all others out. */
  alone: boolean;
  /** The message goes by a file; see `createBudget`. */
  byFile?: boolean;
  signal: AbortSignal;
}

export interface Budget {
  /** See `Intake.reserve`. The returned release may be called more than once; only the first counts. */
  reserve(bytes: number, reservation: Reservation): Promise<() => void>;
}

type Lane = Budget['reserve'];

interface Waiting {
  bytes: number;
  alone: boolean;
  admit(): void;
}

/**
 * `capacity` bytes for what is in our memory, and as many for messages that go by a file, which only a parser holds:
 * one of them fills its lane, and no small message waits for those behind it.
 */
export function createBudget(capacity: number): Budget {
  const memory = createLane(capacity);
  const files = createLane(capacity);
  return {
    async reserve(bytes, reservation) {
      if (!reservation.alone) return (reservation.byFile ? files : memory)(bytes, reservation);
      // Always in this order: two that want to be alone do not wait for each other.
      const releaseMemory = await memory(bytes, reservation);
      try {
        const releaseFiles = await files(bytes, reservation);
        return () => {
          releaseFiles();
          releaseMemory();
        };
      } catch (error) {
        releaseMemory();
        throw error;
      }
    },
  };
}

/** First come, first served, so that neither a large message nor one that wants to be alone waits for ever. */
function createLane(capacity: number): Lane {
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

  return (bytes, { alone, signal }) =>
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
    });
}
