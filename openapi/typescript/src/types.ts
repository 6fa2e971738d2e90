/**
 * Types of object types, methods, arguments and results, derived from the `paths` that `openapi-typescript` generates from
 * an application's OpenAPI document. Without a document (`AnyPaths`) every name and any JSON is accepted.
 */

/** The paths without a document: any type, any method. */
export type AnyPaths = object;

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

type Known<P> = Extract<keyof P, `/objects/${string}/{id}`>;
type Content<B> = B extends { content: { "application/json": infer C } } ? C : never;
type Ok<O> = O extends { responses: { 200: infer R } } ? ([Content<R>] extends [never] ? null : Content<R>) : never;
type Body<O> = O extends { requestBody?: infer B } ? Content<NonNullable<B>> : never;
type At<P, K extends string, V extends string> = K extends keyof P ? (V extends keyof P[K] ? P[K][V] : never) : never;

/** The names of the object types. */
export type TypeName<P> = [Known<P>] extends [never] ? string : Known<P> extends `/objects/${infer T}/{id}` ? T : never;

/** The names of a type's methods. */
export type MethodName<P, T extends string> = [Known<P>] extends [never]
  ? string
  : Extract<keyof P, `/objects/${T}/{id}/call/${string}`> extends `/objects/${T}/{id}/call/${infer M}`
    ? M
    : never;

/** The arguments of a method. */
export type Arguments<P, T extends string, M extends string> = [Known<P>] extends [never]
  ? Record<string, unknown>
  : Body<At<P, `/objects/${T}/{id}/call/${M}`, "post">>;

/** The result of a method. */
export type Result<P, T extends string, M extends string> = [Known<P>] extends [never]
  ? any // eslint-disable-line @typescript-eslint/no-explicit-any -- without a document the caller knows the type
  : Ok<At<P, `/objects/${T}/{id}/call/${M}`, "post">>;

/** The state of an object. */
export type State<P, T extends string> = [Known<P>] extends [never]
  ? any // eslint-disable-line @typescript-eslint/no-explicit-any
  : Ok<At<P, `/objects/${T}/{id}`, "get">>;

/** The arguments of `on_create`. */
export type Creation<P, T extends string> = [Known<P>] extends [never]
  ? Record<string, unknown>
  : Body<At<P, `/objects/${T}/{id}`, "put">>;

/** The parameter list for arguments, which are optional if no argument is required. */
export type Optional<A> = {} extends A ? [args?: A] : [args: A];
