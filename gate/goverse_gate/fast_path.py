"""Fast path for calls: from the HTTP parser to the link without ASGI and without a task.

ASGI costs a task, a dictionary of a dozen entries, an event and five messages per request, which is more than the rest
of a call. A connection therefore offers each request to the fast path first. The fast path takes
``POST /objects/{type}/{id}/call/{method}`` if only the body is outstanding and no other request of the connection is in
progress. It sends the call from the parser's callback and writes the response when the link delivers the reply.

Every other request goes through ASGI. So does a request that the fast path took and that then exceeds a bound: its body
is longer than ``HELD_BYTES_MAX``, or is still incomplete at the next sweep; and a call that may be answered before it
runs (``goverse_gate.preferences``). Switching is safe because a request has no
effect before its last byte has arrived.

``operations`` and ``objects`` define the meaning of a call for both paths.
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
from goverse_gate.preferences import LATER
from goverse_gate.timeouts import ANSWER_GRACE_S

HELD_BYTES_MAX: Final = 4 * KIB  # the longest body on the fast path; ``bodies`` reads longer ones

_COMMON_RESPONSE: Final = (
    b'HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\netag: "%d"\r\ngoverse-commit-seq: %d\r\n'
    b"content-length: %d\r\ngoverse-request-id: %b\r\n\r\n%b"
)

logger = logging.getLogger("goverse.gate")


class _Written:
    """The awaitable result of a method that has already written its response."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_WRITTEN: Final = _Written()


class Connection(Protocol):
    """The client connection as a fast-path call needs it."""

    @property
    def default_headers(self) -> list[Header]:
        """The headers that the server adds to every response. A changed set is a new list."""
        ...

    def hand_over(self) -> None:
        """Run the current call, whose body is complete and which had no effect, through ASGI."""
        ...

    def finish_fast_call(self, answer: bytes, *, close: bool) -> None:
        """Send the response to the current call, then close the connection or continue with its next request."""
        ...


class FastPathCall(Exchange):
    """A call on the fast path. It is the link's waiter for its own reply (``goverse.ports.link.Waiter``).

    Attributes:
        headers: the request headers as received.
        segments: the path, split at ``/``.
        body: the part of the body that has arrived.
    """

    __slots__ = ("_connection", "_fast_path", "_over", "_request", "body", "headers", "segments")

    def __init__(
        self, fast_path: FastPath, connection: Connection, path: bytes, segments: list[bytes], headers: Headers
    ) -> None:
        """Take a request whose headers are complete."""
        objects = fast_path.objects
        Exchange.__init__(self, "POST", path, objects.request_ids(), objects.metrics.unknown, objects.access_log)
        self._fast_path = fast_path
        self._connection = connection
        self._request: Request | None = None
        self._over = False
        self.segments = segments
        self.headers = headers
        self.body = b""

    # --- running the call -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Run the call, whose body is complete. The response is written now or when the link delivers the reply."""
        objects, operations = self._fast_path.objects, self._fast_path.operations
        objects.inflight += 1
        try:
            objects.admit(self, self.headers, "1.1")
            if self.found and not LATER.isdisjoint(self.found):
                return self._hand_over()
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

    def _hand_over(self) -> None:
        """Leave the call to the ASGI path, which may answer it before it runs."""
        self._over = True
        self._fast_path.objects.inflight -= 1
        self._connection.hand_over()

    def done(self) -> bool:
        """True if the call was answered, or its client has disconnected."""
        return self._over

    def set_result(self, reply: Reply, /) -> None:
        """Write the response for ``reply``."""
        if reply.problem is not None and self._retry_with_current_version(reply.problem):
            return
        self._end()
        try:
            self._fast_path.operations.answer_call(self, reply)
        except Exception:
            self._fail()

    def _retry_with_current_version(self, problem: Problem) -> bool:
        """Retry with the object's current version if the list in ``If-Match`` contains it. True if retried."""
        request = self._request
        if request is None or self._over or not self.found:
            return False
        other = other_match(self.found, request.if_match, problem)
        if other is None:
            return False
        self._request = replace(request, if_match=other)
        # In the next iteration of the event loop: this code may run inside the turn of the object that refused.
        asyncio.get_running_loop().call_soon(self._carry_again, context=Context())
        return True

    def _carry_again(self) -> None:
        if self._request is not None and not self._over:
            self._fast_path.operations.carry(self._request, self)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            objects = self._fast_path.objects
            objects.inflight -= 1
            objects.timeouts.untrack(self)

    def _fail(self) -> None:
        if self.answered:
            logger.exception("a request failed after its response was sent", extra={"request_id": self.request_id})
        else:
            self._fast_path.objects.fail(self)

    # --- ending the call early --------------------------------------------------------------------------------------

    def leave(self) -> None:
        """End the call because the client disconnected."""
        del self._connection  # the node may keep a reference to this call until its place in the mailbox comes up
        if self._request is not None and not self._over:
            self._end()
            self.finish(CLIENT_GONE, CLIENT_CLOSED_REQUEST)

    def expire(self) -> None:
        """Answer with ``timeout``."""
        if self._request is not None:
            self._give_up(timeout_of(self._request, self))

    def cut_off(self) -> None:
        """Answer with ``draining`` because the gate is stopping."""
        self.close = True
        if self._request is not None:
            self._give_up(Draining(STOPPED))

    def _give_up(self, error: GoverseError) -> None:
        if not self._over:
            self.set_result(Reply(problem=Problem.of(error)))

    # --- writing the response ---------------------------------------------------------------------------------------

    def answer_reply(self, status: int, reply: Reply, headers: Headers) -> Awaitable[None]:
        """Send the result of a successful call. The common case is formatted with a single template."""
        if self.cors or self.close or reply.replayed or not reply.version or not reply.commit_seq:
            return super().answer_reply(status, reply, headers)
        body = reply.body
        answer = _COMMON_RESPONSE % (
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
    """The fast path of one gate.

    Attributes:
        objects, operations: shared with the ASGI path.
        held_bytes_max: the longest body that it accepts.
    """

    def __init__(self, objects: Objects, body_bytes_max: int) -> None:
        """Run beside the ASGI application ``objects``, which rejects bodies of more than ``body_bytes_max`` bytes."""
        self.held_bytes_max = min(HELD_BYTES_MAX, body_bytes_max)
        self.objects = objects
        self.operations = objects.operations
        self._default_headers: list[Header] = []
        self._encoded_headers = b""

    def take(self, connection: Connection, target: bytes, headers: Headers) -> FastPathCall | None:
        """Return a call for this POST, or None if its target is not a plain call."""
        segments = target.split(b"/", 6)
        if len(segments) != 6 or segments[4] != b"call" or segments[1] != b"objects" or segments[0]:
            return None
        if b"?" in target or b"#" in target or not target.isascii():
            return None
        return FastPathCall(self, connection, target, segments, headers)

    def common_headers(self, headers: list[Header]) -> bytes:
        """Return the server's default headers, encoded. The server makes a new list each second, for ``Date``."""
        if headers is not self._default_headers:
            self._default_headers = headers
            self._encoded_headers = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._encoded_headers
