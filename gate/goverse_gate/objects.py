"""The raw path: ``/objects/...`` straight on ASGI, since every microsecond here is paid by every call.

A request passes the guard, names its object, brings its body, goes over the link, and its reply becomes an
answer. Errors are raised as ``GoverseError`` anywhere on the way and become a problem document in one place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from goverse.errors import AccessDenied, Draining, GoverseError, Overloaded, UnknownPath
from goverse.model.catalog import Catalog
from goverse.model.frames import Problem
from goverse.ports.link import Link
from goverse_gate.bodies import Bodies
from goverse_gate.exchange import CLIENT_GONE, Exchange, Receive, Scope, Send
from goverse_gate.guard import Guard, is_preflight, preflight_headers
from goverse_gate.headers import collect, request_id_of
from goverse_gate.identity import ObjectIds, RequestIds
from goverse_gate.metrics import GateMetrics
from goverse_gate.offers import Offers
from goverse_gate.operations import Operations
from goverse_gate.options import AccessLog, GateOptions
from goverse_gate.target import shown, split
from goverse_gate.waiting import ClientGone, Waiting

CLIENT_CLOSED_REQUEST: Final = 499  # never sent; only logged

UNFORESEEN: Final = "something went wrong in the gate; its log has more under the request id"

logger = logging.getLogger("goverse.gate")


class Objects:
    """The object API as an ASGI application."""

    def __init__(
        self,
        link: Link,
        catalog: Catalog,
        options: GateOptions,
        *,
        bodies: Bodies,
        waiting: Waiting,
        guard: Guard,
        metrics: GateMetrics,
        request_ids: RequestIds,
        object_ids: ObjectIds,
    ) -> None:
        """Look up everything that does not depend on a request."""
        self._access_log: AccessLog = options.access_log
        self._inflight_max = options.inflight_calls_max
        self._guard = guard
        self._metrics = metrics
        self._request_ids = request_ids
        self._offers = Offers(catalog, metrics, options.default_call_timeout_s)
        self._operations = Operations(
            link,
            options,
            bodies=bodies,
            waiting=waiting,
            metrics=metrics,
            object_ids=object_ids,
            is_draining=lambda: self.draining,
        )
        self.inflight = 0
        self.draining = False
        metrics.inflight = lambda: self.inflight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        exchange = Exchange(scope, receive, send, self._request_ids(), self._metrics.unknown)
        exchange.logged = self._access_log
        self.inflight += 1
        try:
            await self._answer(exchange)
        except GoverseError as error:
            if isinstance(error, AccessDenied):
                self._metrics.deny(error)
            await exchange.answer_problem(Problem.of(error))
        except ClientGone:
            exchange.finish(CLIENT_GONE, CLIENT_CLOSED_REQUEST)
        except asyncio.CancelledError:
            if not exchange.answered:
                exchange.close = True
                await exchange.answer_problem(Problem.of(Draining("the gate stopped before the object had answered")))
            raise
        except Exception:
            logger.exception("a request failed in the gate", extra={"request_id": exchange.request_id})
            if exchange.answered:
                raise
            await exchange.answer_problem(Problem.of(GoverseError(UNFORESEEN)))
        finally:
            self.inflight -= 1

    async def _answer(self, exchange: Exchange) -> None:
        scope = exchange.scope
        guard = self._guard
        host, exchange.content_length, found = collect(scope["headers"])
        if host not in guard.known_hosts:
            guard.check_host(host, scope["http_version"])
        if self.draining:
            exchange.close = True
        if found:
            exchange.found = found
            exchange.request_id = request_id_of(found) or exchange.request_id
            exchange.cors = guard.check_page(scope["method"], host, found)
            if b"expect" in found:
                exchange.close = True  # until the body was asked for, nobody knows whether it will come
            if is_preflight(scope["method"], found):
                return await exchange.answer_nothing(204, preflight_headers(exchange.cors, found))
        elif guard.vary:
            exchange.cors = guard.vary
        if self.inflight > self._inflight_max:
            raise Overloaded("the gate carries as many requests as it may")
        return await self._route(exchange)

    def _route(self, exchange: Exchange) -> Awaitable[None]:
        segments = split(exchange.scope["raw_path"])
        depth = len(segments)
        if depth == 4 and segments[2] == b"call":
            offered = self._offers.type(segments[0])
            return self._operations.call(exchange, offered, offered.method(segments[3]), segments[1])
        if depth == 2:
            return self._operations.on_object(exchange, self._offers.type(segments[0]), segments[1])
        if depth == 1:
            return self._operations.on_type(exchange, self._offers.type(segments[0]))
        raise UnknownPath(f"nothing is served under {shown(exchange.scope['raw_path'])}")
