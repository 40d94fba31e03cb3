/** Measures what a server sends, response by response: none may send without end, or keep the others waiting. */

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
}

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
    return push(response);
  };

  return {
    allow(responses, bytes) {
      allowed = { responses, bytes };
      left = allowed;
    },
  };
}
