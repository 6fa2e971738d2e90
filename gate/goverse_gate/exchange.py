"""One HTTP exchange of the object API: a request, its state in the gate, and its response.

``Exchange`` builds responses. Its subclasses send them: ``AsgiExchange`` as ASGI messages, and ``FastPathCall`` in
``goverse_gate.fast_path`` directly on the connection.

Functions that run once per call are plain functions that return an awaitable where possible: a coroutine that only
forwards an ``await`` costs as much as the work it wraps. Constant headers are encoded once.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import replace
from time import monotonic, time
from typing import Any, Final

from goverse.errors import Timeout
from goverse.model.frames import Problem, Reply
from goverse.telemetry.exposition import exemplar, sampled_trace_id
from goverse_gate.guard import Header, Headers
from goverse_gate.metrics import Series
from goverse_gate.options import AccessLog
from goverse_gate.problems import document, is_expected, retry_after_s, status_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON: Final[Header] = (b"content-type", b"application/json")
PROBLEM_JSON: Final[Header] = (b"content-type", b"application/problem+json")
REPLAYED: Final[Header] = (b"idempotency-replayed", b"true")
CLOSE: Final[Header] = (b"connection", b"close")
NO_STORE: Final[Header] = (b"cache-control", b"no-store")
NO_CACHE: Final[Header] = (
    b"cache-control",
    b"no-cache",
)  # cacheable, but to be revalidated with If-None-Match before each use
EXPECTS: Final = "goverse.expects"  # key in the ASGI scope of a request with an Expect header
CLIENT_GONE: Final = "client_gone"
SUCCESS: Final = "success"

_PATH_BYTES_MAX: Final = 256  # of a path in the log
_NOTHING: Final[Mapping[bytes, bytes]] = {}
_LENGTHS: Final = tuple((b"content-length", b"%d" % size) for size in range(1_024))

logger = logging.getLogger("goverse.gate.access")


class Exchange(ABC):
    """One request to the object API, and the means to answer it.

    Attributes:
        method, raw_path: the HTTP method, and the path as received.
        content_length: the value of Content-Length; empty if the request has none.
        found: the other headers that the gate evaluates.
        request_id: the client's request id, or one made by the gate.
        cors: headers for every response to this client.
        series: the metrics that count the request.
        logged: which requests are written to the access log.
        started: when the request arrived, on the monotonic clock.
        allowed_s: the time limit, counted from ``started``; 0 while it is not known.
        close: True to close the connection after the response.
        answered: True once a response has begun.
        object_type: the type in the path, if ``series`` does not have it.
    """

    object_type: str = ""

    __slots__ = (
        "allowed_s",
        "answered",
        "close",
        "content_length",
        "cors",
        "found",
        "logged",
        "method",
        "raw_path",
        "request_id",
        "series",
        "started",
    )

    def __init__(self, method: str, raw_path: bytes, request_id: str, series: Series, logged: AccessLog) -> None:
        """Start with a request whose headers have not been evaluated."""
        self.method = method
        self.raw_path = raw_path
        self.request_id = request_id
        self.series = series
        self.logged: AccessLog = logged
        self.content_length = b""
        self.found: Mapping[bytes, bytes] = _NOTHING
        self.cors: tuple[Header, ...] = ()
        self.started = monotonic()
        self.allowed_s = 0.0
        self.close = False
        self.answered = False

    def answer(self, status: int, body: bytes, headers: Headers) -> Awaitable[None]:
        """Send a success. Modifies ``headers``."""
        size = len(body)
        headers.append(_LENGTHS[size] if size < 1_024 else (b"content-length", b"%d" % size))
        return self._write(status, body, headers, SUCCESS)

    def answer_reply(self, status: int, reply: Reply, headers: Headers) -> Awaitable[None]:
        """Send the result of a successful operation. Modifies ``headers``."""
        _add_position(headers, reply)
        return self.answer(status, reply.body, headers)

    def answer_nothing(self, status: int, headers: Headers, reply: Reply | None = None) -> Awaitable[None]:
        """Send a success without content (204, 304). Modifies ``headers``."""
        if reply is not None:
            _add_position(headers, reply)
        return self._write(status, b"", headers, SUCCESS)

    def answer_problem(
        self, problem: Problem, reply: Reply | None = None, headers: Headers | None = None
    ) -> Awaitable[None]:
        """Send an error. ``reply`` is the link's reply that contained it, if any."""
        status = status_of(problem)
        if problem.code == Timeout.code and self.allowed_s:  # a node knows the deadline but not the time limit
            problem = replace(problem, extra={"seconds": round(self.allowed_s, 3), **problem.extra})
        body = document(problem, status, self.request_id)
        headers = headers or []
        headers += (PROBLEM_JSON, NO_STORE, (b"content-length", b"%d" % len(body)))
        wait_s = retry_after_s(problem, status)
        if wait_s is not None:
            headers.append((b"retry-after", b"%d" % wait_s))
        if reply is not None:
            _add_position(headers, reply)
        return self._write(status, body, headers, problem.code)

    def add_own_headers(self, headers: Headers) -> None:
        """Add the headers that every response to this request has."""
        headers.append((b"goverse-request-id", self.request_id.encode()))
        if self.cors:
            headers += self.cors
        if self.close:
            headers.append(CLOSE)

    @abstractmethod
    def _write(self, status: int, body: bytes, headers: Headers, outcome: str) -> Awaitable[None]:
        """Send a response, then call ``finish``."""

    def finish(self, outcome: str, status: int) -> None:
        """Count the request, and write it to the access log if ``logged`` includes it."""
        duration_s = monotonic() - self.started
        self.series.record(outcome, duration_s)
        if b"traceparent" in self.found:
            self._exemplify(outcome, duration_s)
        if self.logged == "off" or (self.logged == "errors" and (status < 400 or is_expected(outcome))):
            return
        level = logging.WARNING if status >= 500 else logging.INFO
        if logger.isEnabledFor(level):
            fields = {
                "request_id": self.request_id,
                "http_method": self.method,
                "path": _shortened(self.raw_path),
                "object_type": self.series.object_type or self.object_type,
                "method": self.series.method,
                "status": status,
                "code": outcome,
                "duration_ms": round(duration_s * 1000, 3),
            }
            logger.log(level, "%s %s → %s", fields["http_method"], fields["path"], status, extra=fields)

    def _exemplify(self, outcome: str, duration_s: float) -> None:
        trace_id = sampled_trace_id(self.found[b"traceparent"].decode("latin-1"))
        if trace_id is not None:
            self.series.exemplify(outcome, exemplar(trace_id, duration_s, time()))


class AsgiExchange(Exchange):
    """An exchange over ASGI. Each response is one ``http.response.start`` and one ``http.response.body``.

    Attributes:
        scope, receive, send: the ASGI arguments.
        expects: True while the client waits for ``100 Continue`` before it sends the body. After a final response such
            a client may or may not send the body, so a final response closes the connection.
        body_bytes: the part of the shared budget that the body uses.
    """

    __slots__ = ("body_bytes", "expects", "object_type", "receive", "scope", "send")

    def __init__(self, asgi: tuple[Scope, Receive, Send], request_id: str, series: Series, logged: AccessLog) -> None:
        """Start with a request whose headers have not been evaluated."""
        self.scope, self.receive, self.send = asgi
        self.expects = EXPECTS in self.scope
        self.body_bytes = 0
        self.object_type = ""
        super().__init__(self.scope["method"], self.scope["raw_path"], request_id, series, logged)

    def add_own_headers(self, headers: Headers) -> None:
        """Add the headers that every response to this request has."""
        if self.expects:
            self.close = True
        super().add_own_headers(headers)

    async def _write(self, status: int, body: bytes, headers: Headers, outcome: str) -> None:
        self.add_own_headers(headers)
        self.answered = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        if self.method == "HEAD":
            body = b""
        await self.send({"type": "http.response.body", "body": body})
        self.finish(outcome, status)


def _shortened(path: bytes) -> str:
    """Return a path, shortened for the log: clients can send paths as long as the limit on headers."""
    return (path if len(path) <= _PATH_BYTES_MAX else path[:_PATH_BYTES_MAX] + b"...").decode("latin-1")


def _add_position(headers: Headers, reply: Reply) -> None:
    """Add the version of the object and the commit that the response reflects."""
    if reply.version:
        headers.append((b"etag", b'"%d"' % reply.version))
    if reply.commit_seq:
        headers.append((b"goverse-commit-seq", b"%d" % reply.commit_seq))
    if reply.replayed:
        headers.append(REPLAYED)
