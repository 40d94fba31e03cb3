/** What goes on for ever: one attempt after the other, until a stop. */
import pRetry from 'p-retry';
import type { MailwatchdError } from '../errors.ts';

/**
 * Tries again after each failure, once `failed` has waited for as long as the table of errors tells, on our clock; ends
 * when an attempt succeeds, or `signal` aborts. Rejects only with what `failed` throws.
 */
export async function retryForEver(
  attempt: () => Promise<void>,
  failed: (error: MailwatchdError) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  try {
    await pRetry(attempt, {
      retries: Number.POSITIVE_INFINITY,
      // p-retry's own delay, on the system's clock, belongs to counted retries only.
      shouldConsumeRetry: () => false,
      onFailedAttempt: ({ error }) => failed(error as MailwatchdError),
      signal,
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
