/** The TypeScript client for GoVerse: call durable objects over HTTP, with safe retries and typed errors. */

export { GoVerse, ObjectHandle } from "./client.js";
export type { ClientOptions, Options, Reply, Summary } from "./client.js";
export { BusinessError, CallTimeout, ConnectionFailed, GoverseError, UnexpectedAnswer } from "./errors.js";
export type { InvalidField } from "./errors.js";
export { DEFAULT_RETRIES, NEVER } from "./retries.js";
export type { RetryPolicy } from "./retries.js";
export type { AnyPaths, Arguments, Creation, Json, MethodName, Result, State, TypeName } from "./types.js";
