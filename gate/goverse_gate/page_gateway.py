"""ASGI middleware in front of FastAPI: guard, request ids, CORS headers and problem documents.

Every request outside ``/objects`` passes through here, under the same rules as the object API. One exception: health
checks accept any Host header, because probes address hosts by IP address.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from goverse.errors import (
    AccessDenied,
    GoverseError,
    InvalidArguments,
    MalformedRequest,
    MethodNotAllowed,
    RequestError,
    UnknownPath,
    UnsupportedTransferEncoding,
)
from goverse.model.frames import Problem
from goverse_gate.bodies import Bodies
from goverse_gate.exchange import (
    CLIENT_GONE,
    JSON,
    NO_STORE,
    PROBLEM_JSON,
    SUCCESS,
    AsgiExchange,
    Message,
    Receive,
    Scope,
    Send,
)
from goverse_gate.guard import Guard, Header, Headers, is_preflight
from goverse_gate.headers import check_encodings, collect, request_id_of
from goverse_gate.identity import RequestIds
from goverse_gate.metrics import GateMetrics, Series
from goverse_gate.objects import CLIENT_CLOSED_REQUEST, UNFORESEEN, Objects
from goverse_gate.options import AccessLog
from goverse_gate.problems import document, retry_after_s, status_of
from goverse_gate.static_content import ACCEPT_ENCODING, takes_gzip
from goverse_gate.target import shown
from goverse_gate.timeouts import ClientGone

PROBE_PATHS: Final = frozenset({"/healthz", "/livez", "/ready", "/readyz"})
REQUEST_ID: Final = "goverse.request_id"  # key in the ASGI scope
CODE: Final = "goverse.code"  # key in the ASGI scope: the code of the problem that was sent
UNKNOWN_PROBLEM: Final = "problem"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_OWN_POLICY: Final = b"content-security-policy"
_BODILESS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "TRACE"})

logger = logging.getLogger("goverse.gate")


class PageGateway:
    """The ASGI application that wraps FastAPI."""

    def __init__(
        self,
        app: FastAPI,
        objects: Objects,
        bodies: Bodies,
        *,
        guard: Guard,
        metrics: GateMetrics,
        request_ids: RequestIds,
        access_log: AccessLog,
    ) -> None:
        """Wrap ``app``."""
        self._app = app
        self._objects = objects
        self._bodies = bodies
        self._guard = guard
        self._metrics = metrics
        self._request_ids = request_ids
        self._access_log: AccessLog = access_log
        self._series = Series("", "page")  # for the access log; the instrumentator counts pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every error becomes a response."""
        exchange = AsgiExchange((scope, receive, send), self._request_ids(), self._series, self._access_log)
        exchange.close = self._objects.draining
        exchange.cors = self._guard.frame_headers
        try:
            self._admit(exchange)
            if is_preflight(scope["method"], exchange.found):
                return await exchange.answer_nothing(204, self._guard.preflight_headers(exchange.cors, exchange.found))
            body = b"" if scope["method"] in _BODILESS else await self._bodies.read(exchange)
            await self._pass_on(exchange, body)
        except GoverseError as error:
            if isinstance(error, AccessDenied):
                self._metrics.deny(error)
            elif isinstance(error, UnsupportedTransferEncoding):
                exchange.close = True  # a proxy may disagree about where the body ends
            await exchange.answer_problem(Problem.of(error))
        except ClientGone:
            exchange.finish(CLIENT_GONE, CLIENT_CLOSED_REQUEST)
        finally:
            self._bodies.release(exchange)

    def _admit(self, exchange: AsgiExchange) -> None:
        scope = exchange.scope
        host, exchange.content_length, exchange.found = collect(scope["headers"])
        exchange.request_id = request_id_of(exchange.found) or exchange.request_id
        if scope["path"] in PROBE_PATHS:
            self._guard.names_host(host, scope["http_version"])
        else:
            self._guard.check_host(host, scope["http_version"])
        exchange.cors = self._guard.check_page(scope["method"], host, exchange.found) + exchange.cors
        check_encodings(exchange.found)
        if _CONTROL.search(scope["path"]):  # for one, a route would match a path with a trailing newline
            raise UnknownPath(f"path not found: {shown(scope['raw_path'])}")

    async def _pass_on(self, exchange: AsgiExchange, body: bytes) -> None:
        status = 500
        replaced = b""  # the problem document that replaces a plain-text error
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return whole.pop() if whole else await exchange.receive()

        async def send(message: Message) -> None:
            nonlocal status, replaced
            if message["type"] == "http.response.start":
                exchange.answered = True
                status = message["status"]
                message["headers"] = headers = list(message.get("headers", ()))
                if status >= 400 and _is_plain_text(headers):
                    replaced = _problem_for(exchange, status, headers)
                _add_headers(exchange, headers)
            elif replaced:
                if message.get("more_body", False):
                    return
                message["body"] = b"" if exchange.scope["method"] == "HEAD" else replaced
            elif exchange.scope["method"] == "HEAD":
                message["body"] = b""
            await exchange.send(message)

        scope = _scope_for(exchange, has_body=bool(body))
        try:
            await FastAPI.__call__(self._app, scope, receive, send)
        except Exception:
            logger.exception("a page failed in the gate", extra={"request_id": exchange.request_id})
            if not exchange.answered:
                raise GoverseError(UNFORESEEN) from None
        exchange.finish(SUCCESS if status < 400 else scope.get(CODE, UNKNOWN_PROBLEM), status)


def _scope_for(exchange: AsgiExchange, *, has_body: bool) -> dict[str, Any]:
    """Return the ASGI scope for FastAPI."""
    # The compression middleware only searches for the word gzip and ignores ``q=0``.
    headers = [pair for pair in exchange.scope["headers"] if pair[0] != ACCEPT_ENCODING or takes_gzip(pair[1])]
    if has_body:  # every body is JSON; a bare ``curl -d`` sends another Content-Type
        headers = [*(pair for pair in headers if pair[0] != b"content-type"), JSON]
    method = exchange.scope["method"]
    return {
        **exchange.scope,
        REQUEST_ID: exchange.request_id,
        "headers": headers,
        "method": "GET" if method == "HEAD" else method,
    }


def _is_plain_text(headers: Iterable[Header]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in headers)


def _problem_for(exchange: AsgiExchange, status: int, headers: Headers) -> bytes:
    """Return the problem document for a library's plain-text error, and adapt ``headers`` to it."""
    body = document(Problem.of(RequestError()), status, exchange.request_id)
    gone = (b"content-type", b"content-length", b"content-encoding")
    headers[:] = [pair for pair in headers if pair[0] not in gone]
    headers += (PROBLEM_JSON, NO_STORE, (b"content-length", b"%d" % len(body)))
    return body


def _add_headers(exchange: AsgiExchange, headers: Headers) -> None:
    """Add the headers of every response. A page with a content security policy of its own keeps it."""
    if any(name == _OWN_POLICY for name, _ in headers):
        exchange.cors = tuple(pair for pair in exchange.cors if pair[0] != _OWN_POLICY)
    exchange.add_own_headers(headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every error of FastAPI and of its routes into a problem document."""

    async def on_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if isinstance(error.__cause__, GoverseError):
            return _respond(request, error.__cause__)
        if error.status_code == 404:
            return _respond(request, UnknownPath(f"path not found: {shown(request.scope['raw_path'])}"))
        if error.status_code == 405:
            return _other_method(request, error)
        if error.status_code in (401, 403):
            return _respond(request, AccessDenied())
        return _respond(request, RequestError(str(error.detail)))

    async def on_invalid(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        problems = [{"path": _pointer(item["loc"]), "message": str(item["msg"])} for item in error.errors()]
        if any(item["type"] == "json_invalid" for item in error.errors()):
            return _respond(request, MalformedRequest("the request body is not valid JSON"))
        return _respond(request, InvalidArguments("the request has invalid fields; see errors", errors=problems))

    async def on_known(request: Request, error: Exception) -> Response:
        return _respond(request, error if isinstance(error, GoverseError) else GoverseError(UNFORESEEN))

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(GoverseError, on_known)
    app.add_exception_handler(Exception, on_known)


def _other_method(request: Request, error: HTTPException) -> Response:
    """Answer OPTIONS with the allowed methods, and any other HTTP method with ``method_not_allowed``."""
    paths: Mapping[str, Any] = request.app.openapi()["paths"]
    known = {verb.upper() for verb in paths.get(request.url.path, ())}
    listed = known or {verb.strip() for verb in (error.headers or {}).get("Allow", "GET").split(",")}
    allow = ", ".join(sorted({*listed, "OPTIONS", *(("HEAD",) if "GET" in listed else ())}))
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"allow": allow})
    detail = f"{request.method} is not supported here; use one of {allow}"
    return _respond(request, MethodNotAllowed(detail), {"allow": allow})


def _respond(request: Request, error: GoverseError, headers: Mapping[str, str] | None = None) -> Response:
    problem = Problem.of(error)
    request.scope[CODE] = problem.code
    status = status_of(problem)
    wait_s = retry_after_s(problem, status)
    return Response(
        document(problem, status, request.scope[REQUEST_ID]),
        status,
        {
            "content-type": "application/problem+json",
            "cache-control": "no-store",
            **({} if wait_s is None else {"retry-after": str(wait_s)}),
            **(headers or {}),
        },
    )


def _pointer(location: Iterable[object]) -> str:
    """Return the JSON pointer of an invalid field. The first part, ``body`` or ``query``, is left out."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts[1:])
