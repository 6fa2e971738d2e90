/** Errors that a request can throw. */

/** An invalid argument. `path` is a JSON pointer into the arguments. */
export interface InvalidField {
  readonly path: string;
  readonly message: string;
}

/** The fields of a problem document, or of an error without one. */
export interface ProblemFields {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly retryable: boolean;
  readonly requestId: string;
  readonly retryAfterMs: number | undefined;
  readonly extra: Readonly<Record<string, unknown>>;
}

/**
 * A failed request. Distinguish errors by `code`, which is stable. Errors that the application defines have codes of
 * their own and a status from 400 to 499.
 */
export class GoverseError extends Error {
  override readonly name: string = "GoverseError";
  /** The stable code. */
  readonly code: string;
  /** The HTTP status of the response; 0 without a response. */
  readonly status: number;
  /** A description for people. */
  readonly detail: string;
  /** True if the same request may succeed later. The client has already retried it as far as policy and timeout allowed. */
  readonly retryable: boolean;
  /** The request id in the gate's log. */
  readonly requestId: string;
  /** The pause that the gate asked for. */
  readonly retryAfterMs: number | undefined;
  /** Additional members of the problem document, by name. */
  readonly extra: Readonly<Record<string, unknown>>;
  /** The number of times the request was sent. */
  attempts = 0;

  constructor(fields: ProblemFields) {
    super(printable(`${fields.code}: ${fields.detail}${fields.requestId ? ` (request ${fields.requestId})` : ""}`));
    this.code = fields.code;
    this.status = fields.status;
    this.detail = fields.detail;
    this.retryable = fields.retryable;
    this.requestId = fields.requestId;
    this.retryAfterMs = fields.retryAfterMs;
    this.extra = fields.extra;
  }

  /** The invalid arguments, for `invalid_arguments`. */
  get errors(): readonly InvalidField[] {
    const errors = this.extra["errors"];
    return Array.isArray(errors) ? errors.filter((each) => typeof each === "object" && each !== null) : [];
  }
}

/** No response: the gate is unreachable, or the connection broke. The call may or may not have run. */
export class ConnectionFailed extends GoverseError {
  override readonly name = "ConnectionFailed";
}

/** The timeout of the call passed. The call may have run, or may still run. */
export class CallTimeout extends GoverseError {
  override readonly name = "CallTimeout";
}

/** An error that the application defines; `code` identifies it. */
export class BusinessError extends GoverseError {
  override readonly name = "BusinessError";
}

/** A response that is not from a gate (a redirect, a web page), or that this client does not understand. */
export class UnexpectedAnswer extends GoverseError {
  override readonly name = "UnexpectedAnswer";
}

const OWN_CODES: ReadonlySet<string> = new Set([
  "access_denied", "call_forgotten", "call_id_mismatch", "call_not_found", "call_pending", "call_redriven", "call_void",
  "conflict", "cursor_expired", "deadlock", "idempotency_in_progress", "idempotency_key_mismatch", "invalid_arguments",
  "malformed_request", "method_not_allowed", "object_exists", "object_not_found", "overloaded", "precondition_required",
  "rate_limited", "reentrancy_conflict", "region_mismatch", "request_error", "restore_refused", "token_expired",
  "too_large", "unauthenticated", "unknown_method", "unknown_path", "unknown_type", "version_mismatch",
]);
const MEMBERS: ReadonlySet<string> = new Set([
  "type", "title", "status", "detail", "code", "retryable", "request_id",
]);
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** The response to one attempt. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Return the error for a response. */
export function errorOf(answer: Answer): GoverseError {
  const retryAfterMs = milliseconds(answer.headers.get("retry-after"));
  const problem = problemIn(answer);
  if (problem === undefined) {
    const retryable = RETRYABLE.has(answer.status);
    const fields = {
      code: retryable ? "unavailable" : "unexpected_answer",
      status: answer.status,
      detail: `the response (status ${answer.status}) is not from a GoVerse gate: ${seenIn(answer)}`,
      retryable,
      requestId: answer.headers.get("goverse-request-id") ?? "",
      retryAfterMs,
      extra: {},
    };
    return retryable ? new GoverseError(fields) : new UnexpectedAnswer(fields);
  }
  const code = problem["code"] as string;
  const fields = {
    code,
    status: answer.status,
    detail: String(problem["detail"] ?? problem["title"] ?? code),
    retryable: problem["retryable"] === true,
    requestId: String(problem["request_id"] ?? ""),
    retryAfterMs,
    extra: Object.fromEntries(Object.entries(problem).filter(([name]) => !MEMBERS.has(name))),
  };
  if (code === "timeout") return new CallTimeout(fields);
  if (answer.status >= 400 && answer.status < 500 && !OWN_CODES.has(code)) return new BusinessError(fields);
  return new GoverseError(fields);
}

/** Return the error for an attempt without a response. */
export function lostError(detail: string, timedOut: boolean): GoverseError {
  const fields = { status: 0, detail, retryable: !timedOut, requestId: "", retryAfterMs: undefined, extra: {} };
  return timedOut ? new CallTimeout({ ...fields, code: "timeout" }) : new ConnectionFailed({ ...fields, code: "connection_failed" });
}

/** Return the error for a response that cannot be used. It is not retried. */
export function unexpected(status: number, detail: string): UnexpectedAnswer {
  const fields = { code: "unexpected_answer", retryable: false, requestId: "", retryAfterMs: undefined, extra: {} };
  return new UnexpectedAnswer({ ...fields, status, detail });
}

/** Error codes that rule out that the request ran. `unavailable` does not: the call may have taken effect. */
export const UNEXECUTED: ReadonlySet<string> = new Set(["draining", "moving", "overloaded", "rate_limited"]);

/**
 * Escape control characters and characters that change the writing direction. Without this, a text from a server could
 * control a terminal or forge log lines.
 */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- the purpose of this function
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Return the media type of a response, without parameters. */
export function mediaType(answer: Answer): string {
  return (answer.headers.get("content-type") ?? "").split(";", 1).join("").trim().toLowerCase();
}

function seenIn(answer: Answer): string {
  if (answer.status === 0) return "a redirect, whose target browsers do not reveal; use the URL of the gate itself";
  const body = JSON.stringify(answer.text.slice(0, 200));
  const location = answer.headers.get("location");
  if (location === null) return body;
  return `${body}; it redirects to ${JSON.stringify(location)}; use the URL of the gate itself`;
}

function problemIn(answer: Answer): Record<string, unknown> | undefined {
  if (mediaType(answer) !== "application/problem+json") return undefined;
  try {
    const problem: unknown = JSON.parse(answer.text);
    if (typeof problem === "object" && problem !== null && typeof (problem as Record<string, unknown>)["code"] === "string") {
      return problem as Record<string, unknown>;
    }
  } catch {
    // invalid JSON: not from a gate
  }
  return undefined;
}

function milliseconds(text: string | null): number | undefined {
  if (text === null || text.trim() === "") return undefined;
  const seconds = Number(text);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}
