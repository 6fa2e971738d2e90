"""Request bodies: read with a size limit, a timeout, and a memory budget shared by all requests.

A body is counted in the budget from its first part until its request is answered, because a request may wait a long
time for its object. Bodies of at most ``FREE_BYTES`` that arrive in one part are not counted; the limit on requests in
progress covers them.

After a body is rejected for its size the connection stays usable: the server discards the rest, up to a limit. A body
that misses its timeout closes the connection, because the start of the next request cannot be found.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from goverse.errors import MalformedRequest, Overloaded, TooLarge
from goverse.limits import KIB
from goverse_gate.exchange import AsgiExchange, Message
from goverse_gate.memory_bounds import Budget
from goverse_gate.options import GateOptions
from goverse_gate.timeouts import ClientGone, Expired, Timeouts

FREE_BYTES: Final = 4 * KIB

_DIGITS_MAX: Final = 18


class Bodies:
    """Reads the bodies of one gate."""

    def __init__(self, options: GateOptions, timeouts: Timeouts, received: Budget) -> None:
        """Take the limits from ``options``; ``received`` is the shared budget."""
        self._timeouts = timeouts
        self._bytes_max = options.body_bytes_max
        self._timeout_s = options.body_read_timeout_s
        self._received = received
        self._digits = len(str(self._bytes_max))  # a Content-Length with fewer digits is never too large

    async def read(self, exchange: AsgiExchange) -> bytes:
        """Return the whole body.

        Raises:
            TooLarge: the body is larger than allowed. With a Content-Length this is raised before the body is read.
            Overloaded: the shared budget is exceeded.
            MalformedRequest: the body did not arrive within the timeout.
            ClientGone: the client disconnected.
        """
        length = exchange.content_length
        if len(length) >= self._digits and self._is_too_large(length):
            raise self._too_large()
        deadline = exchange.started + self._timeout_s
        exchange.expects = False  # the next ``receive`` sends 100 Continue
        try:
            message = await self._timeouts.message(exchange.receive, deadline)
        except Expired:
            raise self._too_slow(exchange) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if len(body) > self._bytes_max:
            raise self._too_large()
        if not message.get("more_body", False):
            if len(body) > FREE_BYTES:
                self._take(exchange, len(body))
            return body
        return await self._read_rest(body, exchange, deadline)

    def release(self, exchange: AsgiExchange) -> None:
        """Return the body's share of the budget after its request is answered."""
        self._received.used -= exchange.body_bytes
        exchange.body_bytes = 0

    def _take(self, exchange: AsgiExchange, size: int) -> None:
        exchange.body_bytes += size
        self._received.used += size
        if self._received.exceeded:
            raise Overloaded("too many bytes of request bodies are in memory; retry later or send smaller bodies")

    async def _read_rest(self, first: bytes, exchange: AsgiExchange, deadline: float) -> bytes:
        body = bytearray()
        chunk, more = first, True
        while True:
            body += chunk
            self._take(exchange, len(chunk))
            if len(body) > self._bytes_max:
                raise self._too_large()
            if not more:
                return bytes(body)
            message = await self._next(exchange, deadline)
            chunk, more = message.get("body", b""), message.get("more_body", False)

    async def _next(self, exchange: AsgiExchange, deadline: float) -> Message:
        try:
            if deadline <= monotonic():
                raise Expired
            message = await self._timeouts.message(exchange.receive, deadline)
        except Expired:
            raise self._too_slow(exchange) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    def _is_too_large(self, content_length: bytes) -> bool:
        if not content_length.isdigit():
            raise MalformedRequest("Content-Length is not a number")
        digits = content_length.lstrip(b"0")
        return len(digits) > _DIGITS_MAX or int(digits or b"0") > self._bytes_max

    def _too_slow(self, exchange: AsgiExchange) -> MalformedRequest:
        exchange.close = True
        return MalformedRequest(f"the body did not arrive within {self._timeout_s:g} s")

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._bytes_max} bytes", bytes_max=self._bytes_max)
