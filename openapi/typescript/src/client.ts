/** The client, and handles to objects. */

import { headerOf, jsonOf, segment, timeoutOf } from "./checks.js";
import { errorOf, lostError, mediaType, unexpected, UNEXECUTED, UnexpectedAnswer, type Answer, type GoverseError } from "./errors.js";
import { roundedInteger } from "./numbers.js";
import { DEFAULT_RETRIES, pauseMs, type RetryPolicy } from "./retries.js";
import type { AnyPaths, Arguments, Creation, MethodName, Optional, Result, State, TypeName } from "./types.js";

/** True in a browser page or worker, whose `fetch` may send a request again by itself. */
const IN_BROWSER = "document" in globalThis || "WorkerGlobalScope" in globalThis;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const GRACE_MS = 1_000; // the client waits this much longer than the gate, whose error says whether the call ran

/** Options of requests. */
export interface Options {
  /** The timeout of a request with all its attempts; at most 24 days. */
  readonly timeoutMs?: number;
  /** The idempotency key. The gate runs requests with the same key once. By default, each request gets its own key. */
  readonly idempotencyKey?: string;
  /** The version that the object must have. */
  readonly ifMatch?: number;
  /** The commit that the response must include. Pass `Reply.commitSeq` to read your own writes. */
  readonly minSeq?: bigint;
  /** The namespace of the objects. */
  readonly namespace?: string;
  /** Aborts the request. A request that was already sent may still run. */
  readonly signal?: AbortSignal;
}

/** Options of a client. */
export interface ClientOptions extends Options {
  /** The retry policy. */
  readonly retries?: Partial<RetryPolicy>;
  /** Headers for every request, for example `authorization`. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * False to send requests without a generated idempotency key; the default is true. A request without a key is not
   * retried if it may have run. Browsers ignore this option and always send a key: a browser may send a POST again by
   * itself when a kept-alive connection breaks, and only the key prevents a second effect.
   */
  readonly makeKeys?: boolean;
  /** The largest response that is read, after decompression; 16 MiB by default. Results of a gate have at most 4 MiB by default. */
  readonly answerBytesMax?: number;
  /**
   * True to round integers that JavaScript cannot represent, such as 9007199254740993. By default, a result with such an
   * integer fails with `UnexpectedAnswer`, although the call took effect.
   */
  readonly roundIntegers?: boolean;
  /** A replacement for the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** A result with its metadata. */
export interface Reply<T> {
  readonly value: T;
  /** The version of the object, if the response has one. */
  readonly version: number | undefined;
  /** The newest commit that the response depends on. */
  readonly commitSeq: bigint | undefined;
  /** True if this is the stored response of an earlier request with the same idempotency key. */
  readonly replayed: boolean;
  /** The request id in the gate's log. */
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

/** The client of a gate. `new GoVerse<paths>(...)`, with generated types, checks types and methods at compile time. */
export class GoVerse<P extends object = AnyPaths> {
  readonly url: string;
  readonly #options: ClientOptions;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #retries: RetryPolicy;
  readonly #fetch: typeof fetch;

  /**
   * @param url the URL of the gate, for example `https://gate.example`. It can include the path prefix of a proxy.
   * @throws TypeError if the URL or a header is invalid.
   */
  constructor(url: string, options: ClientOptions = {}) {
    const parsed = URL.canParse(url) ? new URL(url) : undefined;
    if (parsed?.username || parsed?.password) {
      throw new TypeError("the gate URL contains a user name or a password; send them in the header Authorization");
    }
    if (parsed === undefined || !["http:", "https:"].includes(parsed.protocol)) {
      const shown = JSON.stringify(url.replace(/\/\/.*@/s, "//********@"));
      throw new TypeError(`invalid gate URL ${shown}; expected, for example, https://gate.example`);
    }
    this.url = url.replace(/\/+$/, "");
    this.#options = options;
    this.#headers = Object.fromEntries(new Headers(options.headers)); // lower-case, so that our own headers override them
    this.#retries = { ...DEFAULT_RETRIES, ...options.retries };
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** Return a handle to an object. Nothing is sent. */
  object<T extends TypeName<P>>(type: T, id: string, options: Options = {}): ObjectHandle<P, T> {
    return new ObjectHandle(this, type, id, options);
  }

  /** Create an object with an id that the gate generates. */
  async create<T extends TypeName<P>>(type: T, ...[args]: Optional<Creation<P, T>>): Promise<ObjectHandle<P, T>> {
    const reply = await this.request<Summary>({ method: "POST", path: `/objects/${segment(type)}`, body: args ?? {} }, {});
    if (!isSummary(reply.value)) throw unexpected(200, `the response does not contain the id of the created object: ${shown(reply.value)}`);
    return new ObjectHandle(this, type, reply.value.id, {});
  }

  /** Iterate over the objects of a type whose ids begin with `prefix`, sorted by id. */
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

  /** Send a request, with retries as the policy and the timeout allow. @internal */
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
      ...(key !== undefined && { "idempotency-key": headerOf("idempotency key", key) }),
      ...(options.ifMatch !== undefined && { "if-match": headerOf("version", `"${options.ifMatch}"`) }),
      ...(options.minSeq !== undefined && { "goverse-min-seq": headerOf("commit_seq", String(options.minSeq)) }),
      ...(options.namespace !== undefined && { "goverse-namespace": headerOf("namespace", options.namespace) }),
    };
    let leftMs = timeoutMs;
    for (let attempts = 1; ; attempts += 1) {
      options.signal?.throwIfAborted();
      headers["goverse-timeout"] = Math.max(0.1, leftMs / 1000).toFixed(3);
      const [answer, error] = await this.#attempt({ ...request, body, headers }, leftMs + GRACE_MS, options.signal, repeatable);
      if (answer !== undefined && isResult(answer, request.method)) return replyOf(answer, attempts, options.roundIntegers === true);
      const failed: GoverseError = error ?? errorOf(answer as Answer);
      failed.attempts = attempts;
      // Without a key, only codes that rule out an effect are retried. A proxy's response has none of these codes.
      const again = failed.retryable && (repeatable || UNEXECUTED.has(failed.code));
      const pause = pauseMs(this.#retries, attempts, failed.retryAfterMs, Math.random());
      if (!again || attempts >= this.#retries.attemptsMax || performance.now() + pause >= deadline) throw failed;
      await sleep(pause, options.signal);
      leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        // the process or the machine was suspended during the pause
        const late = lostError(`the timeout of ${timeoutMs} ms passed before a retry; error: ${failed.detail}`, true);
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
        redirect: "manual", // "error" would look like a failed connection, "follow" would send the call to another server
        cache: "no-store",
      });
      const text = await textOf(response, this.#options.answerBytesMax ?? ANSWER_BYTES_MAX);
      return [{ status: response.status, headers: response.headers, text }, undefined];
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof UnexpectedAnswer) return [undefined, error];
      // `fetch` does not report whether the request was sent, so without a key it counts as sent
      const unknown = repeatable ? "" : "; it is unknown whether the request ran";
      return [undefined, lostError(limit.aborted ? "the response took too long" : `${reasonOf(error)}${unknown}`, limit.aborted)];
    } finally {
      limit.removeEventListener("abort", stop);
      signal?.removeEventListener("abort", stop);
    }
  }
}

/** A reference to one object, by type and id. The object does not have to exist. */
export class ObjectHandle<P extends object, T extends TypeName<P>> {
  readonly #client: GoVerse<P>;
  readonly #options: Options;
  readonly #path: string;

  /**
   * @throws RangeError if the id is empty, longer than 512 bytes of UTF-8, or `.` or `..`. `fetch` removes `.` and `..`
   * from paths, even if they are encoded. Other clients can use these ids.
   */
  constructor(client: GoVerse<P>, readonly type: T, readonly id: string, options: Options) {
    const size = new TextEncoder().encode(id).length;
    if (size < 1 || size > 512) throw new RangeError(`an id must have 1 to 512 bytes of UTF-8, not ${size}`);
    if (id === "." || id === "..") throw new RangeError(`fetch cannot send the id ${JSON.stringify(id)}`);
    this.#client = client;
    this.#options = options;
    this.#path = `/objects/${segment(type)}/${segment(id)}`;
  }

  /** Return a handle to the same object with other options. Use a handle with an idempotency key for one request only. */
  withOptions(options: Options): ObjectHandle<P, T> {
    return new ObjectHandle(this.#client, this.type, this.id, { ...this.#options, ...options });
  }

  /** Call a method and return its result. When this resolves, the effect of the call is durable. */
  async call<M extends MethodName<P, T>>(method: M, ...args: Optional<Arguments<P, T, M>>): Promise<Result<P, T, M>> {
    return (await this.callReply(method, ...args)).value;
  }

  /** Call a method like `call`, and return the result with its metadata. */
  async callReply<M extends MethodName<P, T>>(method: M, ...[args]: Optional<Arguments<P, T, M>>): Promise<Reply<Result<P, T, M>>> {
    return this.#request({ method: "POST", path: `${this.#path}/call/${segment(method)}`, body: args ?? {} });
  }

  /** Return the state. */
  async get(): Promise<State<P, T>> {
    return (await this.getReply()).value;
  }

  /** Return the state with its metadata, such as the version and the commit. */
  getReply(): Promise<Reply<State<P, T>>> {
    return this.#request({ method: "GET", path: this.#path });
  }

  /** Create the object with the arguments of its `on_create`. If it was already created with the same arguments, nothing changes. */
  create(...[args]: Optional<Creation<P, T>>): Promise<Reply<Summary>> {
    return this.#request({ method: "PUT", path: this.#path, body: args ?? {} });
  }

  /** Create the object, which must not exist. */
  createNew(...[args]: Optional<Creation<P, T>>): Promise<Reply<Summary>> {
    return this.#request({ method: "PUT", path: this.#path, body: args ?? {}, headers: { "if-none-match": "*" } });
  }

  /** Delete the object durably. A later call starts with a new object. */
  async delete(): Promise<void> {
    await this.#request({ method: "DELETE", path: this.#path });
  }

  #request<R>(request: Request): Promise<Reply<R>> {
    return this.#client.request<R>(request, this.#options);
  }
}

/** True for a gate's success response: JSON, or no content for a delete. A proxy may send other ones. */
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
    throw unusable(answer, attempts, `cannot be parsed as JSON: ${shown(answer.text)}`);
  }
  const rounded = roundIntegers ? undefined : roundedInteger(answer.text);
  if (rounded !== undefined) {
    const integer = rounded.length <= 40 ? rounded : `${rounded.slice(0, 40)}…`;
    throw unusable(
      answer,
      attempts,
      `contains the integer ${integer}, which JavaScript would round; return it as a string, or set roundIntegers`,
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
  const error = unexpected(answer.status, `the response (status ${answer.status}) ${why}`);
  error.attempts = attempts;
  return error;
}

/** Read the body of a response. A body larger than `bytesMax` is cancelled, which closes the connection. */
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
      throw unexpected(response.status, `the response is larger than ${bytesMax} bytes (answerBytesMax)`);
    }
    text += decoder.decode(piece.value, { stream: true });
  }
  return text + decoder.decode();
}

function isSummary(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof (value as Summary).id === "string";
}

/** Check a page and return its cursor, `null` on the last page. `before` is the cursor of the request. */
function cursorAfter(page: { items: unknown; cursor: unknown } | null, before: string | null | undefined): string | null {
  const { items, cursor } = page ?? { items: undefined, cursor: undefined };
  if (!Array.isArray(items) || !items.every(isSummary)) throw unexpected(200, `the response is not a page of a listing: ${shown(page)}`);
  if (cursor === null || (typeof cursor === "string" && cursor !== before)) return cursor;
  throw unexpected(200, "the response is a page of a listing whose cursor does not advance");
}

function shown(value: unknown): string {
  return (typeof value === "string" ? JSON.stringify(value.slice(0, 200)) : (JSON.stringify(value) ?? "nothing")).slice(0, 300);
}

function newKey(): string {
  // `crypto.randomUUID` is missing on pages without TLS
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
