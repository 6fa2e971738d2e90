"""HTTP/1.1 as uvicorn speaks it over httptools, with bounds on what a connection may hold without getting on.

uvicorn bounds neither the headers of a request nor the time that they take, reads a refused body without end, parses
whatever is pipelined, and answers a broken request in plain text. This class closes those gaps:

* headers (and trailers) of a request are at most ``HEADERS_BYTES_MAX`` and arrive within ``head_read_timeout_s``;
* of a body that was refused at most ``DISCARDED_BYTES_MAX`` are read;
* pipelined requests are parsed one or a few at a time; the bytes of the others wait, and the socket is not read before
  they are parsed, whatever uvicorn asks for;
* while a client does not take an answer, nothing more of it is read or started;
* bytes that wait, and answers that are not taken, have bounds over all connections (``goverse_gate.memory_bounds``);
* one connection too many, and what is not HTTP, is answered with a problem document;
* a client that takes nothing of its answer for ``write_stall_timeout_s`` is cut off.

The times are kept by one sweep over all connections, not by a timer for each.
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

DISCARDED_BYTES_MAX: Final = 8 * MIB  # lets a client that sends too much by mistake read its answer
REFUSED_CONNECTIONS_MAX: Final = 64  # that may read their refusal at one time; further ones are cut off without
SLICE_BYTES: Final = 4 * KIB  # parsed at a time; holds the headers of few requests, so few are parsed too early

WRITE_BUFFER_BYTES: Final = 16 * KIB  # of answers that a client did not take, before its connection counts as blocked
TLS_READ_BUFFER_BYTES: Final = 64 * KIB  # encrypted bytes that a paused connection goes on reading

_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(slots=True, frozen=True)
class ConnectionLimits:
    """What connections may hold."""

    connections_max: int
    head_read_timeout_s: float
    write_stall_timeout_s: float
    keep_alive_timeout_s: float


class _HeldFlow(FlowControl):
    """uvicorn's flow control, which resumes reading only when no bytes of the connection wait to be parsed.

    uvicorn resumes after each answer and whenever an application waits for a body. Each of these would let another
    read buffer of pipelined requests in.
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
        """Begin with a connection that sent nothing yet."""
        super().__init__(config, server_state, app_state, **more)
        self._held = bytearray()  # arrived, not parsed yet
        self._counted = 0  # of them, in the budget that all connections share
        self._holds = False  # reading is paused because bytes wait
        self._answered_late = False  # an answer is complete, and the client has not taken it
        self._idle_bytes = 0  # parsed since the last request, end of headers, or piece of a body
        self._discarded_bytes = 0
        self._head_since: float | None = monotonic()  # None while no headers are awaited
        self._head_begun = False
        self._parsing = False
        self._refusal: GoverseError | None = None  # nothing more is parsed; what was asked before is still answered
        self._refused_since: float | None = None  # the refusal was sent; the client may take its time to read it
        self._stalled: tuple[float, int] | None = None  # since when, and how much was still to be taken

    # --- reading ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
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
            self._refuse(Overloaded("there are as many connections as there may be"))

    def _paced(self, transport: Any) -> PacedTransport:
        transport.set_read_buffer_limits(TLS_READ_BUFFER_BYTES)
        return PacedTransport(transport, self.loop, on_blocked=self.blocked, on_drained=self.drained)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything that the client sent and did not take."""
        self.unsent.note(self, 0)
        self._held.clear()
        self._count_held()
        super().connection_lost(exc)
        self._stalled = None
        if isinstance(self.transport, PacedTransport):
            self.transport.drop()

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, or keep it while earlier requests wait."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._refusal is not None:
            self._discard(len(data))
        elif self._held or self.pipeline or self.calls or len(data) > SLICE_BYTES or self.flow.write_paused:
            self._held += data
            self._parse_held()
        else:
            self._parse(data)

    def on_response_complete(self) -> None:
        """Go on with the next request, once the client has taken this answer."""
        if self.flow.write_paused:
            self._answered_late = True
        else:
            super().on_response_complete()
            self.went_idle()

    def went_idle(self) -> None:
        """Parse what was held back, or send the refusal that waited for the answers before it.

        What was held back is parsed in a turn of the loop of its own: this one may belong to an object that answers,
        which is not done yet, and a request that is carried out in it could answer a further connection, and so on.
        """
        if self._refusal is not None:
            if not self.outstanding and self._refused_since is None and not self.transport.is_closing():
                self._answer(self._refusal)
        elif self._held and not self._parsing:
            self._unset_keepalive_if_required()
            self.loop.call_soon(self._go_on, context=self.context)

    def _go_on(self) -> None:
        if self._held:
            self._parse_held()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARDED_BYTES_MAX:
            self.transport.close()

    def _parse_held(self) -> None:
        """Parse what is held until a request waits; the socket is read again when nothing is held any more."""
        answered = self.server_state.total_requests
        while self._held and not self._is_occupied():
            if self.server_state.total_requests != answered:
                self.loop.call_soon(self._go_on, context=self.context)  # other connections have their turn first
                break
            piece = bytes(self._held[:SLICE_BYTES])
            del self._held[:SLICE_BYTES]
            self._parse(piece)
        if self.transport.is_closing():
            self._held.clear()
        if self._held:
            self._holds = True
            self.flow.pause_reading()
        elif self._holds:
            self._holds = False
            self._read_on()
        self._count_held()

    def _is_occupied(self) -> bool:
        """Tell whether what follows has to wait: for a request, for the client, or for ever."""
        return bool(self.pipeline) or self.calls or self.flow.write_paused or self.transport.is_closing()

    def _read_on(self) -> None:
        cycle: Any = self.cycle  # declared as always there, but None before the first request
        if cycle is None or cycle.response_complete or len(cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _count_held(self) -> None:
        """Count what is held in the budget of all connections; refuse the connection where that is exceeded."""
        received = self.fast_path.objects.received
        received.used += len(self._held) - self._counted
        self._counted = len(self._held)
        if self._counted and received.exceeded:
            self._refuse(Overloaded("too many request bytes wait at the same time"))

    def _parse(self, data: bytes) -> None:
        parser: httptools.HttpRequestParser | None = self.parser
        if parser is None:
            return  # the connection is gone
        self._parsing = True
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # answered as plain HTTP; what follows may be another protocol
        except httptools.HttpParserError as error:
            self._refuse(_ours(error))
        else:
            if self._fast_call is not None and not self._fast_call_begun:  # no property: every call pays for this
                self.leave_fast_path_if_long()
            self._idle_bytes += len(data)
            if self._idle_bytes > HEADERS_BYTES_MAX:
                self._refuse(TooLarge(f"the headers are larger than {HEADERS_BYTES_MAX} bytes"))
        finally:
            self._parsing = False

    # --- callbacks of the parser --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin with a request."""
        super().on_message_begin()
        self._head_since = monotonic()
        self._head_begun = True
        self._idle_bytes = self._discarded_bytes = 0

    def on_headers_complete(self) -> None:
        """Start the request.

        Raises:
            MalformedRequest: it offers another protocol and has a body, which the parser would take for that protocol.
        """
        self._head_since = None
        self._head_begun = False
        self._idle_bytes = 0
        parser: Any = self.parser  # uvicorn declares that it may be gone, but not while it calls back
        if parser.should_upgrade() and any(name in _BODY_HEADERS and value != b"0" for name, value in self.headers):
            raise MalformedRequest("this server does not change protocols; send the body without Upgrade")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, or throw it away when the request was answered already."""
        self._idle_bytes = 0
        if not self.awaits_body and self.cycle.response_complete:
            self._discard(len(body))
        else:
            super().on_body(body)

    # --- writing ------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Note that the client does not take its answer."""
        if isinstance(self.transport, PacedTransport):
            self.transport.pause()
        self.blocked()

    def blocked(self) -> None:
        """Start nothing more until the client has taken what it was sent."""
        super().pause_writing()
        size = self.transport.get_write_buffer_size()
        self._stalled = (monotonic(), size)
        self.unsent.note(self, size)
        self.unsent.enforce()

    def resume_writing(self) -> None:
        """Note that it does, and go on with its next request."""
        if isinstance(self.transport, PacedTransport):
            self.transport.resume()
            if self.transport.blocked:
                return
        self.drained()

    def drained(self) -> None:
        """Go on: the client has taken nearly everything."""
        super().resume_writing()
        self._stalled = None
        self.unsent.note(self, 0)
        if self._answered_late:
            self._answered_late = False
            self.on_response_complete()
        elif self._held:
            self.loop.call_soon(self._go_on, context=self.context)

    def _refuse(self, error: GoverseError) -> None:
        """Parse nothing more, answer what was asked before, then send the refusal and end the connection."""
        self._refusal = error
        self._held.clear()
        self._count_held()
        self._unset_keepalive_if_required()
        if self.awaits_body:
            self.drop_call()
        elif self.outstanding > self.calls and self.cycle.more_body:
            self._give_up_newest()
        elif not self.outstanding and self._is_body_broken():
            self.transport.close()  # that request has its answer; this is still about its body
        if not self.outstanding and not self.transport.is_closing():
            self._answer(error)

    def _is_body_broken(self) -> bool:
        cycle: Any = self.cycle  # declared as always there, but None before the first request
        return cycle is not None and cycle.response_complete and cycle.more_body

    def _give_up_newest(self) -> None:
        """Withdraw the request whose body is broken; the refusal is its answer."""
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
        self.flow.resume_reading()  # closing now would throw away what the client sent, and with it the answer
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # --- time ---------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """End the connection if its client has kept it waiting for too long."""
        left = self.transport.get_write_buffer_size()
        if left or self._stalled is not None:
            self._watch_reader(now, left)
            return
        if self._refused_since is not None:
            if now - self._refused_since > self.limits.head_read_timeout_s:
                self.transport.close()
            return
        if self.awaits_body:
            self.leave_fast_path()  # to where its time is watched
        if self.idle_since is not None and now - self.idle_since > self.limits.keep_alive_timeout_s:
            self.transport.close()
        if self._head_since is None:
            return
        if self.outstanding:
            self._head_since = now  # the next request waits for us, not we for it
        elif now - self._head_since > self.limits.head_read_timeout_s:
            if self._head_begun:
                self._refuse(MalformedRequest("the headers of the request did not arrive in time"))
            else:
                self.transport.close()

    def _watch_reader(self, now: float, left: int) -> None:
        """Cut the connection off if its client has taken nothing for too long."""
        self.unsent.note(self, left)
        since, size = self._stalled or (now, left + 1)
        if left < size:
            self._stalled = (now, left) if left or self.flow.write_paused else None
        elif now - since > self.limits.write_stall_timeout_s:
            self.transport.abort()


def _ours(error: httptools.HttpParserError) -> GoverseError:
    """Return the error that a callback raised, or one for what the parser refuses; without frames that lead back."""
    ours = error.__context__
    if not isinstance(ours, GoverseError):
        return MalformedRequest("the request is not well-formed HTTP/1.1")
    ours.__context__ = ours.__traceback__ = None
    return ours


def bounded_protocol(limits: ConnectionLimits, fast_path: FastPath, unsent: Unsent) -> type[BoundedProtocol]:
    """Return the protocol with these limits, as a class since that is what uvicorn wants."""
    return type("GateProtocol", (BoundedProtocol,), {"limits": limits, "fast_path": fast_path, "unsent": unsent})
