"""The object API, ``/objects/...``, as a plain ASGI application without FastAPI's overhead.

A request passes the guard, is matched to a type and an object, has its body read and goes over the link. The reply
becomes the response. Any step may raise a ``GoverseError``; ``Objects.refuse`` turns it into a problem document.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from goverse.errors import (
    AccessDenied,
    Draining,
    GoverseError,
    MalformedRequest,
    Overloaded,
    RequestError,
    UnknownPath,
    UnsupportedTransferEncoding,
)
from goverse.model.catalog import Catalog
from goverse.model.frames import Problem
from goverse.ports.link import Carrier
from goverse_gate.bodies import Bodies
from goverse_gate.call_requests import CallRequests
from goverse_gate.exchange import CLIENT_GONE, AsgiExchange, Exchange, Receive, Scope, Send
from goverse_gate.guard import Guard, is_preflight
from goverse_gate.headers import check_encodings, collect, request_id_of
from goverse_gate.identity import ObjectIds, RequestIds
from goverse_gate.memory_bounds import Budget
from goverse_gate.metrics import GateMetrics
from goverse_gate.operations import Operations
from goverse_gate.options import AccessLog, GateOptions
from goverse_gate.routes import Routes
from goverse_gate.target import shown, split
from goverse_gate.timeouts import ClientGone, Timeouts

Route = Callable[[AsgiExchange], Awaitable[None]]

_NAVIGABLE: Final = frozenset({"GET", "HEAD"})  # a page can show these in a frame, and sends no Origin header with them

CLIENT_CLOSED_REQUEST: Final = 499  # logged, never sent

STOPPED: Final = "the gate stopped before the object answered"
UNFORESEEN: Final = "unexpected error in the gate; search its log for the request id"

logger = logging.getLogger("goverse.gate")


class Objects:
    """The object API as an ASGI application."""

    def __init__(
        self,
        link: Carrier,
        catalog: Catalog,
        options: GateOptions,
        *,
        bodies: Bodies,
        received: Budget,
        timeouts: Timeouts,
        guard: Guard,
        metrics: GateMetrics,
        request_ids: RequestIds,
        object_ids: ObjectIds,
    ) -> None:
        """Prepare everything that does not depend on a request."""
        self.access_log: AccessLog = options.access_log
        self._inflight_max = options.inflight_calls_max
        self._guard = guard
        self._bodies = bodies
        self.received = received
        self.metrics = metrics
        self.request_ids = request_ids
        self.timeouts = timeouts
        self._default_timeout_s = options.default_call_timeout_s
        self.routes = Routes(catalog, metrics, options.default_call_timeout_s)
        self.inflight = 0
        self.draining = False
        self.call_requests = CallRequests(link, self, timeouts, options.default_call_timeout_s)
        self.operations = Operations(
            link,
            options,
            bodies=bodies,
            timeouts=timeouts,
            metrics=metrics,
            object_ids=object_ids,
            is_draining=lambda: self.draining,
            call_requests=self.call_requests,
        )
        metrics.inflight = lambda: self.inflight

    def set_catalog(self, catalog: Catalog) -> None:
        """Serve the object types of ``catalog`` from now on."""
        self.metrics.add(catalog)
        self.routes = Routes(catalog, self.metrics, self._default_timeout_s)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request to an object or a type."""
        return self.serve(scope, receive, send, self._route)

    async def serve(self, scope: Scope, receive: Receive, send: Send, route: Route) -> None:
        """Answer one request: check it, then call ``route``. Every error becomes a response."""
        exchange = AsgiExchange((scope, receive, send), self.request_ids(), self.metrics.unknown, self.access_log)
        if exchange.method in _NAVIGABLE:
            exchange.cors = self._guard.frame_headers
        self.inflight += 1
        try:
            await self._answer(exchange, route)
        except GoverseError as error:
            await self.refuse(exchange, error)
        except ClientGone:
            exchange.finish(CLIENT_GONE, CLIENT_CLOSED_REQUEST)
        except asyncio.CancelledError:
            if not exchange.answered:
                exchange.close = True
                await exchange.answer_problem(Problem.of(Draining(STOPPED)))
            raise
        except Exception:
            if exchange.answered:
                raise
            await self.fail(exchange)
        finally:
            self.inflight -= 1
            if exchange.body_bytes:
                self._bodies.release(exchange)

    async def _answer(self, exchange: AsgiExchange, route: Route) -> None:
        scope = exchange.scope
        self.admit(exchange, scope["headers"], scope["http_version"])
        if exchange.found and is_preflight(exchange.method, exchange.found):
            return await exchange.answer_nothing(204, self._guard.preflight_headers(exchange.cors, exchange.found))
        self.check_load()
        return await route(exchange)

    def _route(self, exchange: AsgiExchange) -> Awaitable[None]:
        segments = split(exchange.raw_path)
        depth = len(segments)
        if exchange.scope["query_string"] and depth != 1:
            raise MalformedRequest("this request takes no query parameters; arguments belong in the JSON body")
        if depth == 4 and segments[2] == b"call":
            route = self.routes.type(segments[0])
            exchange.series = route.unknown
            return self.operations.call(exchange, route, route.method(segments[3]), segments[1])
        if depth == 2:
            return self.operations.on_object(exchange, self.routes.type(segments[0]), segments[1])
        if depth == 1:
            return self.operations.on_type(exchange, self.routes.type(segments[0]))
        raise UnknownPath(f"path not found: {shown(exchange.raw_path)}{self._call_path(segments)}")

    def _call_path(self, segments: Sequence[bytes]) -> str:
        """Return a hint for a path that lacks ``/call/`` before the name of a method; empty for other paths."""
        if len(segments) != 3:
            return ""
        try:
            self.routes.type(segments[0]).method(segments[2])
        except RequestError:
            return ""
        return f"; did you mean {shown(b'/objects/%s/%s/call/%s' % tuple(segments))}?"

    # --- shared with the fast path ------------------------------------------------------------------------------

    def admit(self, exchange: Exchange, headers: Iterable[tuple[bytes, bytes]], http_version: str) -> None:
        """Check the request headers against the guard and record them in ``exchange``.

        Raises:
            GoverseError: the guard denies the request, or a header is malformed.
        """
        guard = self._guard
        host, exchange.content_length, found = collect(headers)
        if host not in guard.known_hosts:
            guard.check_host(host, http_version)
        if self.draining:
            exchange.close = True
        if found:
            exchange.found = found
            exchange.request_id = request_id_of(found) or exchange.request_id
            exchange.cors = guard.check_page(exchange.method, host, found) + exchange.cors
            if b"transfer-encoding" in found or b"content-encoding" in found:
                check_encodings(found)
        elif guard.vary:
            exchange.cors = guard.vary + exchange.cors

    def check_load(self) -> None:
        """Check the limit on requests in progress.

        Raises:
            Overloaded: the limit is exceeded.
        """
        if self.inflight > self._inflight_max:
            raise Overloaded(f"too many requests in progress; the gate allows {self._inflight_max}")

    def refuse(self, exchange: Exchange, error: GoverseError) -> Awaitable[None]:
        """Answer with the problem document of ``error``."""
        if isinstance(error, AccessDenied):
            self.metrics.deny(error)
        elif isinstance(error, UnsupportedTransferEncoding):
            exchange.close = True  # a proxy may disagree about where the body ends
        return exchange.answer_problem(Problem.of(error))

    def fail(self, exchange: Exchange) -> Awaitable[None]:
        """Answer with ``internal_error`` after an unexpected exception, and log the exception."""
        logger.exception("a request failed in the gate", extra={"request_id": exchange.request_id})
        return exchange.answer_problem(Problem.of(GoverseError(UNFORESEEN)))
