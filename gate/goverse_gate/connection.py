"""uvicorn's HTTP connection, extended with the fast path for calls.

When the headers of a request are complete and the connection has no other request in progress, the connection offers
the request to ``goverse_gate.fast_path``. If the fast path declines, the request starts through ASGI as in uvicorn.

``_fast_call`` is the fast-path call in progress. Requests that are pipelined behind it queue as they do behind an ASGI
request, so responses keep their order.
"""

from __future__ import annotations

import re
from contextvars import copy_context
from time import monotonic
from types import SimpleNamespace
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from goverse.errors import MalformedRequest
from goverse_gate.exchange import EXPECTS
from goverse_gate.fast_path import FastPath, FastPathCall
from goverse_gate.guard import Header, Headers

_UNFINISHED: Final[Any] = SimpleNamespace(response_complete=False)  # uvicorn queues requests behind such a cycle
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_BODY_DIGITS_MAX: Final = 18
_NOTED: Final = frozenset({b"connection", b"expect"})  # headers that can keep a request off the fast path
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class FastPathProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        fast_path: takes plain calls.
        outstanding: the number of requests whose headers have arrived and whose response is not complete.
        idle_since: when the last response was complete; None from the start of the next request.
        context: the connection's context variables. Work that follows a response runs in this context, not in the
            context of the turn that produced the response.
    """

    fast_path: FastPath

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any) -> None:
        """Start with a connection that has received nothing."""
        super().__init__(config, server_state, app_state, **more)
        self.outstanding = 0
        self.idle_since: float | None = None
        self._fast_call: FastPathCall | None = None
        self._fast_call_begun = False  # its body is complete
        self._in_head = True
        self._expects = False  # the request has an Expect header
        self._has_connection = False  # the request has a Connection header
        self._served: Any = None  # the ASGI request being answered; ``cycle`` is the newest request
        self.context = copy_context()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the requests in progress, and drop every reference that leads back to this connection."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn leaves its timer running after a reset
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()
        if self._fast_call is not None:
            self._fast_call.leave()
            self._fast_call = None
        self.pipeline.clear()
        for cycle in (self.cycle, self._served):
            if cycle is not None:
                cycle.on_response = _ignore

    # --- callbacks of the parser --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request. State that only ASGI needs is created if the request goes there."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = self._expects = self._has_connection = False
        self.idle_since = None
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; ignore trailers."""
        if not self._in_head:
            return
        name = name.lower()
        if name in _NOTED:
            if name == b"expect":
                self._expects = True
                self.expect_100_continue = value.lower() == b"100-continue"
            else:
                self._has_connection = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request on the fast path if possible, otherwise through ASGI."""
        self._in_head = False
        self.idle_since = None  # again: the previous response may have been completed after this request began
        if not self.outstanding and self._is_plain():
            self._fast_call = self.fast_path.take(self, self.url, self.headers)
        if self._fast_call is None:
            self._start_asgi()
        elif self.outstanding:
            self._queue()
        self.outstanding += 1

    def _is_plain(self) -> bool:
        """True if the request needs nothing from its connection that the fast path does not do.

        The parser formats the version each time it is asked, which takes longer than all the rest here. A version other
        than 1.1 keeps its connection alive only with a ``Connection`` header, so without that header 1.1 is certain.
        """
        parser: Any = self.parser  # declared as optional by uvicorn, but always set during a callback
        return (
            parser.get_method() == b"POST"
            and not self._expects
            and not self.flow.write_paused
            and parser.should_keep_alive()
            and (not self._has_connection or parser.get_http_version() == "1.1")
            and not parser.should_upgrade()
        )

    def _start_asgi(self) -> None:
        """Start a request through ASGI.

        Raises:
            MalformedRequest: the version is neither HTTP/1.1 nor HTTP/1.0, the target is not supported, or the request
                has both an Upgrade and a body. The parser would treat the body as bytes of the other protocol.
        """
        url, headers = self.url, self.headers
        parser: Any = self.parser
        if parser.should_upgrade() and any(name in _BODY_HEADERS and value != b"0" for name, value in headers):
            raise MalformedRequest("protocol upgrades are not supported; send a request with a body without Upgrade")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise MalformedRequest("the request line does not end with HTTP/1.1 or HTTP/1.0")
        expects_100 = self.expect_100_continue and version == "1.1"  # HTTP/1.0 has no interim responses
        if not url.startswith(b"/"):
            url, headers = _origin_form(url, headers)
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects_100
        self.scope["headers"] = headers
        if self._expects:
            self.scope[EXPECTS] = True  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _queue(self) -> None:
        """Queue an ASGI request behind the fast-path call."""
        before, self.cycle = self.cycle, _UNFINISHED
        try:
            self._start_asgi()
        finally:
            if self.cycle is _UNFINISHED:
                self.cycle = before  # the target was rejected

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body. A body that is too long for the fast path moves the request to ASGI."""
        call = self._fast_call
        if call is None or self._fast_call_begun:
            super().on_body(body)
            return
        call.body += body
        if len(call.body) > self.fast_path.held_bytes_max:
            self.leave_fast_path()

    def on_message_complete(self) -> None:
        """Run the fast-path call; mark the body of an ASGI request as complete."""
        if self._fast_call is None or self._fast_call_begun:
            super().on_message_complete()
        else:
            self._fast_call_begun = True
            self._fast_call.begin()

    # --- the fast path ------------------------------------------------------------------------------------------

    @property
    def default_headers(self) -> list[Header]:
        """The headers that uvicorn adds to every response."""
        return self.server_state.default_headers

    @property
    def runs_fast_call(self) -> bool:
        """True while a fast-path call runs."""
        return self._fast_call_begun

    @property
    def awaits_body(self) -> bool:
        """True while the newest request is on the fast path and its body is still arriving.

        Such a request has had no effect. It can still move to ASGI.
        """
        return self._fast_call is not None and not self._fast_call_begun

    def leave_fast_path(self) -> None:
        """Move a call whose body is incomplete to ASGI."""
        call, self._fast_call = self._fast_call, None
        if call is not None:
            self._start_asgi()
            if call.body:
                super().on_body(call.body)

    def hand_over(self) -> None:
        """Move a call whose body is complete to ASGI."""
        self._fast_call_begun = False
        self.leave_fast_path()
        super().on_message_complete()

    def leave_fast_path_if_long(self) -> None:
        """Move the call to ASGI if its Content-Length is too long for the fast path."""
        for name, value in self.headers:
            if name == b"content-length":
                digits = value.strip().lstrip(b"0")[:_BODY_DIGITS_MAX]
                if digits.isdigit() and int(digits) > self.fast_path.held_bytes_max:
                    self.leave_fast_path()
                return

    def drop_call(self) -> None:
        """Drop a call whose body is incomplete."""
        self._fast_call = None
        self.outstanding -= 1

    def finish_fast_call(self, answer: bytes, *, close: bool) -> None:
        """Send the response to the call, then close the connection or continue with its next request."""
        self._fast_call = None
        self._fast_call_begun = False
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if close:
            self.transport.close()
        elif self.pipeline:
            self.loop.call_soon(self.on_response_complete, context=self.context)
        else:
            self.outstanding -= 1
            self.server_state.total_requests += 1
            self.idle_since = monotonic()
            self.went_idle()

    def went_idle(self) -> None:
        """Hook for subclasses: a fast-path call was answered, and no other request is in progress."""

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        self.outstanding -= 1
        super().on_response_complete()
        if not self.outstanding:
            self.idle_since = monotonic()  # uvicorn's own timer stops at the next byte, even if no request follows

    def shutdown(self) -> None:
        """Stop gracefully: close an idle connection now, a busy one after its response."""
        if self.awaits_body:
            self.leave_fast_path()
        if self._fast_call is None:
            super().shutdown()
        else:
            self._fast_call.close = True

    def cut_off(self) -> None:
        """Answer a fast-path call in progress with ``draining``."""
        if self._fast_call is not None:
            self._fast_call.cut_off()


def _ignore() -> None:
    """Replace the callback of a request whose connection is closed."""


def _origin_form(url: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return path and headers of a request whose target is an absolute URL. Its authority replaces ``Host``.

    Raises:
        MalformedRequest: the scheme is neither http nor https.
    """
    match = _ABSOLUTE.fullmatch(url)
    if match is None:
        if b"://" in url:
            raise MalformedRequest("the request target is a URL that is neither http nor https")
        return url, headers
    authority, rest = match[1], match[2]
    path = rest if rest.startswith(b"/") else b"/" + rest
    return path, [(name, authority if name == b"host" else value) for name, value in headers]
