/** The TypeScript client of GoVerse: objects called by name, repeated safely, with typed errors. */

export { GoVerse, ObjectHandle } from "./client.js";
export type { ClientOptions, Options, Reply, Summary } from "./client.js";
export { BusinessError, CallTimeout, ConnectionFailed, GoverseError, UnexpectedAnswer } from "./errors.js";
export type { InvalidField } from "./errors.js";
export { DEFAULT_RETRIES, NEVER } from "./retries.js";
export type { RetryPolicy } from "./retries.js";
export type { AnyPaths, Arguments, Creation, Json, MethodName, Result, State, TypeName } from "./types.js";
