"""The operations of the object API: call, read, create, delete and list.

Each operation builds a request from the HTTP exchange, sends it over the link, and writes the reply as the response.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import orjson

from goverse.errors import AccessDenied, MalformedRequest, MethodNotAllowed, Timeout, Unavailable
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.trace_context import NO_TRACE
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.link import Carrier
from goverse_gate.bodies import Bodies
from goverse_gate.call_requests import GIVEN_UP, Caller, CallRequests
from goverse_gate.exchange import JSON, NO_CACHE, AsgiExchange, Exchange
from goverse_gate.guard import Headers
from goverse_gate.headers import CallHeaders, check_etags, is_exclusive_create, matches_tag, other_match, read
from goverse_gate.identity import ObjectIds
from goverse_gate.listing import page, parse_query
from goverse_gate.metrics import GateMetrics
from goverse_gate.options import GateOptions
from goverse_gate.preferences import LATER, Deferral, deferral_of
from goverse_gate.respond_async import RespondAsync, applied
from goverse_gate.routes import MethodRoute, TypeRoute
from goverse_gate.target import object_id
from goverse_gate.timeouts import ANSWER_GRACE_S, Expired, LinkBroken, Timeouts

CALL_METHODS: Final = b"OPTIONS, POST"
OBJECT_METHODS: Final = b"DELETE, GET, HEAD, OPTIONS, PUT"
TYPE_METHODS: Final = b"GET, HEAD, OPTIONS, POST"


class Operations:
    """The operations of one gate over one link."""

    def __init__(
        self,
        link: Carrier,
        options: GateOptions,
        *,
        bodies: Bodies,
        timeouts: Timeouts,
        metrics: GateMetrics,
        object_ids: ObjectIds,
        is_draining: Callable[[], bool],
        call_requests: CallRequests,
        clock: Clock | None = None,
    ) -> None:
        """Prepare everything that does not depend on a request."""
        self._link = link
        self._submit = link.submit
        self.carry = link.carry
        self._options = options
        self._metrics = metrics
        self._object_ids = object_ids
        self._timeouts = timeouts
        self._bodies = bodies
        self._is_draining = is_draining
        self._respond_async = RespondAsync(call_requests)
        self._clock = clock or SystemClock()
        self._plain = CallHeaders(options.default_namespace)

    async def call(self, exchange: AsgiExchange, route: TypeRoute, method: MethodRoute, segment: bytes) -> None:
        """Answer ``POST /objects/{type}/{id}/call/{method}``."""
        if exchange.method != "POST":
            return await _other_method(exchange, CALL_METHODS)
        exchange.series = method.series
        headers = self.headers(exchange)
        found = exchange.found
        deferral = None if LATER.isdisjoint(found) else deferral_of(found, self._clock.wall_ms())
        key = ObjectKey(headers.namespace, route.name, object_id(segment))
        body = await self._bodies.read(exchange)
        exchange.close = exchange.close or self._is_draining()
        request = self._call(exchange, key, method, headers, body)
        if deferral is not None:
            return await self._submit_call(Caller(exchange, headers), request, deferral)
        return await self.answer_call(exchange, await self._ask(request, exchange))

    async def _submit_call(self, caller: Caller, request: Request, deferral: Deferral) -> None:
        """Answer a call with ``Prefer: respond-async``."""
        exchange, sender = caller.exchange, request.key
        exchange.series = self._metrics.operations["submit"]
        exchange.object_type = sender.type
        request.operation, request.delay_ms = Operation.SEND, deferral.delay_ms
        accepted = await self._ask(request, exchange)
        if accepted.problem is not None:
            return await self.answer_call(exchange, accepted)
        result = await self._respond_async.result(caller, sender, accepted, deferral)
        if result is not None:
            return await self.answer_call(exchange, result, [applied(deferral)])
        if accepted.replayed:
            self._metrics.replays += 1
        return await self._respond_async.accept(caller, accepted, deferral)

    def request_of(
        self, exchange: Exchange, route: TypeRoute, method: MethodRoute, *, segment: bytes, body: bytes
    ) -> Request:
        """Return the request for a call whose body is complete. ``carry`` sends it.

        Raises:
            GoverseError: a header or the id is malformed.
        """
        exchange.series = method.series
        headers = self.headers(exchange) if exchange.found else self._plain
        key = ObjectKey(headers.namespace, route.name, object_id(segment))
        return self._call(exchange, key, method, headers, body)

    def _call(
        self, exchange: Exchange, key: ObjectKey, method: MethodRoute, headers: CallHeaders, body: bytes
    ) -> Request:
        if headers.min_seq:
            self._check_seq(headers.min_seq)
        exchange.allowed_s = headers.timeout_s or method.timeout_s
        request = Request(
            Operation.CALL,
            key,
            method.name,
            body,
            exchange.started + exchange.allowed_s,
            exchange.request_id,
            headers.idempotency_key,
            headers.if_match,
        )
        if headers.trace is not NO_TRACE:
            request.traceparent, request.tracestate = headers.trace
        return request

    def answer_call(self, exchange: Exchange, reply: Reply, headers: Headers | None = None) -> Awaitable[None]:
        """Write the link's reply to a call as the response, with ``headers`` in addition."""
        if reply.replayed:
            self._metrics.replays += 1
        if reply.problem is None:
            return exchange.answer_reply(200, reply, [JSON] if headers is None else [JSON, *headers])
        return exchange.answer_problem(reply.problem, reply, headers)

    async def on_object(self, exchange: AsgiExchange, route: TypeRoute, segment: bytes) -> None:
        """Answer ``GET``, ``PUT`` or ``DELETE /objects/{type}/{id}``."""
        exchange.object_type = route.name
        method = exchange.method
        if method in ("GET", "HEAD"):
            return await self._read(exchange, route, segment)
        if method == "PUT":
            return await self._put(exchange, route, segment)
        if method == "DELETE":
            return await self._delete(exchange, route, segment)
        return await _other_method(exchange, OBJECT_METHODS)

    async def on_type(self, exchange: AsgiExchange, route: TypeRoute) -> None:
        """Answer ``GET`` or ``POST /objects/{type}``."""
        exchange.object_type = route.name
        method = exchange.method
        if method in ("GET", "HEAD"):
            return await self._list(exchange, route)
        if method == "POST":
            return await self._post(exchange, route)
        return await _other_method(exchange, TYPE_METHODS)

    # --- one method per resource and HTTP method ------------------------------------------------------------

    async def _read(self, exchange: AsgiExchange, route: TypeRoute, segment: bytes) -> None:
        exchange.series = self._metrics.operations["read"]
        headers = self.headers(exchange)
        known = exchange.found.get(b"if-none-match")
        if known is not None:
            check_etags(known)
        key = ObjectKey(headers.namespace, route.name, object_id(segment))
        request = self._request(Operation.READ, key, exchange, headers, if_match=headers.if_match)
        reply = await self._send(request, exchange, headers.min_seq)
        if reply.problem is not None:
            return await exchange.answer_problem(reply.problem, reply)
        tag = route.state_tag(reply.version, reply.body)
        headers_sent: Headers = [NO_CACHE, (b"etag", b'"%b"' % tag)]
        reply.version = 0  # the ETag above includes it
        if known is not None and matches_tag(known, tag):
            return await exchange.answer_nothing(304, headers_sent, reply)
        return await exchange.answer_reply(200, reply, [JSON, *headers_sent])

    async def _put(self, exchange: AsgiExchange, route: TypeRoute, segment: bytes) -> None:
        exchange.series = self._metrics.operations["create"]
        headers = self.headers(exchange)
        key = ObjectKey(headers.namespace, route.name, object_id(segment))
        exclusive = is_exclusive_create(exchange.found)
        body = await self._bodies.read(exchange)
        exchange.close = exchange.close or self._is_draining()
        if_match = 0 if exclusive else headers.if_match
        request = self._request(Operation.CREATE, key, exchange, headers, body=body, if_match=if_match)
        await self._create(request, exchange, headers, exchange.raw_path)

    async def _post(self, exchange: AsgiExchange, route: TypeRoute) -> None:
        exchange.series = self._metrics.operations["create"]
        if exchange.scope["query_string"]:
            raise MalformedRequest("a create takes no query parameters; put the arguments into the JSON body")
        headers = self.headers(exchange)
        body = await self._bodies.read(exchange)
        exchange.close = exchange.close or self._is_draining()
        if headers.idempotency_key is None:
            name = self._object_ids.new()
        else:
            name = self._object_ids.of_request(headers.namespace, route.name, headers.idempotency_key)
        key = ObjectKey(headers.namespace, route.name, name)
        request = self._request(Operation.CREATE, key, exchange, headers, body=body, if_match=0)
        await self._create(request, exchange, headers, exchange.raw_path + b"/" + name.encode())

    async def _create(self, request: Request, exchange: AsgiExchange, headers: CallHeaders, location: bytes) -> None:
        reply = await self._send(request, exchange, headers.min_seq)
        if reply.problem is not None:
            return await exchange.answer_problem(reply.problem, reply)
        answer: Headers = [JSON]
        if reply.created:
            answer.append((b"location", location))
        reply.body = orjson.dumps({"id": request.key.id, "version": reply.version})
        return await exchange.answer_reply(201 if reply.created else 200, reply, answer)

    async def _delete(self, exchange: AsgiExchange, route: TypeRoute, segment: bytes) -> None:
        exchange.series = self._metrics.operations["delete"]
        headers = self.headers(exchange)
        key = ObjectKey(headers.namespace, route.name, object_id(segment))
        request = self._request(Operation.DELETE, key, exchange, headers, if_match=headers.if_match)
        reply = await self._send(request, exchange, headers.min_seq)
        if reply.problem is not None:
            return await exchange.answer_problem(reply.problem, reply)
        reply.version = 0  # no ETag: the object is gone
        return await exchange.answer_nothing(204, [], reply)

    async def _list(self, exchange: AsgiExchange, route: TypeRoute) -> None:
        exchange.series = self._metrics.operations["list"]
        headers = self.headers(exchange)
        query = parse_query(exchange.scope["query_string"])
        self._check_seq(headers.min_seq)
        timeout_s = headers.timeout_s or self._options.default_call_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                items = await self._link.list(
                    headers.namespace, route.name, prefix=query.prefix, after=query.after, limit=query.limit
                )
        except TimeoutError:
            raise _timeout("list", route.name, timeout_s) from None
        await exchange.answer(200, page(items, query.limit), [JSON, NO_CACHE])

    # --- shared by the operations ---------------------------------------------------------------------------

    def headers(self, exchange: Exchange) -> CallHeaders:
        """Return the parsed headers of a request.

        Raises:
            MalformedRequest: one is malformed.
        """
        if not exchange.found:
            return self._plain
        return read(exchange.found, self._options.default_namespace, self._options.call_timeout_s_max)

    def _request(
        self,
        operation: Operation,
        key: ObjectKey,
        exchange: AsgiExchange,
        headers: CallHeaders,
        *,
        body: bytes = b"",
        if_match: int | None = None,
    ) -> Request:
        options = self._options
        create = operation is Operation.CREATE
        default_s = options.default_create_timeout_s if create else options.default_call_timeout_s
        exchange.allowed_s = headers.timeout_s or default_s
        request = Request(
            operation,
            key,
            "",
            body,
            exchange.started + exchange.allowed_s,
            exchange.request_id,
            headers.idempotency_key,
            if_match,
        )
        if headers.trace is not NO_TRACE:
            request.traceparent, request.tracestate = headers.trace
        return request

    def _check_seq(self, min_seq: int) -> None:
        if min_seq and self._link.readiness().commit_seq < min_seq:
            raise Unavailable(f"commit_seq {min_seq} is not visible here yet", min_seq=str(min_seq))

    async def _send(self, request: Request, exchange: AsgiExchange, min_seq: int) -> Reply:
        self._check_seq(min_seq)
        reply = await self._ask(request, exchange)
        if reply.replayed:
            self._metrics.replays += 1
        if reply.problem is not None and reply.problem.code == AccessDenied.code:
            self._metrics.deny(reply.problem)
        return reply

    async def _ask(self, request: Request, exchange: AsgiExchange) -> Reply:
        while True:
            future = self._submit(request)
            reply = future.result() if is_there(future) else await self._wait(future, request, exchange)
            other = None if reply.problem is None else other_match(exchange.found, request.if_match, reply.problem)
            if other is None:
                return reply
            request = replace(request, if_match=other)

    async def _wait(self, future: Future[Reply], request: Request, exchange: AsgiExchange) -> Reply:
        try:
            return await self._timeouts.reply(future, request.deadline + ANSWER_GRACE_S, exchange.receive)
        except Expired:
            raise timeout_of(request, exchange) from None
        except LinkBroken:
            raise Unavailable(GIVEN_UP) from None


def is_there(future: Future[Reply]) -> bool:
    """True if the link has already delivered the reply."""
    return future.done() and not future.cancelled()


def timeout_of(request: Request, exchange: Exchange) -> Timeout:
    """Return the error for a request whose deadline passed."""
    operation = request.method or request.operation.name.lower()
    return _timeout(operation, str(request.key), exchange.allowed_s)


def _timeout(operation: str, subject: str, seconds: float) -> Timeout:
    rounded = round(seconds, 3)
    return Timeout(
        f"{operation} of {subject} did not finish within {rounded:g} s",
        operation=operation,
        object=subject,
        seconds=rounded,
    )


async def _other_method(exchange: AsgiExchange, allow: bytes) -> None:
    """Answer OPTIONS with the allowed methods, and any other HTTP method with ``method_not_allowed``."""
    if exchange.method == "OPTIONS":
        return await exchange.answer_nothing(204, [(b"allow", allow)])
    error = MethodNotAllowed(f"{exchange.method} is not supported here; use one of {allow.decode()}")
    return await exchange.answer_problem(Problem.of(error), headers=[(b"allow", allow)])
