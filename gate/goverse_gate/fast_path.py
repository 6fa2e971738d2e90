"""Calls without a task: the lane for a request to a method whose body is short.

ASGI costs a task, a dictionary of a dozen entries, an event and five messages per request, which is more than a whole
call. So a connection asks this lane first. It takes ``POST /objects/{type}/{id}/call/{method}`` where nothing but the
body is still to come and nothing else of the same connection waits; the call is sent in the parser's callback, and
answered as the link tells of its reply. Everything else goes through ASGI, and so does what was taken but does not keep
to the bounds (``HELD_BYTES_MAX``, one sweep of time): until its last byte is there, nothing has happened to a request.

What a call means is told in ``operations`` and ``objects``, for both ways alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Generator
from contextvars import Context
from dataclasses import replace
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from goverse.errors import Draining, GoverseError
from goverse.limits import KIB
from goverse.model.frames import Problem, Reply, Request
from goverse_gate.exchange import CLIENT_GONE, SUCCESS, Exchange
from goverse_gate.guard import Header, Headers
from goverse_gate.headers import other_match
from goverse_gate.objects import CLIENT_CLOSED_REQUEST, STOPPED, Objects
from goverse_gate.operations import timeout_of
from goverse_gate.timeouts import ANSWER_GRACE_S

HELD_BYTES_MAX: Final = 4 * KIB  # of a body that came in part; more is read with the care of ``bodies``

_USUAL: Final = (
    b'HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\netag: "%d"\r\ngoverse-commit-seq: %d\r\n'
    b"content-length: %d\r\ngoverse-request-id: %b\r\n\r\n%b"
)

logger = logging.getLogger("goverse.gate")


class _Written:
    """The awaitable of an answer that was written before the method returned."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_WRITTEN: Final = _Written()


class Connection(Protocol):
    """Where an answer goes."""

    @property
    def default_headers(self) -> list[Header]:
        """What the server adds to every answer; another list when it is something else."""
        ...

    def finish_fast_call(self, answer: bytes, *, close: bool) -> None:
        """Send the answer to the call that was taken last, and go on with the next request, or close."""
        ...


class FastPathCall(Exchange):
    """A call in the lane, which waits for its reply itself (``goverse.ports.link.Waiter``).

    Attributes:
        headers: as they came.
        segments: the path, split.
        body: what came of it so far.
    """

    __slots__ = ("_connection", "_fast_path", "_over", "_request", "body", "headers", "segments")

    def __init__(
        self, fast_path: FastPath, connection: Connection, path: bytes, segments: list[bytes], headers: Headers
    ) -> None:
        """Take a request whose headers are complete; ``segments`` is its path, split."""
        objects = fast_path.objects
        super().__init__("POST", path, objects.request_ids(), objects.metrics.unknown, objects.access_log)
        self._fast_path = fast_path
        self._connection = connection
        self._request: Request | None = None
        self._over = False
        self.segments = segments
        self.headers = headers
        self.body = b""

    # --- carrying it out --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Carry out the call, which is complete; it is answered now, or when its reply is there."""
        objects, operations = self._fast_path.objects, self._fast_path.operations
        objects.inflight += 1
        try:
            objects.admit(self, self.headers, "1.1")
            objects.check_load()
            _, _, type_segment, id_segment, _, method_segment = self.segments
            route = objects.routes.type(type_segment)
            try:
                method = route.method(method_segment)
            except GoverseError:
                self.series = route.unknown
                raise
            request = operations.request_of(self, route, method, segment=id_segment, body=self.body)
            self._request = request
            objects.timeouts.track(self, request.deadline + ANSWER_GRACE_S)
            operations.carry(request, self)
        except GoverseError as error:
            self._end()
            objects.refuse(self, error)
        except Exception:
            self._end()
            self._fail()

    def done(self) -> bool:
        """Tell whether the call was answered, or nobody waits for it any more."""
        return self._over

    def set_result(self, reply: Reply, /) -> None:
        """Answer the call."""
        if reply.problem is not None and self._tries_again(reply.problem):
            return
        self._end()
        try:
            self._fast_path.operations.answer_call(self, reply)
        except Exception:
            self._fail()

    def _tries_again(self, problem: Problem) -> bool:
        """Send the call again where its ``If-Match`` is a list that names the version that the object has."""
        request = self._request
        if request is None or self._over or not self.found:
            return False
        other = other_match(self.found, request.if_match, problem)
        if other is None:
            return False
        self._request = replace(request, if_match=other)
        # In a turn of the loop of its own: this one may belong to the object that refused.
        asyncio.get_running_loop().call_soon(self._carry_again, context=Context())
        return True

    def _carry_again(self) -> None:
        if self._request is not None and not self._over:
            self._fast_path.operations.carry(self._request, self)

    def _end(self) -> None:
        """Wait no longer."""
        if not self._over:
            self._over = True
            objects = self._fast_path.objects
            objects.inflight -= 1
            objects.timeouts.untrack(self)

    def _fail(self) -> None:
        if self.answered:
            logger.exception("a request failed after its answer", extra={"request_id": self.request_id})
        else:
            self._fast_path.objects.fail(self)

    # --- ending it early --------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The client went away."""
        del self._connection  # the node may keep the call until its turn would have come
        if self._request is not None and not self._over:
            self._end()
            self.finish(CLIENT_GONE, CLIENT_CLOSED_REQUEST)

    def expire(self) -> None:
        """The deadline passed."""
        if self._request is not None:
            self._give_up(timeout_of(self._request, self))

    def cut_off(self) -> None:
        """The gate stops and waits no longer."""
        self.close = True
        if self._request is not None:
            self._give_up(Draining(STOPPED))

    def _give_up(self, error: GoverseError) -> None:
        if not self._over:
            self.set_result(Reply(problem=Problem.of(error)))

    # --- answering --------------------------------------------------------------------------------------------------

    def answer_reply(self, status: int, reply: Reply, headers: Headers) -> Awaitable[None]:
        """Send the outcome of a call that succeeded; the usual one is written in one piece."""
        if self.cors or self.close or reply.replayed or not reply.version or not reply.commit_seq:
            return super().answer_reply(status, reply, headers)
        body = reply.body
        answer = _USUAL % (
            self._fast_path.common_headers(self._connection.default_headers),
            reply.version,
            reply.commit_seq,
            len(body),
            self.request_id.encode(),
            body,
        )
        return self._send(answer, 200, SUCCESS)

    def _write(self, status: int, body: bytes, headers: Headers, outcome: str) -> Awaitable[None]:
        self.add_own_headers(headers)
        lines = [STATUS_LINE[status], self._fast_path.common_headers(self._connection.default_headers)]
        lines += [b"%b: %b\r\n" % header for header in headers]
        lines += (b"\r\n", body)
        return self._send(b"".join(lines), status, outcome)

    def _send(self, answer: bytes, status: int, outcome: str) -> Awaitable[None]:
        self.answered = True
        self._connection.finish_fast_call(answer, close=self.close)
        self.finish(outcome, status)
        return _WRITTEN


class FastPath:
    """The lane of one gate.

    Attributes:
        objects, operations: what it shares with the way through ASGI.
        held_bytes_max: the longest body that it takes.
    """

    def __init__(self, objects: Objects, body_bytes_max: int) -> None:
        """Run beside the ASGI application of ``objects``, which refuses bodies of more than ``body_bytes_max``."""
        self.held_bytes_max = min(HELD_BYTES_MAX, body_bytes_max)
        self.objects = objects
        self.operations = objects.operations
        self._default_headers: list[Header] = []
        self._encoded_headers = b""

    def take(self, connection: Connection, target: bytes, headers: Headers) -> FastPathCall | None:
        """Take a POST to this target, if it is a call."""
        segments = target.split(b"/", 6)
        if len(segments) != 6 or segments[4] != b"call" or segments[1] != b"objects" or segments[0]:
            return None
        if b"?" in target or b"#" in target or not target.isascii():
            return None
        return FastPathCall(self, connection, target, segments, headers)

    def common_headers(self, headers: list[Header]) -> bytes:
        """Encode what every answer carries; the server makes a new list once a second, for the date."""
        if headers is not self._default_headers:
            self._default_headers = headers
            self._encoded_headers = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._encoded_headers
