"""uvicorn's HTTP/1.1 connection with limits on size, memory and time.

uvicorn limits neither the size nor the arrival time of headers, reads a rejected body to its end, parses all pipelined
requests, and answers malformed requests in plain text. ``BoundedProtocol`` closes these gaps:

* Headers and trailers take at most ``HEADERS_BYTES_MAX`` bytes. Headers arrive within ``head_read_timeout_s``.
* At most ``DISCARDED_BYTES_MAX`` bytes of a rejected body are read.
* Pipelined requests are parsed a few at a time. The rest stays unparsed, and the socket is not read until it is parsed.
* While a client does not read its response, no more of its bytes are read and none of its requests start.
* Unparsed bytes and unread responses have limits over all connections (``goverse_gate.memory_bounds``).
* Excess connections and malformed requests are answered with a problem document.
* A client that reads nothing of its response for ``write_stall_timeout_s`` is disconnected.

One sweep over all connections enforces the times; no connection has a timer of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from goverse.errors import GoverseError, MalformedRequest, Overloaded, TooLarge
from goverse.limits import HEADERS_BYTES_MAX, KIB, MIB
from goverse.model.frames import Problem
from goverse_gate.connection import FastPathProtocol
from goverse_gate.fast_path import FastPath
from goverse_gate.memory_bounds import Unsent
from goverse_gate.paced import PacedTransport
from goverse_gate.problems import document, retry_after_s, status_of

DISCARDED_BYTES_MAX: Final = 8 * MIB  # so that a client that sent too much by mistake can read its error response
REFUSED_CONNECTIONS_MAX: Final = 64  # refused connections that get a response; further ones are just closed
SLICE_BYTES: Final = 4 * KIB  # parsed at a time; small, so that few pipelined requests are parsed ahead of time

WRITE_BUFFER_BYTES: Final = 16 * KIB  # of unread responses; beyond this the connection counts as blocked
TLS_READ_BUFFER_BYTES: Final = 64 * KIB  # encrypted bytes that a paused connection still reads


@dataclass(slots=True, frozen=True)
class ConnectionLimits:
    """The number of connections and their timeouts."""

    connections_max: int
    head_read_timeout_s: float
    write_stall_timeout_s: float
    keep_alive_timeout_s: float


class _HeldFlow(FlowControl):
    """uvicorn's flow control, which resumes reading only when the connection has no unparsed bytes.

    uvicorn resumes reading after each response and whenever the application waits for a body. Each time, another read
    buffer full of pipelined requests would come in.
    """

    def __init__(self, transport: asyncio.Transport, held: bytearray) -> None:
        super().__init__(transport)
        self._held = held

    def resume_reading(self) -> None:
        if not self._held:
            super().resume_reading()


class BoundedProtocol(FastPathProtocol):
    """One connection."""

    limits: ConnectionLimits
    unsent: Unsent

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any) -> None:
        """Start with a connection that has received nothing."""
        super().__init__(config, server_state, app_state, **more)
        self._held = bytearray()  # received, not yet parsed
        self._counted = 0  # the part of them that is counted in the shared budget
        self._paused_by_held = False  # reading is paused because of unparsed bytes
        self._unread_response = False  # a response is complete, but the client has not read it
        self._idle_bytes = 0  # parsed since the last start of a request, end of headers, or part of a body
        self._discarded_bytes = 0
        self._head_since: float | None = monotonic()  # the wait for headers began; None while none are awaited
        self._head_begun = False
        self._parsing = False
        self._refusal: GoverseError | None = None  # parsing has stopped; earlier requests are still answered
        self._refused_since: float | None = None  # when the refusal was sent; the client may still be reading it
        self._stalled: tuple[float, int] | None = None  # since when, and the number of unread bytes at that time

    # --- reading ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if there are too many."""
        if transport.get_extra_info("sslcontext") is not None:
            transport = self._paced(transport)
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        super().connection_made(transport)
        self.flow = _HeldFlow(transport, self._held)
        surplus = len(self.connections) - self.limits.connections_max
        if surplus > REFUSED_CONNECTIONS_MAX:
            self._refusal = Overloaded()
            self.transport.abort()
        elif surplus > 0:
            self._refuse(Overloaded(f"too many connections; the gate allows {self.limits.connections_max}"))

    def _paced(self, transport: Any) -> PacedTransport:
        transport.set_read_buffer_limits(TLS_READ_BUFFER_BYTES)
        return PacedTransport(transport, self.loop, on_blocked=self.blocked, on_drained=self.drained)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop all bytes that the client sent or did not read."""
        self.unsent.note(self, 0)
        self._held.clear()
        self._count_held()
        super().connection_lost(exc)
        self._stalled = None
        if isinstance(self.transport, PacedTransport):
            self.transport.drop()

    def cut(self) -> None:
        """Close the connection immediately."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse ``data``, or keep it while earlier requests wait."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._refusal is not None:
            self._discard(len(data))
        elif self._held or self.pipeline or self.runs_fast_call or len(data) > SLICE_BYTES or self.flow.write_paused:
            self._held += data
            self._parse_held()
        else:
            self._parse(data)

    def on_response_complete(self) -> None:
        """Continue with the next request once the client has read this response."""
        if self.flow.write_paused:
            self._unread_response = True
        else:
            super().on_response_complete()
            self.went_idle()

    def went_idle(self) -> None:
        """Parse the held bytes, or send the refusal that waited for earlier responses.

        Held bytes are parsed in the next iteration of the event loop. This code may run inside the turn of an object
        that is delivering its reply. A request that started here could finish immediately and answer another connection
        from the same call stack, and so on without a bound.
        """
        if self._refusal is not None:
            if not self.outstanding and self._refused_since is None and not self.transport.is_closing():
                self._answer(self._refusal)
        elif self._held and not self._parsing:
            self._unset_keepalive_if_required()
            self.loop.call_soon(self._parse_remaining, context=self.context)

    def _parse_remaining(self) -> None:
        if self._held:
            self._parse_held()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARDED_BYTES_MAX:
            self.transport.close()

    def _parse_held(self) -> None:
        """Parse held bytes until a request has to wait. Reading resumes when no bytes are held."""
        answered = self.server_state.total_requests
        while self._held and not self._is_occupied():
            if self.server_state.total_requests != answered:
                self.loop.call_soon(self._parse_remaining, context=self.context)  # let other connections run first
                break
            piece = bytes(self._held[:SLICE_BYTES])
            del self._held[:SLICE_BYTES]
            self._parse(piece)
        if self.transport.is_closing():
            self._held.clear()
        if self._held:
            self._paused_by_held = True
            self.flow.pause_reading()
        elif self._paused_by_held:
            self._paused_by_held = False
            self._resume_reading()
        self._count_held()

    def _is_occupied(self) -> bool:
        """True if further requests must wait: for a request, for the client, or because the connection is closing."""
        return bool(self.pipeline) or self.runs_fast_call or self.flow.write_paused or self.transport.is_closing()

    def _resume_reading(self) -> None:
        cycle: Any = self.cycle  # None before the first request, although uvicorn declares otherwise
        if cycle is None or cycle.response_complete or len(cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _count_held(self) -> None:
        """Count held bytes in the shared budget. Refuses the connection if the budget is exceeded."""
        received = self.fast_path.objects.received
        received.used += len(self._held) - self._counted
        self._counted = len(self._held)
        if self._counted and received.exceeded:
            self._refuse(Overloaded("too many request bytes are waiting in the gate"))

    def _parse(self, data: bytes) -> None:
        parser: httptools.HttpRequestParser | None = self.parser
        if parser is None:
            return  # the connection is closed
        self._parsing = True
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # answered as plain HTTP; the bytes behind it may be another protocol
        except httptools.HttpParserError as error:
            self._refuse(_error_of(error))
        else:
            if self._fast_call is not None and not self._fast_call_begun:  # ``awaits_body`` inlined, for speed
                self.leave_fast_path_if_long()
            self._idle_bytes += len(data)
            if self._idle_bytes > HEADERS_BYTES_MAX:
                self._refuse(TooLarge(f"the headers are larger than {HEADERS_BYTES_MAX} bytes"))
        finally:
            self._parsing = False

    # --- callbacks of the parser --------------------------------------------------------------------------------
    # They name the base class because ``super()`` makes an object, once per callback and request.

    def on_message_begin(self) -> None:
        """Start a request and its limits."""
        FastPathProtocol.on_message_begin(self)
        self._head_since = monotonic()
        self._head_begun = True
        self._idle_bytes = self._discarded_bytes = 0

    def on_headers_complete(self) -> None:
        """Start the request, and end the wait for its headers."""
        self._head_since = None
        self._head_begun = False
        self._idle_bytes = 0
        FastPathProtocol.on_headers_complete(self)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, or discard it if the request was answered already."""
        self._idle_bytes = 0
        awaits_body = self._fast_call is not None and not self._fast_call_begun  # the property inlined, for speed
        if not awaits_body and self.cycle.response_complete:
            self._discard(len(body))
        else:
            FastPathProtocol.on_body(self, body)

    # --- writing ------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Record that the client does not read its response."""
        if isinstance(self.transport, PacedTransport):
            self.transport.pause()
        self.blocked()

    def blocked(self) -> None:
        """Start no further request until the client has read its response."""
        super().pause_writing()
        size = self.transport.get_write_buffer_size()
        self._stalled = (monotonic(), size)
        self.unsent.note(self, size)
        self.unsent.enforce()

    def resume_writing(self) -> None:
        """Record that the client reads again, and continue with its next request."""
        if isinstance(self.transport, PacedTransport):
            self.transport.resume()
            if self.transport.blocked:
                return
        self.drained()

    def drained(self) -> None:
        """Continue: the client has read nearly everything."""
        super().resume_writing()
        self._stalled = None
        self.unsent.note(self, 0)
        if self._unread_response:
            self._unread_response = False
            self.on_response_complete()
        elif self._held:
            self.loop.call_soon(self._parse_remaining, context=self.context)

    def _refuse(self, error: GoverseError) -> None:
        """Stop parsing, answer the earlier requests, then send ``error`` and close the connection."""
        self._refusal = error
        self._held.clear()
        self._count_held()
        self._unset_keepalive_if_required()
        if self.awaits_body:
            self.drop_call()
        elif self.outstanding > self.runs_fast_call and self.cycle.more_body:
            self._cancel_newest()
        elif not self.outstanding and self._is_body_broken():
            self.transport.close()  # the error is in the body of a request that has been answered
        if not self.outstanding and not self.transport.is_closing():
            self._answer(error)

    def _is_body_broken(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, although uvicorn declares otherwise
        return cycle is not None and cycle.response_complete and cycle.more_body

    def _cancel_newest(self) -> None:
        """Cancel the request whose body is broken. The refusal is its response."""
        self.outstanding -= 1
        if self.pipeline:
            self.pipeline.popleft()
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _answer(self, error: GoverseError) -> None:
        problem = Problem.of(error)
        status = status_of(problem)
        request_id = self.fast_path.objects.request_ids()
        body = document(problem, status, request_id)
        wait_s = retry_after_s(problem, status)
        lines = [
            STATUS_LINE[status],
            b"content-type: application/problem+json\r\ncache-control: no-store\r\n",
            b"" if wait_s is None else b"retry-after: %d\r\n" % wait_s,
            b"content-length: %d\r\ngoverse-request-id: %b\r\n" % (len(body), request_id.encode()),
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self._refused_since = monotonic()
        self.flow.resume_reading()  # closing with unread input would reset the connection and lose the response
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # --- time ---------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Close the connection if one of its timeouts has passed."""
        left = self.transport.get_write_buffer_size()
        if left or self._stalled is not None:
            self._watch_reader(now, left)
            return
        if self._refused_since is not None:
            if now - self._refused_since > self.limits.head_read_timeout_s:
                self.transport.close()
            return
        if self.awaits_body:
            self.leave_fast_path()  # ASGI enforces the timeout of the body
        if self.idle_since is not None and now - self.idle_since > self.limits.keep_alive_timeout_s:
            self.transport.close()
        if self._head_since is None:
            return
        if self.outstanding:
            self._head_since = now  # the next request is waiting for this server, not the other way round
        elif now - self._head_since > self.limits.head_read_timeout_s:
            if self._head_begun:
                limit_s = self.limits.head_read_timeout_s
                self._refuse(MalformedRequest(f"the request headers did not arrive within {limit_s:g} s"))
            else:
                self.transport.close()

    def _watch_reader(self, now: float, left: int) -> None:
        """Close the connection if its client has read nothing for too long."""
        self.unsent.note(self, left)
        since, size = self._stalled or (now, left + 1)
        if left < size:
            self._stalled = (now, left) if left or self.flow.write_paused else None
        elif now - since > self.limits.write_stall_timeout_s:
            self.transport.abort()


def _error_of(error: httptools.HttpParserError) -> GoverseError:
    """Return the error that a callback raised, or ``MalformedRequest`` for an error of the parser itself.

    The traceback is removed, because its frames refer to the connection.
    """
    raised = error.__context__
    if not isinstance(raised, GoverseError):
        return MalformedRequest("the request is not well-formed HTTP/1.1")
    raised.__context__ = raised.__traceback__ = None
    return raised


def bounded_protocol(limits: ConnectionLimits, fast_path: FastPath, unsent: Unsent) -> type[BoundedProtocol]:
    """Return a protocol class with these limits; uvicorn takes a class."""
    return type("GateProtocol", (BoundedProtocol,), {"limits": limits, "fast_path": fast_path, "unsent": unsent})
