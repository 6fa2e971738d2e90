/** The retry policy: exponential backoff with full jitter, within the timeout of the call. */

export interface RetryPolicy {
  /** The largest number of attempts for one request; 1 disables retries. */
  readonly attemptsMax: number;
  /** The limit of the first pause, in milliseconds; it doubles with each attempt. */
  readonly pauseMs: number;
  /** The largest limit of a pause. */
  readonly pauseMsMax: number;
}

export const DEFAULT_RETRIES: RetryPolicy = { attemptsMax: 100, pauseMs: 50, pauseMsMax: 2_000 };

/** Send every request once. */
export const NEVER: RetryPolicy = { ...DEFAULT_RETRIES, attemptsMax: 1 };

/**
 * Return the milliseconds to wait after `attempts` attempts. `chance` is a random number from 0 to 1. The jitter is added
 * to the pause that the gate asked for, because the gate may have sent the same value to many clients.
 */
export function pauseMs(policy: RetryPolicy, attempts: number, retryAfterMs: number | undefined, chance: number): number {
  const bound = Math.min(policy.pauseMsMax, policy.pauseMs * 2 ** Math.min(attempts - 1, 60));
  return (retryAfterMs ?? 0) + chance * bound;
}
