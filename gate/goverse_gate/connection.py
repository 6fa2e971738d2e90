"""uvicorn's connection with a lane for plain calls.

Each request is offered to the lane (``goverse_gate.fast_path``) as soon as its headers are complete and nothing else of
the connection is under way; what it does not take is started as uvicorn does. While a call of the lane is under way
``_fast_call`` holds it, and requests that follow on the same connection queue behind it as behind any other.
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

_UNFINISHED: Final[Any] = SimpleNamespace(response_complete=False)  # uvicorn queues requests that come after such a one
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_BODY_DIGITS_MAX: Final = 18


class FastPathProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        fast_path: takes plain calls.
        outstanding: requests whose headers came and whose answer is not complete.
        idle_since: when the last answer was complete, while no whole head of a request came since.
        context: of the connection; what follows an answer runs in it, and not in that of the turn that answered.
    """

    fast_path: FastPath

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any) -> None:
        """Begin with a connection that sent nothing yet."""
        super().__init__(config, server_state, app_state, **more)
        self.outstanding = 0
        self.idle_since: float | None = None
        self._fast_call: FastPathCall | None = None
        self._fast_call_begun = False  # all of it came
        self._in_head = True
        self._expects = False  # the request has an Expect header
        self._served: Any = None  # of the requests that go through ASGI; uvicorn knows only the newest
        self.context = copy_context()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell what is under way that its client went away, and drop every reference that leads back here."""
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
        """Begin with a request; what only ASGI needs of it is made when it goes there."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = self._expects = False
        self.idle_since = None
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are of no use to anybody here."""
        if not self._in_head:
            return
        name = name.lower()
        if name == b"expect":
            self._expects = True
            self.expect_100_continue = value.lower() == b"100-continue"
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, or let the lane have it."""
        self._in_head = False
        self.idle_since = None  # the request may have begun before the answer to the one before it
        if not self.outstanding and self._is_plain():
            self._fast_call = self.fast_path.take(self, self.url, self.headers)
        if self._fast_call is None:
            self._start_asgi()
        elif self.outstanding:
            self._queue()
        self.outstanding += 1

    def _is_plain(self) -> bool:
        """Whether a request asks nothing of its connection, so that the lane may have it."""
        parser: Any = self.parser  # uvicorn declares that it may be gone, but not while it calls back
        return (
            parser.get_method() == b"POST"
            and not self._expects
            and not self.flow.write_paused
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def _start_asgi(self) -> None:
        """Start a request as uvicorn does.

        Raises:
            MalformedRequest: its version is neither HTTP/1.1 nor HTTP/1.0, or its target has no meaning here.
        """
        url, headers = self.url, self.headers
        parser: Any = self.parser
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise MalformedRequest("the request line does not end with HTTP/1.1 or HTTP/1.0")
        expects_100 = self.expect_100_continue and version == "1.1"  # HTTP/1.0 knows no interim answers
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
        """Start a request behind a call of the lane."""
        before, self.cycle = self.cycle, _UNFINISHED
        try:
            self._start_asgi()
        finally:
            if self.cycle is _UNFINISHED:
                self.cycle = before  # what it asks for is no URL

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        call = self._fast_call
        if call is None or self._fast_call_begun:
            super().on_body(body)
            return
        call.body += body
        if len(call.body) > self.fast_path.held_bytes_max:
            self.leave_fast_path()

    def on_message_complete(self) -> None:
        """Carry a plain call out; tell other requests that their body is complete."""
        if self._fast_call is None or self._fast_call_begun:
            super().on_message_complete()
        else:
            self._fast_call_begun = True
            self._fast_call.begin()

    # --- the lane -----------------------------------------------------------------------------------------------

    @property
    def default_headers(self) -> list[Header]:
        """What uvicorn adds to every answer."""
        return self.server_state.default_headers

    @property
    def calls(self) -> bool:
        """Whether a call of the lane is carried out."""
        return self._fast_call_begun

    @property
    def awaits_body(self) -> bool:
        """Whether the newest request is a call of the lane that is not complete: nothing happened to it yet."""
        return self._fast_call is not None and not self._fast_call_begun

    def leave_fast_path(self) -> None:
        """Let a call that is not complete go the long way."""
        call, self._fast_call = self._fast_call, None
        if call is not None:
            self._start_asgi()
            if call.body:
                super().on_body(call.body)

    def leave_fast_path_if_long(self) -> None:
        """Let a call whose announced body is too long for the lane go the long way at once."""
        for name, value in self.headers:
            if name == b"content-length":
                digits = value.strip().lstrip(b"0")[:_BODY_DIGITS_MAX]
                if digits.isdigit() and int(digits) > self.fast_path.held_bytes_max:
                    self.leave_fast_path()
                return

    def drop_call(self) -> None:
        """Forget a call that is not complete."""
        self._fast_call = None
        self.outstanding -= 1

    def finish_fast_call(self, answer: bytes, *, close: bool) -> None:
        """Send the answer to the call, and go on with the next request, or close."""
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
        """A call was answered, and no other request of the connection is under way."""

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        self.outstanding -= 1
        super().on_response_complete()
        if not self.outstanding:
            self.idle_since = monotonic()  # uvicorn's own timer ends with the next byte, be it part of a request or not

    def shutdown(self) -> None:
        """Stop gracefully: end the connection now if it is idle, else with the answer that is under way."""
        if self.awaits_body:
            self.leave_fast_path()
        if self._fast_call is None:
            super().shutdown()
        else:
            self._fast_call.close = True

    def cut_off(self) -> None:
        """Answer a call that is still under way, since nobody waits for it any longer."""
        if self._fast_call is not None:
            self._fast_call.cut_off()


def _ignore() -> None:
    """Take note of an answer whose connection is gone."""


def _origin_form(url: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return path and headers of a request whose target is a whole URL: its authority stands for ``Host``.

    Raises:
        MalformedRequest: the scheme is not served here.
    """
    match = _ABSOLUTE.fullmatch(url)
    if match is None:
        if b"://" in url:
            raise MalformedRequest("the request names a URL that is neither http nor https")
        return url, headers
    authority, rest = match[1], match[2]
    path = rest if rest.startswith(b"/") else b"/" + rest
    return path, [(name, authority if name == b"host" else value) for name, value in headers]
