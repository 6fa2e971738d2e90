"""Requests about reliable calls over the link, and waits for the end of a call.

A wait is no call in progress: it uses neither a place of ``inflight_calls_max`` nor of a node. When the gate drains,
all waits are answered with the present status.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

import orjson

from goverse.errors import Overloaded, Timeout, Unavailable
from goverse.limits import CALL_WAITS_MAX
from goverse.model import call_verbs
from goverse.model.call_ids import place_of_call, placement_of_call
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.trace_context import NO_TRACE
from goverse.ports.link import Carrier
from goverse_gate.exchange import AsgiExchange
from goverse_gate.headers import CallHeaders
from goverse_gate.timeouts import ANSWER_GRACE_S, Expired, LinkBroken, Timeouts

GIVEN_UP: Final = "the node gave up on the request; it is unknown whether the request ran"


class Load(Protocol):
    """The requests in progress of a gate."""

    inflight: int
    draining: bool


class Caller(NamedTuple):
    """The request on whose behalf the gate asks about calls."""

    exchange: AsgiExchange
    headers: CallHeaders


class CallRequests:
    """Sends requests about reliable calls."""

    def __init__(self, link: Carrier, load: Load, timeouts: Timeouts, timeout_s: float) -> None:
        """Use ``timeout_s`` for requests that do not set a timeout."""
        self._submit = link.submit
        self._load = load
        self._timeouts = timeouts
        self._timeout_s = timeout_s
        self._waits: dict[Future[Reply], None] = {}

    def drain(self) -> None:
        """End all waits early."""
        for future in list(self._waits):
            future.cancel()

    async def ask(self, caller: Caller, verb: str, key: ObjectKey, members: Mapping[str, Any]) -> Reply:
        """Send one request and return its reply.

        Raises:
            GoverseError: there is no reply.
            ClientGone: the client closed its connection.
        """
        return await self._reply(self._request(caller, verb, key, members, 0), caller.exchange)

    async def show(self, caller: Caller, key: ObjectKey, call_id: str, wait_s: float) -> Reply:
        """Return the status of a call, after ``wait_s`` or at its end, whichever comes first.

        Raises:
            GoverseError: there is no reply.
            ClientGone: the client closed its connection.
        """
        if wait_s and not self._load.draining:
            members = {"id": call_id, "wait_ms": round(wait_s * 1000)}
            request = self._request(caller, call_verbs.SHOW, key, members, wait_s)
            reply = await self._wait(request, caller.exchange)
            if reply is not None:
                return reply
        return await self.ask(caller, call_verbs.SHOW, key, {"id": call_id})

    async def _wait(self, request: Request, exchange: AsgiExchange) -> Reply | None:
        """Return the reply to a request that may wait long, or None because the gate has begun to drain.

        Raises:
            Overloaded: too many requests wait.
        """
        if len(self._waits) >= CALL_WAITS_MAX:
            raise Overloaded(
                f"{CALL_WAITS_MAX} requests already wait in this gate for the end of calls; try again, or without wait",
                retry_after_s=1,
            )
        self._load.inflight -= 1
        future = self._submit(request)
        self._waits[future] = None
        try:
            return await self._reply_of(future, request, exchange)
        except LinkBroken:
            if self._load.draining:
                exchange.close = True
                return None
            raise Unavailable(GIVEN_UP) from None
        finally:
            del self._waits[future]
            self._load.inflight += 1

    def _request(self, caller: Caller, verb: str, key: ObjectKey, members: Mapping[str, Any], wait_s: float) -> Request:
        exchange, headers = caller
        allowed_s = wait_s + (headers.timeout_s or self._timeout_s)
        now = monotonic()
        exchange.allowed_s = now - exchange.started + allowed_s
        body = orjson.dumps(members)
        request = Request(Operation.CALLS, key, verb, body, now + allowed_s, exchange.request_id)
        if headers.trace is not NO_TRACE:
            request.traceparent, request.tracestate = headers.trace
        return request

    async def _reply(self, request: Request, exchange: AsgiExchange) -> Reply:
        try:
            return await self._reply_of(self._submit(request), request, exchange)
        except LinkBroken:
            raise Unavailable(GIVEN_UP) from None

    async def _reply_of(self, future: Future[Reply], request: Request, exchange: AsgiExchange) -> Reply:
        if future.done() and not future.cancelled():
            return future.result()
        try:
            return await self._timeouts.reply(future, request.deadline + ANSWER_GRACE_S, exchange.receive)
        except Expired:
            seconds = round(exchange.allowed_s, 3)
            raise Timeout(
                f"{request.method} of a reliable call did not finish within {seconds:g} s",
                operation=request.method,
                seconds=seconds,
            ) from None


def key_of_call(namespace: str, call_id: str, sender: ObjectKey | None) -> ObjectKey:
    """Return the key to which a request about a call is sent: its sender, or the place that its id names."""
    return sender or place_of_call(namespace, placement_of_call(call_id) or 0)
