"""Requests that one side of a stream sent, or is about to send, and nobody answered yet.

Ids grow and requests leave in their order, so one number divides what was sent from what provably was not: the highest
id that was handed to the stream. It survives the stream; ids are never used again on the next one.

Who waits for a reply comes in as a ``Waiter`` and goes out again to be told; nothing here touches a loop or a
socket.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from goverse.errors import Draining, Executed, GoverseError, Overloaded, TooLarge, known
from goverse.model.frames import Problem, Reply, Request
from goverse.ports.link import Waiter

_SHARE: Final = 4  # one link alone gets 4/5 of the budget, two together 8/9

FRAME_OVERHEAD_BYTES: Final = 256
"""What a frame weighs beside its body: names, ids, the objects that hold them."""


class Entry(NamedTuple):
    """One request without an answer."""

    request: Request
    waiter: Waiter

    def refuse(self, error: GoverseError) -> None:
        """Answer with an error, if anybody waits."""
        if not self.waiter.done():
            self.waiter.set_result(Reply(problem=Problem.of(error, self.request.request_id)))


class Overdue(NamedTuple):
    """What a look at the clock found.

    Attributes:
        expired: requests whose deadline passed, and whether they were executed.
        cancels: ids of sent requests whose answer nobody waits for any more.
    """

    expired: list[tuple[Entry, Executed]]
    cancels: list[int]


class Budget:
    """Requests under way on all links of one process, shared fairly.

    A link gets a place while it has no more than ``_SHARE`` times the places that are left: a node that does not answer
    never takes the places of those that do.

    Attributes:
        requests: how many are under way.
    """

    __slots__ = ("_requests_max", "requests")

    def __init__(self, requests_max: int) -> None:
        """Let ``requests_max`` be under way together."""
        self.requests = 0
        self._requests_max = requests_max

    def refuses(self, own: int) -> bool:
        """Tell whether a link with so many requests under way gets no further one."""
        return own >= _SHARE * (self._requests_max - self.requests)


class Outgoing:
    """The requests of one link.

    Attributes:
        draining: why the peer takes no new work, or None.
        inflight_max: how many may be without an answer at one time.
    """

    __slots__ = ("_body_bytes_max", "_budget", "_bytes_max", "_entries", "_last", "_sent", "_unsent", "_unsent_bytes",
                 "draining", "inflight_max")  # fmt: skip

    def __init__(self, *, inflight_max: int, bytes_max: int, body_bytes_max: int, budget: Budget | None = None) -> None:
        """Bound the requests, the bytes of those that were not sent yet, and a single body; share ``budget``."""
        self._budget = budget or Budget(inflight_max * 2)
        self.inflight_max = inflight_max
        self.draining: str | None = None
        self._bytes_max = bytes_max
        self._body_bytes_max = body_bytes_max
        self._entries: dict[int, Entry] = {}
        self._unsent: deque[int] = deque()
        self._unsent_bytes = 0
        self._last = 0
        self._sent = 0

    def __len__(self) -> int:
        """Count the requests without an answer."""
        return len(self._entries)

    @property
    def unsent(self) -> int:
        """How many entries the next ``take`` would look at."""
        return len(self._unsent)

    def add(self, request: Request, waiter: Waiter) -> GoverseError | None:
        """Queue a request, or say why not; what is refused is not executed.

        A draining peer still takes requests that one of its own turns may be waiting for.
        """
        size = len(request.body)
        budget = self._budget
        if len(self._entries) >= self.inflight_max or budget.refuses(len(self._entries)):
            detail = f"{len(self._entries)} requests are under way to this node already"
            return known(Overloaded(detail, retry_after_s=1), Executed.NO)
        if self._unsent_bytes + size > self._bytes_max:
            return known(Overloaded("the node takes requests too slowly", retry_after_s=1), Executed.NO)
        if size > self._body_bytes_max:
            detail = f"a body of {size} bytes does not fit into a message; {self._body_bytes_max} bytes do"
            return known(TooLarge(detail), Executed.NO)
        if self.draining is not None and not request.chain:
            return known(Draining(self.draining), Executed.NO)
        self._last += 1
        budget.requests += 1
        self._entries[self._last] = Entry(request, waiter)
        self._unsent.append(self._last)
        self._unsent_bytes += size
        return None

    def take(self, bytes_target: int) -> list[tuple[int, Request]]:
        """Return what is to be sent now, in order, until ``bytes_target`` is reached; from now on it counts as sent."""
        frames: list[tuple[int, Request]] = []
        size, unsent, entries = 0, self._unsent, self._entries
        while unsent and size < bytes_target:
            number = unsent.popleft()
            entry = entries.get(number)
            if entry is None:
                continue
            request, waiter = entry
            body_bytes = len(request.body)
            self._unsent_bytes -= body_bytes
            if waiter.done():
                del entries[number]
                self._budget.requests -= 1
                continue
            frames.append((number, request))
            self._sent = number
            size += body_bytes + FRAME_OVERHEAD_BYTES
        return frames

    def answered(self, number: int) -> Entry | None:
        """Return the request that ``number`` answers, once; None where nobody waits for it any more."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            self._budget.requests -= 1
        return entry

    def drain(self, reason: str) -> None:
        """The peer takes no new work: refuse it from now on, and what was not sent yet as well."""
        self.draining = reason
        kept: deque[int] = deque()
        for number in self._unsent:
            entry = self._entries.get(number)
            if entry is None:
                continue
            if entry.request.chain:
                kept.append(number)
                continue
            del self._entries[number]
            self._budget.requests -= 1
            self._unsent_bytes -= len(entry.request.body)
            entry.refuse(known(Draining(reason), Executed.NO))
        self._unsent = kept

    def overdue(self, now: float) -> Overdue:
        """Take out the requests whose deadline passed, and those that were given up."""
        found = Overdue([], [])
        for number, entry in self._entries.items():
            if entry.waiter.done():
                found.cancels.append(number)
            elif entry.request.deadline <= now:
                found.expired.append((entry, Executed.UNKNOWN if number <= self._sent else Executed.NO))
                found.cancels.append(number)
        for number in found.cancels:
            entry = self._entries.pop(number)
            self._budget.requests -= 1
            if number > self._sent:
                self._unsent_bytes -= len(entry.request.body)
        found.cancels[:] = [number for number in found.cancels if number <= self._sent]
        return found

    def lose(self) -> list[tuple[Entry, Executed]]:
        """Take everything out because the stream is gone, with what is known about each; forget that it drained."""
        sent = self._sent
        lost = [
            (entry, Executed.UNKNOWN if number <= sent else Executed.NO)
            for number, entry in self._entries.items()
            if not entry.waiter.done()
        ]
        self._budget.requests -= len(self._entries)
        self._entries.clear()
        self._unsent.clear()
        self._unsent_bytes = 0
        self.draining = None
        return lost
