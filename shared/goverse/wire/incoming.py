"""The answering side of one stream: requests being processed, replies to be written, and the reasons to refuse.

* Request ids must grow. An id that does not is a protocol violation and ends the stream.
* A request beyond a bound is refused immediately. Reading pauses only while the peer does not read its replies: pausing
  because of requests would also hold up the cancels behind them.
* The bounds that a gate enforces are checked again, because a client of a node's port may not be a gate.
* While draining, new work is refused, except requests that one of this node's own turns may be waiting for.

Like ``outgoing``, this module does no IO and uses no event loop.
"""

from __future__ import annotations

from goverse.errors import Draining, Executed, GoverseError, Overloaded, PeerError, TooLarge, known
from goverse.limits import STATE_BYTES_MAX
from goverse.model.frames import Problem, Reply, Request
from goverse.wire.options import WireOptions
from goverse.wire.outgoing import FRAME_OVERHEAD_BYTES
from goverse.wire.problems import problem_bytes


class Occupancy:
    """Requests being processed on all streams of one server.

    Attributes:
        requests: their number.
        draining: the reason why new work is refused, or None.
    """

    __slots__ = ("draining", "requests", "requests_max")

    def __init__(self, requests_max: int) -> None:
        self.requests = 0
        self.requests_max = requests_max
        self.draining: str | None = None


class Incoming:
    """The requests of one stream, and the replies to be written."""

    __slots__ = ("_held", "_held_bytes", "_last", "_occupancy", "_options", "_replies", "_replies_bytes")

    def __init__(self, options: WireOptions, occupancy: Occupancy) -> None:
        """Start empty; ``occupancy`` is shared with the server's other streams."""
        self._options = options
        self._occupancy = occupancy
        self._held: dict[int, int] = {}  # bytes of the body, by number
        self._held_bytes = 0
        self._last = 0
        self._replies: list[tuple[int, Reply]] = []
        self._replies_bytes = 0

    # --- requests -----------------------------------------------------------------------------------------------------

    def refusal(self, number: int, request: Request) -> GoverseError | None:
        """Return the reason to refuse a request, or None.

        Raises:
            PeerError: the request's id did not grow.
        """
        self.check_number(number)
        options, occupancy, size = self._options, self._occupancy, len(request.body)
        if len(self._held) >= options.inflight_max or occupancy.requests >= occupancy.requests_max:
            return _busy(f"{occupancy.requests} requests are already in progress")
        is_from_object = request.chain or request.delivery is not None
        body_bytes_max = STATE_BYTES_MAX if is_from_object else options.outside_body_bytes_max
        if size > body_bytes_max:
            return known(TooLarge(f"the body has {size} bytes; {body_bytes_max} are allowed"), Executed.NO)
        if self._held_bytes + size > options.requests_bytes_max:
            return _busy(f"requests with {self._held_bytes} bytes are already in progress")
        if occupancy.draining is not None and not request.chain:
            return known(Draining(occupancy.draining), Executed.NO)
        return None

    def check_number(self, number: int) -> None:
        """Check that ids grow.

        Raises:
            PeerError: this id does not.
        """
        if number <= self._last:
            raise PeerError(f"request {number} came after request {self._last}")
        self._last = number

    def hold(self, number: int, size: int) -> None:
        """Record a request that the node processes; ``size`` is the size of its body in bytes."""
        self._held[number] = size
        self._held_bytes += size
        self._occupancy.requests += 1

    def holds(self, number: int) -> bool:
        """True while the peer waits for the reply to the request."""
        return number in self._held

    def release(self, number: int) -> bool:
        """Forget a request that was answered or cancelled; False if it was already forgotten."""
        size = self._held.pop(number, None)
        if size is None:
            return False
        self._held_bytes -= size
        self._occupancy.requests -= 1
        return True

    def release_all(self) -> None:
        """Forget all requests and replies, because the stream has ended."""
        self._occupancy.requests -= len(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._replies.clear()
        self._replies_bytes = 0

    # --- replies ------------------------------------------------------------------------------------------------------

    def answer(self, number: int, reply: Reply) -> None:
        """Queue a reply."""
        size = len(reply.body)
        if size > self._options.body_bytes_max:
            largest = self._options.body_bytes_max
            error = TooLarge(f"a reply of {size} bytes exceeds the limit of {largest} bytes")
            problem = Problem.of(known(error, Executed.UNKNOWN))
            reply = Reply(version=reply.version, commit_seq=reply.commit_seq, problem=problem)
        self._replies.append((number, reply))
        self._replies_bytes += len(reply.body) + FRAME_OVERHEAD_BYTES if reply.problem is None else _weight(reply)

    def take_replies(self) -> list[tuple[int, Reply]]:
        """Return the replies for the next message."""
        replies, target = self._replies, self._options.message_bytes
        if self._replies_bytes <= target:
            self._replies, self._replies_bytes = [], 0
            return replies
        size = count = 0
        for _, reply in replies:
            size += _weight(reply)
            count += 1
            if size >= target:
                break
        self._replies, self._replies_bytes = replies[count:], self._replies_bytes - size
        return replies[:count]

    @property
    def owes(self) -> bool:
        """True while a reply is due or waits to be written."""
        return bool(self._held or self._replies)

    @property
    def has_replies(self) -> bool:
        """True while replies wait to be written."""
        return bool(self._replies)

    @property
    def is_full(self) -> bool:
        """True while so many replies wait that reading should pause."""
        return self._replies_bytes >= self._options.replies_bytes

    @property
    def overflows(self) -> bool:
        """True if so many replies wait that the stream must be closed."""
        return self._replies_bytes >= self._options.replies_bytes_max


def _weight(reply: Reply) -> int:
    size = len(reply.body) + FRAME_OVERHEAD_BYTES
    return size if reply.problem is None else size + problem_bytes(reply.problem)


def _busy(detail: str) -> Overloaded:
    return known(Overloaded(detail, retry_after_s=1), Executed.NO)
