/** Checks before a request is sent. Their errors are not retried. */

import { GoverseError } from "./errors.js";

/** The longest timeout. Timers of browsers and Node count milliseconds in 31 bits. */
const TIMEOUT_MS_MAX = 24 * 24 * 3_600_000;

/** Encode a text as a path segment. */
export function segment(text: string): string {
  try {
    return encodeURIComponent(text);
  } catch (error) {
    throw malformed(`${JSON.stringify(text)} cannot be encoded as UTF-8`, error);
  }
}

/** Encode the arguments as JSON. */
export function jsonOf(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value, finite);
  } catch (error) {
    throw malformed(`the arguments cannot be encoded as JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (text === undefined) throw malformed("the arguments cannot be encoded as JSON");
  return text;
}

/** Replacer for `JSON.stringify` that rejects `NaN` and infinities, which would become `null`. */
function finite(name: string, value: unknown): unknown {
  if (typeof value !== "number" || Number.isFinite(value)) return value;
  throw new RangeError(`${JSON.stringify(name)} is ${value}, which JSON cannot represent`);
}

/** Check a header value and return it. */
export function headerOf(name: string, value: string): string {
  if (/^[!-~](?:[ -~]*[!-~])?$/.test(value)) return value;
  throw malformed(`invalid ${name} ${JSON.stringify(value)}: expected printable ASCII characters without surrounding spaces`);
}

/** Check a timeout and return it. */
export function timeoutOf(timeoutMs: number): number {
  if (timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX) return timeoutMs;
  throw malformed(`timeoutMs must be above 0 and at most ${TIMEOUT_MS_MAX} (24 days), not ${timeoutMs}`);
}

function malformed(detail: string, cause?: unknown): GoverseError {
  const fields = { code: "malformed_request", status: 0, retryable: false, requestId: "", retryAfterMs: undefined, extra: {} };
  const error = new GoverseError({ ...fields, detail });
  if (cause !== undefined) Object.defineProperty(error, "cause", { value: cause, configurable: true, writable: true });
  return error;
}
