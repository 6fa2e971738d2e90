/** What is refused here, before anything is sent: what no repetition would make better. */

import { GoverseError } from "./errors.js";

/** The longest timeout: clocks of browsers and Node count milliseconds in 31 bits. */
const TIMEOUT_MS_MAX = 24 * 24 * 3_600_000;

/** A path's segment for any text. */
export function segment(text: string): string {
  try {
    return encodeURIComponent(text);
  } catch (error) {
    throw malformed(`${JSON.stringify(text)} cannot be written as UTF-8`, error);
  }
}

/** The arguments as JSON. */
export function jsonOf(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value, finite);
  } catch (error) {
    throw malformed(`the arguments cannot be written as JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (text === undefined) throw malformed("the arguments cannot be written as JSON");
  return text;
}

/** For `JSON.stringify`, which would write `NaN` and infinities as `null`. */
function finite(name: string, value: unknown): unknown {
  if (typeof value !== "number" || Number.isFinite(value)) return value;
  throw new RangeError(`${JSON.stringify(name)} is ${value}, which JSON cannot carry`);
}

/** A header's value as it is. */
export function headerOf(name: string, value: string): string {
  if (/^[!-~](?:[ -~]*[!-~])?$/.test(value)) return value;
  throw malformed(`${name} is not one or more printable ASCII characters without spaces around them: ${JSON.stringify(value)}`);
}

/** A timeout as it is. */
export function timeoutOf(timeoutMs: number): number {
  if (timeoutMs > 0 && timeoutMs <= TIMEOUT_MS_MAX) return timeoutMs;
  throw malformed(`timeoutMs is ${timeoutMs}; it lies above 0 and is at most ${TIMEOUT_MS_MAX}, which is 24 days`);
}

function malformed(detail: string, cause?: unknown): GoverseError {
  const fields = { code: "malformed_request", status: 0, retryable: false, requestId: "", retryAfterMs: undefined, extra: {} };
  const error = new GoverseError({ ...fields, detail });
  if (cause !== undefined) Object.defineProperty(error, "cause", { value: cause, configurable: true, writable: true });
  return error;
}
