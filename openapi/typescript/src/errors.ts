/** What a call can end with instead of a result. */

/** A field that does not fit: `path` is a JSON pointer into the arguments. */
export interface InvalidField {
  readonly path: string;
  readonly message: string;
}

/** What a problem document says, or what stands for one where none came. */
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
 * A request that gave no result. Decide by `code`, which is stable; a refusal of the application's own has its own
 * code and a status from 400 to 499.
 */
export class GoverseError extends Error {
  override readonly name: string = "GoverseError";
  /** The stable code. */
  readonly code: string;
  /** Of the HTTP answer; 0 where there was none. */
  readonly status: number;
  /** What happened, for people. */
  readonly detail: string;
  /** Whether the same request may succeed later; it was repeated already, as policy and time allowed. */
  readonly retryable: boolean;
  /** Names the request in the gate's log. */
  readonly requestId: string;
  /** How long the gate asked to wait. */
  readonly retryAfterMs: number | undefined;
  /** What else the problem says, by its name. */
  readonly extra: Readonly<Record<string, unknown>>;
  /** How often the request was sent. */
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

  /** For `invalid_arguments`: which arguments, and why. */
  get errors(): readonly InvalidField[] {
    const errors = this.extra["errors"];
    return Array.isArray(errors) ? errors.filter((each) => typeof each === "object" && each !== null) : [];
  }
}

/** No answer came: the gate cannot be reached, or the connection broke. A call may have happened, or not. */
export class ConnectionFailed extends GoverseError {
  override readonly name = "ConnectionFailed";
}

/** The time of the call was over. It may have happened, or happen yet. */
export class CallTimeout extends GoverseError {
  override readonly name = "CallTimeout";
}

/** A refusal in the words of the application; `code` says which. */
export class BusinessError extends GoverseError {
  override readonly name = "BusinessError";
}

/** Something that is no gate answered (a redirect, a page), or a gate in a way that this client does not know. */
export class UnexpectedAnswer extends GoverseError {
  override readonly name = "UnexpectedAnswer";
}

const OWN_CODES: ReadonlySet<string> = new Set([
  "access_denied", "conflict", "cursor_expired", "deadlock", "idempotency_in_progress", "idempotency_key_mismatch",
  "invalid_arguments", "malformed_request", "method_not_allowed", "object_exists", "object_not_found", "overloaded",
  "precondition_required", "rate_limited", "reentrancy_conflict", "region_mismatch", "request_error", "restore_refused",
  "token_expired", "too_large", "unauthenticated", "unknown_method", "unknown_path", "unknown_type", "version_mismatch",
]);
const MEMBERS: ReadonlySet<string> = new Set([
  "type", "title", "status", "detail", "code", "retryable", "request_id",
]);
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** What was received in answer to one attempt. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** The error that an answer means. */
export function errorOf(answer: Answer): GoverseError {
  const retryAfterMs = milliseconds(answer.headers.get("retry-after"));
  const problem = problemIn(answer);
  if (problem === undefined) {
    const retryable = RETRYABLE.has(answer.status);
    const fields = {
      code: retryable ? "unavailable" : "unexpected_answer",
      status: answer.status,
      detail: `the answer ${answer.status} is not one of a gate: ${seenIn(answer)}`,
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

/** The error for an attempt without an answer. */
export function lostError(detail: string, timedOut: boolean): GoverseError {
  const fields = { status: 0, detail, retryable: !timedOut, requestId: "", retryAfterMs: undefined, extra: {} };
  return timedOut ? new CallTimeout({ ...fields, code: "timeout" }) : new ConnectionFailed({ ...fields, code: "connection_failed" });
}

/** The error for an answer that cannot be used; no other attempt would make it better. */
export function unexpected(status: number, detail: string): UnexpectedAnswer {
  const fields = { code: "unexpected_answer", retryable: false, requestId: "", retryAfterMs: undefined, extra: {} };
  return new UnexpectedAnswer({ ...fields, status, detail });
}

/**
 * Problems that a gate gives before it carries out anything. `unavailable` is not among them: the call may have happened.
 */
export const UNEXECUTED: ReadonlySet<string> = new Set(["draining", "moving", "overloaded", "rate_limited"]);

/** A text with its control characters, and those that turn the direction of writing, escaped: what a server sends must not steer a terminal or forge a log. */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- those are what it is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** What an answer's body says it is, without parameters. */
export function mediaType(answer: Answer): string {
  return (answer.headers.get("content-type") ?? "").split(";", 1).join("").trim().toLowerCase();
}

function seenIn(answer: Answer): string {
  if (answer.status === 0) return "a redirect, and browsers do not tell where to; give the client the address of the gate";
  const body = JSON.stringify(answer.text.slice(0, 200));
  const location = answer.headers.get("location");
  if (location === null) return body;
  return `${body}; it points to ${JSON.stringify(location)}, so give the client the address of the gate`;
}

function problemIn(answer: Answer): Record<string, unknown> | undefined {
  if (mediaType(answer) !== "application/problem+json") return undefined;
  try {
    const problem: unknown = JSON.parse(answer.text);
    if (typeof problem === "object" && problem !== null && typeof (problem as Record<string, unknown>)["code"] === "string") {
      return problem as Record<string, unknown>;
    }
  } catch {
    // no JSON: whoever sent it is no gate
  }
  return undefined;
}

function milliseconds(text: string | null): number | undefined {
  if (text === null || text.trim() === "") return undefined;
  const seconds = Number(text);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}
