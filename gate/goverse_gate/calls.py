"""Reliable calls over HTTP: ``/calls`` and ``/dead-letters``.

| request | for | answer |
| --- | --- | --- |
| ``GET /calls/{id}?wait=N`` | clients | the status, after N seconds or at the end of the call |
| ``GET /calls/{id}/result`` | clients | the stored response of the call itself |
| ``DELETE /calls/{id}`` | clients | 204; the call is cancelled, unless it has ended |
| ``GET /calls`` · ``GET /dead-letters`` | operators | a page of calls |
| ``POST /calls/{id}/retry`` · ``…/skip`` | operators | the status |
| ``POST /calls/pause`` · ``…/resume`` | operators | whether the calls of a pair of objects are paused |
| ``POST /calls/cleanup`` | operators | the number of ended calls that were removed |
| ``POST /dead-letters/{id}/redrive`` | operators | the id of the new call |
| ``POST /dead-letters/redrive`` | operators | one page of dead letters, sent again |

The id of a call whose sender chose it needs ``?sender=Type/id``. Routes of operators require the admin token, as
``/admin`` does. All of them exist under ``/v1`` as well.

The routes are plain ASGI, so that a wait costs little, and because ids may contain an encoded ``/``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from fastapi import Request as HttpRequest

from goverse.errors import MethodNotAllowed, UnknownPath
from goverse.model import call_verbs
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey
from goverse_gate.admin_access import check_administrator
from goverse_gate.bodies import Bodies
from goverse_gate.call_parameters import CallQuery, Fields, place, redrive_members
from goverse_gate.call_requests import Caller, CallRequests, key_of_call
from goverse_gate.exchange import JSON, NO_STORE, AsgiExchange, Receive, Scope, Send
from goverse_gate.metrics import GateMetrics
from goverse_gate.objects import Objects
from goverse_gate.options import GateOptions
from goverse_gate.redriving import redrive_page
from goverse_gate.respond_async import location
from goverse_gate.target import call_id_of, shown

Handler = Callable[[Caller, CallQuery], Awaitable[None]]
OneCall = Callable[[Caller, CallQuery, str], Awaitable[None]]

CALL_PATHS: Final = frozenset({b"/calls", b"/dead-letters", b"/v1/calls", b"/v1/dead-letters"})
CALL_PREFIXES: Final = tuple(path + b"/" for path in sorted(CALL_PATHS))

_FILTERS: Final = ("state", "type", "sender", "receiver", "older_than", "cursor", "limit")
_LETTER_FILTERS: Final = _FILTERS[1:]


class Calls:
    """The routes of reliable calls as an ASGI application."""

    def __init__(self, objects: Objects, options: GateOptions, bodies: Bodies, metrics: GateMetrics) -> None:
        """Share checks, errors and load with ``objects``."""
        self._objects = objects
        self._options = options
        self._bodies = bodies
        self._metrics = metrics
        self._requests: CallRequests = objects.call_requests
        self._of_calls: Mapping[tuple[bytes, str], Handler] = {
            (b"", "GET"): self._list,
            (b"pause", "POST"): self._pause,
            (b"resume", "POST"): self._resume,
            (b"cleanup", "POST"): self._clean_up,
        }
        self._of_letters: Mapping[tuple[bytes, str], Handler] = {
            (b"", "GET"): self._list_letters,
            (b"redrive", "POST"): self._redrive_many,
        }
        self._of_one_call: Mapping[tuple[bytes, str], OneCall] = {
            (b"", "GET"): self._status,
            (b"", "DELETE"): self._cancel,
            (b"result", "GET"): self._result,
            (b"retry", "POST"): self._retry,
            (b"skip", "POST"): self._skip,
        }
        self._of_one_letter: Mapping[tuple[bytes, str], OneCall] = {(b"redrive", "POST"): self._redrive}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        return self._objects.serve(scope, receive, send, self._route)

    async def _route(self, exchange: AsgiExchange) -> None:
        exchange.series = self._metrics.operations["calls"]
        segments = exchange.raw_path.split(b"/")[1:]
        if segments[0] == b"v1":
            del segments[0]
        root, *rest = segments
        many, one = (self._of_calls, self._of_one_call) if root == b"calls" else (self._of_letters, self._of_one_letter)
        if len(rest) > 2 or b"" in rest:
            raise UnknownPath(f"path not found: {shown(exchange.raw_path)}")
        verb = "GET" if exchange.method == "HEAD" else exchange.method
        methods: list[str] = []
        if len(rest) < 2:
            name = rest[0] if rest else b""
            if (name, verb) in many:
                return await many[name, verb](*self._caller(exchange))
            methods = [method for each, method in many if each == name]
        if rest and not methods:  # a fixed name is no id, so that each path has one meaning
            action = rest[1] if len(rest) == 2 else b""
            if (action, verb) in one:
                caller, query = self._caller(exchange)
                return await one[action, verb](caller, query, call_id_of(rest[0]))
            methods = [method for each, method in one if each == action]
        if not methods:
            raise UnknownPath(f"path not found: {shown(exchange.raw_path)}")
        return await _other_method(exchange, methods)

    def _caller(self, exchange: AsgiExchange) -> tuple[Caller, CallQuery]:
        headers = self._objects.operations.headers(exchange)
        query = CallQuery(exchange.scope["query_string"], headers.namespace)
        return Caller(exchange, headers), query

    # --- clients ------------------------------------------------------------------------------------------------------

    async def _status(self, caller: Caller, query: CallQuery, call_id: str) -> None:
        caller.exchange.series = self._metrics.operations["call_status"]
        query.take("wait", "sender")
        key = key_of_call(caller.headers.namespace, call_id, query.object("sender"))
        await self._answer(caller, await self._requests.show(caller, key, call_id, query.wait_s()))

    async def _result(self, caller: Caller, query: CallQuery, call_id: str) -> None:
        caller.exchange.series = self._metrics.operations["call_result"]
        query.take("sender")
        key = key_of_call(caller.headers.namespace, call_id, query.object("sender"))
        reply = await self._requests.ask(caller, call_verbs.RESULT, key, {"id": call_id})
        await self._objects.operations.answer_call(caller.exchange, reply)

    async def _cancel(self, caller: Caller, query: CallQuery, call_id: str) -> None:
        caller.exchange.series = self._metrics.operations["call_cancel"]
        query.take("sender")
        key = key_of_call(caller.headers.namespace, call_id, query.object("sender"))
        reply = await self._requests.ask(caller, call_verbs.CANCEL, key, {"id": call_id})
        if reply.problem is not None:
            return await caller.exchange.answer_problem(reply.problem, reply)
        return await caller.exchange.answer_nothing(204, [])

    # --- operators ----------------------------------------------------------------------------------------------------

    def _check_operator(self, caller: Caller) -> None:
        check_administrator(HttpRequest(caller.exchange.scope), self._options, "the operation of reliable calls")

    async def _list(self, caller: Caller, query: CallQuery) -> None:
        self._check_operator(caller)
        query.take(*_FILTERS)
        await self._ask_any(caller, call_verbs.LIST, query.filters())

    async def _list_letters(self, caller: Caller, query: CallQuery) -> None:
        self._check_operator(caller)
        query.take(*_LETTER_FILTERS)
        await self._ask_any(caller, call_verbs.LIST, {"state": "dead", **query.filters()})

    async def _retry(self, caller: Caller, query: CallQuery, call_id: str) -> None:
        await self._act(caller, query, call_id, call_verbs.RETRY)

    async def _skip(self, caller: Caller, query: CallQuery, call_id: str) -> None:
        await self._act(caller, query, call_id, call_verbs.SKIP)

    async def _act(self, caller: Caller, query: CallQuery, call_id: str, verb: str) -> None:
        self._check_operator(caller)
        query.take("sender")
        (await self._fields(caller)).finish()
        key = key_of_call(caller.headers.namespace, call_id, query.object("sender"))
        await self._answer(caller, await self._requests.ask(caller, verb, key, {"id": call_id}))

    async def _pause(self, caller: Caller, query: CallQuery) -> None:
        await self._pause_or_resume(caller, query, call_verbs.PAUSE)

    async def _resume(self, caller: Caller, query: CallQuery) -> None:
        await self._pause_or_resume(caller, query, call_verbs.RESUME)

    async def _pause_or_resume(self, caller: Caller, query: CallQuery, verb: str) -> None:
        self._check_operator(caller)
        query.take()
        fields = await self._fields(caller)
        sender, receiver = fields.object("sender"), fields.object("receiver")
        fields.finish()
        members = {"sender": place(sender), "receiver": place(receiver)}
        await self._answer(caller, await self._requests.ask(caller, verb, sender, members))

    async def _clean_up(self, caller: Caller, query: CallQuery) -> None:
        self._check_operator(caller)
        query.take()
        fields = await self._fields(caller)
        members = fields.filters("state", "type", "older_than", "limit") | fields.flag("dry_run")
        fields.finish()
        await self._ask_any(caller, call_verbs.FORGET, members)

    async def _redrive(self, caller: Caller, query: CallQuery, call_id: str) -> None:
        self._check_operator(caller)
        query.take("sender")
        fields = await self._fields(caller)
        members = {"id": call_id, **redrive_members(fields), **fields.arguments()}
        fields.finish()
        key = key_of_call(caller.headers.namespace, call_id, query.object("sender"))
        reply = await self._requests.ask(caller, call_verbs.REDRIVE, key, members)
        if reply.problem is not None:
            return await caller.exchange.answer_problem(reply.problem, reply)
        at = location(caller.exchange.raw_path, orjson.loads(reply.body)["id"])
        return await caller.exchange.answer(200, reply.body, [JSON, NO_STORE, (b"location", at)])

    async def _redrive_many(self, caller: Caller, query: CallQuery) -> None:
        self._check_operator(caller)
        query.take()
        fields = await self._fields(caller)
        filters = fields.filters("type", "sender", "receiver", "older_than", "cursor", "limit")
        delay, dry_run = redrive_members(fields), bool(fields.flag("dry_run"))
        fields.finish()
        page = await redrive_page(self._requests, caller, filters, delay, dry_run=dry_run)
        await self._answer(caller, Reply(page) if isinstance(page, bytes) else Reply(problem=page))

    # --- shared by the routes -----------------------------------------------------------------------------------------

    async def _fields(self, caller: Caller) -> Fields:
        return Fields(await self._bodies.read(caller.exchange), caller.headers.namespace)

    async def _ask_any(self, caller: Caller, verb: str, members: Mapping[str, Any]) -> None:
        """Ask about all calls of the namespace, which any key of it stands for."""
        key: ObjectKey = key_of_call(caller.headers.namespace, "", None)
        await self._answer(caller, await self._requests.ask(caller, verb, key, members))

    async def _answer(self, caller: Caller, reply: Reply) -> None:
        if reply.problem is not None:
            return await caller.exchange.answer_problem(reply.problem, reply)
        return await caller.exchange.answer(200, reply.body, [JSON, NO_STORE])


async def _other_method(exchange: AsgiExchange, methods: list[str]) -> None:
    """Answer OPTIONS with the allowed methods, and any other HTTP method with ``method_not_allowed``."""
    allow = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))
    headers = [(b"allow", allow.encode())]
    if exchange.method == "OPTIONS":
        return await exchange.answer_nothing(204, headers)
    error = MethodNotAllowed(f"{exchange.method} is not supported here; use one of {allow}")
    return await exchange.answer_problem(Problem.of(error), headers=headers)
