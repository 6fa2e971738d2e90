/** The client: objects of a gate by type and id. */

import { headerOf, jsonOf, segment, timeoutOf } from "./checks.js";
import { errorOf, lostError, mediaType, unexpected, UNEXECUTED, UnexpectedAnswer, type Answer, type GoverseError } from "./errors.js";
import { roundedInteger } from "./numbers.js";
import { DEFAULT_RETRIES, pauseMs, type RetryPolicy } from "./retries.js";
import type { AnyPaths, Arguments, Creation, MethodName, Optional, Result, State, TypeName } from "./types.js";

/** Whether `fetch` is a browser's, in a page or a worker, which repeats requests by itself. */
const IN_BROWSER = "document" in globalThis || "WorkerGlobalScope" in globalThis;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const GRACE_MS = 1_000; // how much longer than the gate we wait: it knows better what became of a call

/** How requests are made. */
export interface Options {
  /** For one request with all its attempts; at most 24 days. */
  readonly timeoutMs?: number;
  /** Under which the effect is to happen once, ever; without one, each request gets its own. */
  readonly idempotencyKey?: string;
  /** The version that the object must have. */
  readonly ifMatch?: number;
  /** A position that the answer must have seen (read your writes: `Reply.commitSeq`). */
  readonly minSeq?: bigint;
  /** Of the objects. */
  readonly namespace?: string;
  /** Gives the request up. What was sent may still be carried out. */
  readonly signal?: AbortSignal;
}

/** How a client is made. */
export interface ClientOptions extends Options {
  /** When requests are sent again. */
  readonly retries?: Partial<RetryPolicy>;
  /** Sent with every request, for example `authorization`. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Whether requests that change something get a key of their own; true. Without, what may have happened is not repeated.
   * In browsers they get one in any case: a browser itself sends a POST again where a connection that was kept open
   * breaks, so only a key keeps the effect single.
   */
  readonly makeKeys?: boolean;
  /** The largest answer that is read, unpacked; 16 MiB. A gate's results have at most 4 MiB unless it is configured otherwise. */
  readonly answerBytesMax?: number;
  /**
   * Whether integers that JavaScript cannot hold, such as 9007199254740993, are rounded; false. Then a result that has one
   * is an `UnexpectedAnswer`. The call took effect all the same.
   */
  readonly roundIntegers?: boolean;
  /** Instead of the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** A result, and what the gate says about it. */
export interface Reply<T> {
  readonly value: T;
  /** The object's, where it has one. */
  readonly version: number | undefined;
  /** The newest commit that the answer depends on. */
  readonly commitSeq: bigint | undefined;
  /** Whether this is the kept answer of an earlier request with the same key. */
  readonly replayed: boolean;
  /** Names the request in the gate's log. */
  readonly requestId: string;
}

/** One object in a listing. */
export interface Summary {
  readonly id: string;
  readonly version: number;
}

interface Request {
  readonly method: string;
  readonly path: string;
  /** Any JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The client of a gate. With the types of a document (`new GoVerse<paths>(...)`) it knows its objects. */
export class GoVerse<P extends object = AnyPaths> {
  readonly url: string;
  readonly #options: ClientOptions;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #retries: RetryPolicy;
  readonly #fetch: typeof fetch;

  /**
   * @param url of the gate, for example `https://gate.example`; a path that a proxy puts in front may follow.
   * @throws TypeError where it is no address, or a header is none.
   */
  constructor(url: string, options: ClientOptions = {}) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    if (parsed === undefined || !["http:", "https:"].includes(parsed.protocol) || parsed.username || parsed.password) {
      throw new TypeError(`${JSON.stringify(url)} is no address of a gate; write for example https://gate.example`);
    }
    this.url = url.replace(/\/+$/, "");
    this.#options = options;
    this.#headers = Object.fromEntries(new Headers(options.headers)); // lower-case: our own take their place
    this.#retries = { ...DEFAULT_RETRIES, ...options.retries };
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** A handle to an object; nothing is sent. */
  object<T extends TypeName<P>>(type: T, id: string, options: Options = {}): ObjectHandle<P, T> {
    return new ObjectHandle(this, type, id, options);
  }

  /** Create an object under an id that the gate chooses. */
  async create<T extends TypeName<P>>(type: T, ...[args]: Optional<Creation<P, T>>): Promise<ObjectHandle<P, T>> {
    const reply = await this.request<Summary>({ method: "POST", path: `/objects/${segment(type)}`, body: args ?? {} }, {});
    if (!isSummary(reply.value)) throw unexpected(200, `the answer does not name the object that was created: ${shown(reply.value)}`);
    return new ObjectHandle(this, type, reply.value.id, {});
  }

  /** List the objects of a type whose ids begin with `prefix`, in the order of their ids. */
  async *list(type: TypeName<P>, prefix = "", pageSize = 1_000): AsyncGenerator<Summary, void, undefined> {
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const query = new URLSearchParams({ limit: String(pageSize), ...(prefix && { prefix }), ...(cursor && { cursor }) });
      const path = `/objects/${segment(type)}?${query}`;
      const reply: Reply<{ items: Summary[]; cursor: string | null }> = await this.request({ method: "GET", path }, {});
      const next = cursorAfter(reply.value, cursor);
      yield* reply.value.items;
      cursor = next;
    }
  }

  /** Carry out one request, repeating it as policy and time allow. @internal */
  async request<T>(request: Request, own: Options): Promise<Reply<T>> {
    const options = { ...this.#options, ...own };
    const timeoutMs = timeoutOf(options.timeoutMs ?? 30_000);
    const deadline = performance.now() + timeoutMs;
    const makeKeys = options.makeKeys !== false || IN_BROWSER;
    const key = request.method === "GET" ? undefined : (options.idempotencyKey ?? (makeKeys ? newKey() : undefined));
    const repeatable = request.method === "GET" || key !== undefined;
    const body = request.body === undefined ? undefined : jsonOf(request.body);
    const headers: Record<string, string> = {
      ...this.#headers,
      ...request.headers,
      accept: "application/json",
      ...(body !== undefined && { "content-type": "application/json" }),
      ...(key !== undefined && { "idempotency-key": headerOf("an idempotency key", key) }),
      ...(options.ifMatch !== undefined && { "if-match": headerOf("a version", `"${options.ifMatch}"`) }),
      ...(options.minSeq !== undefined && { "goverse-min-seq": headerOf("a position", String(options.minSeq)) }),
      ...(options.namespace !== undefined && { "goverse-namespace": headerOf("a namespace", options.namespace) }),
    };
    let leftMs = timeoutMs;
    for (let attempts = 1; ; attempts += 1) {
      options.signal?.throwIfAborted();
      headers["goverse-timeout"] = Math.max(0.1, leftMs / 1000).toFixed(3);
      const [answer, error] = await this.#attempt({ ...request, body, headers }, leftMs + GRACE_MS, options.signal, repeatable);
      if (answer !== undefined && isResult(answer, request.method)) return replyOf(answer, attempts, options.roundIntegers === true);
      const failed: GoverseError = error ?? errorOf(answer as Answer);
      failed.attempts = attempts;
      // Without a key only problems that rule out an effect are repeated. A proxy's answer has none of these codes.
      const again = failed.retryable && (repeatable || UNEXECUTED.has(failed.code));
      const pause = pauseMs(this.#retries, attempts, failed.retryAfterMs, Math.random());
      if (!again || attempts >= this.#retries.attemptsMax || performance.now() + pause >= deadline) throw failed;
      await sleep(pause, options.signal);
      leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        // the process was stopped meanwhile, or the machine slept
        const late = lostError(`the ${timeoutMs} ms were over before another attempt; before: ${failed.detail}`, true);
        late.attempts = attempts;
        throw late;
      }
    }
  }

  async #attempt(
    ready: { method: string; path: string; body: string | undefined; headers: Readonly<Record<string, string>> },
    timeoutMs: number,
    signal: AbortSignal | undefined,
    repeatable: boolean,
  ): Promise<[Answer, undefined] | [undefined, GoverseError]> {
    const limit = AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)));
    const stopped = new AbortController();
    const stop = (): void => stopped.abort();
    limit.addEventListener("abort", stop);
    signal?.addEventListener("abort", stop);
    try {
      const { method, path, body, headers } = ready;
      const response = await this.#fetch(this.url + path, {
        method,
        headers,
        ...(body !== undefined && { body }),
        signal: stopped.signal,
        redirect: "manual", // "error" would hide it behind a failed connection, "follow" would send the call elsewhere
        cache: "no-store",
      });
      const text = await textOf(response, this.#options.answerBytesMax ?? ANSWER_BYTES_MAX);
      return [{ status: response.status, headers: response.headers, text }, undefined];
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof UnexpectedAnswer) return [undefined, error];
      // `fetch` does not tell whether the request left, so without a key it counts as sent
      const unknown = repeatable ? "" : "; whether it was carried out is unknown";
      return [undefined, lostError(limit.aborted ? "the answer took too long" : `${reasonOf(error)}${unknown}`, limit.aborted)];
    } finally {
      limit.removeEventListener("abort", stop);
      signal?.removeEventListener("abort", stop);
    }
  }
}

/** One object, by its type and id; it need not exist yet. */
export class ObjectHandle<P extends object, T extends TypeName<P>> {
  readonly #client: GoVerse<P>;
  readonly #options: Options;
  readonly #path: string;

  /**
   * @throws RangeError where the id is empty, longer than 512 bytes of UTF-8, or `.` or `..`: `fetch` takes these for
   * steps in the path, encoded or not. Other clients can use them.
   */
  constructor(client: GoVerse<P>, readonly type: T, readonly id: string, options: Options) {
    const size = new TextEncoder().encode(id).length;
    if (size < 1 || size > 512) throw new RangeError("an id has 1 to 512 bytes of UTF-8");
    if (id === "." || id === "..") throw new RangeError(`fetch cannot send the id ${JSON.stringify(id)}`);
    this.#client = client;
    this.#options = options;
    this.#path = `/objects/${segment(type)}/${segment(id)}`;
  }

  /** A handle to the same object whose requests are made otherwise. One with a key is meant for one request. */
  withOptions(options: Options): ObjectHandle<P, T> {
    return new ObjectHandle(this.#client, this.type, this.id, { ...this.#options, ...options });
  }

  /** Call a method; its result comes once its effect is durable. */
  async call<M extends MethodName<P, T>>(method: M, ...args: Optional<Arguments<P, T, M>>): Promise<Result<P, T, M>> {
    return (await this.callReply(method, ...args)).value;
  }

  /** Do as `call`, and return what the gate says about the result as well. */
  async callReply<M extends MethodName<P, T>>(method: M, ...[args]: Optional<Arguments<P, T, M>>): Promise<Reply<Result<P, T, M>>> {
    return this.#request({ method: "POST", path: `${this.#path}/call/${segment(method)}`, body: args ?? {} });
  }

  /** The state. */
  async get(): Promise<State<P, T>> {
    return (await this.getReply()).value;
  }

  /** Do as `get`, and return what the gate says about it as well: the version, the position. */
  getReply(): Promise<Reply<State<P, T>>> {
    return this.#request({ method: "GET", path: this.#path });
  }

  /** Create the object with the arguments of its `on_create`; the same arguments find the object that they created. */
  create(...[args]: Optional<Creation<P, T>>): Promise<Reply<Summary>> {
    return this.#request({ method: "PUT", path: this.#path, body: args ?? {} });
  }

  /** Create the object, which must not exist. */
  createNew(...[args]: Optional<Creation<P, T>>): Promise<Reply<Summary>> {
    return this.#request({ method: "PUT", path: this.#path, body: args ?? {}, headers: { "if-none-match": "*" } });
  }

  /** Delete the object, durably; a later call starts a fresh one. */
  async delete(): Promise<void> {
    await this.#request({ method: "DELETE", path: this.#path });
  }

  #request<R>(request: Request): Promise<Reply<R>> {
    return this.#client.request<R>(request, this.#options);
  }
}

/** Whether a gate answered with a result: JSON, or to a deletion nothing; a proxy may answer otherwise. */
function isResult(answer: Answer, method: string): boolean {
  if (answer.status === 204) return method === "DELETE";
  return answer.status >= 200 && answer.status < 300 && mediaType(answer) === "application/json";
}

function replyOf<T>(answer: Answer, attempts: number, roundIntegers: boolean): Reply<T> {
  const etag = /^(?:W\/)?"(\d{1,15})(?:\.[0-9a-f]{8})?"$/.exec(answer.headers.get("etag") ?? "");
  const position = answer.headers.get("goverse-commit-seq");
  let value: unknown = null;
  try {
    if (answer.status !== 204) value = JSON.parse(answer.text);
  } catch {
    throw unusable(answer, attempts, `is not JSON that can be read: ${shown(answer.text)}`);
  }
  const rounded = roundIntegers ? undefined : roundedInteger(answer.text);
  if (rounded !== undefined) {
    const integer = rounded.length <= 40 ? rounded : `${rounded.slice(0, 40)}…`;
    throw unusable(
      answer,
      attempts,
      `has the integer ${integer}, which JavaScript would round; let the class return it as text, or set roundIntegers`,
    );
  }
  return {
    value: value as T,
    version: etag?.[1] === undefined ? undefined : Number(etag[1]),
    commitSeq: position !== null && /^\d{1,39}$/.test(position) ? BigInt(position) : undefined,
    replayed: answer.headers.get("idempotency-replayed") === "true",
    requestId: answer.headers.get("goverse-request-id") ?? "",
  };
}

function unusable(answer: Answer, attempts: number, why: string): UnexpectedAnswer {
  const error = unexpected(answer.status, `the answer ${answer.status} ${why}`);
  error.attempts = attempts;
  return error;
}

/** The body of an answer; reading ends where it is larger than it may be, and its connection is closed. */
async function textOf(response: Response, bytesMax: number): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let text = "";
  let size = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    size += piece.value.byteLength;
    if (size > bytesMax) {
      await reader.cancel();
      throw unexpected(response.status, `the answer has more than ${bytesMax} bytes (answerBytesMax)`);
    }
    text += decoder.decode(piece.value, { stream: true });
  }
  return text + decoder.decode();
}

function isSummary(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof (value as Summary).id === "string";
}

/** The cursor after a page, or `null` after the last one; `before` is the cursor that the page was asked for with. */
function cursorAfter(page: { items: unknown; cursor: unknown } | null, before: string | null | undefined): string | null {
  const { items, cursor } = page ?? { items: undefined, cursor: undefined };
  if (!Array.isArray(items) || !items.every(isSummary)) throw unexpected(200, `the answer is not a page of a listing: ${shown(page)}`);
  if (cursor === null || (typeof cursor === "string" && cursor !== before)) return cursor;
  throw unexpected(200, "the answer is a page of a listing whose cursor does not advance");
}

function shown(value: unknown): string {
  return (typeof value === "string" ? JSON.stringify(value.slice(0, 200)) : (JSON.stringify(value) ?? "nothing")).slice(0, 300);
}

function newKey(): string {
  // `crypto.randomUUID` is not there on pages without TLS
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `${error.message}${cause}`;
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
