/** When a request is sent again, and after which pause: exponential backoff with full jitter, within the time of the call. */

export interface RetryPolicy {
  /** How often one request is sent at most; 1 never repeats. */
  readonly attemptsMax: number;
  /** The bound of the first pause, in milliseconds; it doubles with each attempt. */
  readonly pauseMs: number;
  /** What it grows to. */
  readonly pauseMsMax: number;
}

export const DEFAULT_RETRIES: RetryPolicy = { attemptsMax: 100, pauseMs: 50, pauseMsMax: 2_000 };

/** Send every request once. */
export const NEVER: RetryPolicy = { ...DEFAULT_RETRIES, attemptsMax: 1 };

/**
 * The milliseconds to wait after `attempts` attempts; `chance` is a random number from 0 to 1. Where the gate asked for
 * a pause it is at least that, and spread beyond it, since many clients were asked for the same.
 */
export function pauseMs(policy: RetryPolicy, attempts: number, retryAfterMs: number | undefined, chance: number): number {
  const bound = Math.min(policy.pauseMsMax, policy.pauseMs * 2 ** Math.min(attempts - 1, 60));
  return (retryAfterMs ?? 0) + chance * bound;
}
