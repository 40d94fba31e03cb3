/** Stands before imapflow's parser: no server may send without end or keep the others waiting; rows can be taken out. */

/** A response on its way to imapflow's parser; `next` asks for the one after it. */
interface Response {
  payload: Buffer;
  literals: Buffer[];
  next(): void;
}

/** imapflow's stream of responses, which pushes one at a time. */
export interface ResponseStream {
  push(response: Response | null): boolean;
}

export interface Meter {
  /** From here on a server may send so much. */
  allow(responses: number, bytes: number): void;
  /** From here on a response for which this is true has been dealt with; null: imapflow sees all of them. */
  intercept(interceptor: Interceptor | null): void;
}

type Interceptor = (payload: Buffer, literals: readonly Buffer[]) => boolean;

/**
 * So many responses go through in one turn of the event loop. imapflow itself takes ten chunks of 64 KB in
 * one: of the shortest lines these are 26,000, for which every other mailbox waits a second (measured).
 */
const RESPONSES_PER_TURN = 100;

/** `onTooMuch` is called once for what was allowed last. */
export function meter(stream: ResponseStream, onTooMuch: (detail: string) => void): Meter {
  let allowed = { responses: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY };
  let left = allowed;
  let turn = 0;
  let interceptor: Interceptor | null = null;
  const push = stream.push.bind(stream);

  stream.push = (response) => {
    if (response === null) return push(response);
    const { payload, literals, next } = response;
    const bytes = literals.reduce((sum, { length }) => sum + length, payload.length);
    const exceeded = left.responses < 0 || left.bytes < 0;
    left = { responses: left.responses - 1, bytes: left.bytes - bytes };
    if (!exceeded && left.responses < 0) onTooMuch(`more than ${allowed.responses} responses to one command`);
    else if (!exceeded && left.bytes < 0)
      onTooMuch(`more than ${allowed.bytes} bytes in answer to one command`);
    if (++turn % RESPONSES_PER_TURN === 0) response.next = () => void setImmediate(next);
    if (!interceptor?.(payload, literals)) return push(response);
    response.next();
    return true;
  };

  return {
    allow(responses, bytes) {
      allowed = { responses, bytes };
      left = allowed;
    },
    intercept(next) {
      interceptor = next;
    },
  };
}
