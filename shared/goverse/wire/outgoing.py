"""Unanswered requests of one side of a stream, both sent and not yet sent.

Ids grow and requests are sent in id order. The highest id that was handed to the stream therefore separates the
requests that were sent from those that provably were not. The ids continue on the next stream and are never reused.

Receivers of replies are passed in as ``Waiter`` and returned to the caller, which delivers the replies. This module
does no IO and uses no event loop.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from goverse.errors import Draining, Executed, GoverseError, Overloaded, TooLarge, known
from goverse.model.frames import Problem, Reply, Request
from goverse.ports.link import Waiter

_SHARE: Final = 4  # one link alone may use 4/5 of the budget, two together 8/9

FRAME_OVERHEAD_BYTES: Final = 256
"""Estimated size of a frame besides its body: names, ids, and the Python objects."""


class Entry(NamedTuple):
    """One unanswered request."""

    request: Request
    waiter: Waiter

    def refuse(self, error: GoverseError) -> None:
        """Answer with an error, unless the caller gave up."""
        if not self.waiter.done():
            self.waiter.set_result(Reply(problem=Problem.of(error, self.request.request_id)))


class Overdue(NamedTuple):
    """The result of checking deadlines.

    Attributes:
        expired: requests whose deadline passed, each with whether it may have been executed.
        cancels: ids of sent requests whose reply is no longer wanted.
    """

    expired: list[tuple[Entry, Executed]]
    cancels: list[int]


class Budget:
    """A fair limit of requests in progress on all links of one process.

    A link may add a request while it has fewer than ``_SHARE`` times as many as there is room left. A node that does
    not answer can therefore never use up the room of all others. For example, with a limit of 100, a link with 80
    requests may not add another one (20 are left, and 80 is 4 times 20), while other links still may.

    Attributes:
        requests: the number of requests in progress.
    """

    __slots__ = ("_requests_max", "requests")

    def __init__(self, requests_max: int) -> None:
        """Allow ``requests_max`` requests in total."""
        self.requests = 0
        self._requests_max = requests_max

    def refuses(self, own: int) -> bool:
        """True if a link that has ``own`` requests in progress may not add another one."""
        return own >= _SHARE * (self._requests_max - self.requests)


class Outgoing:
    """The requests of one link.

    Attributes:
        draining: the reason why the peer accepts no new work, or None.
        inflight_max: limit of unanswered requests.
    """

    __slots__ = ("_body_bytes_max", "_budget", "_bytes_max", "_entries", "_last", "_sent", "_unsent", "_unsent_bytes",
                 "draining", "inflight_max")  # fmt: skip

    def __init__(self, *, inflight_max: int, bytes_max: int, body_bytes_max: int, budget: Budget | None = None) -> None:
        """Limit the number of requests, the bytes of unsent requests, and a single body; ``budget`` is shared."""
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
        """Return the number of unanswered requests."""
        return len(self._entries)

    @property
    def unsent(self) -> int:
        """The number of entries that the next ``take`` considers."""
        return len(self._unsent)

    def add(self, request: Request, waiter: Waiter) -> GoverseError | None:
        """Queue a request. Returns an error if it is refused; a refused request is not executed.

        A draining peer still accepts requests that one of its own turns may be waiting for.
        """
        size = len(request.body)
        budget = self._budget
        if len(self._entries) >= self.inflight_max or budget.refuses(len(self._entries)):
            detail = f"{len(self._entries)} requests to this node are already in progress"
            return known(Overloaded(detail, retry_after_s=1), Executed.NO)
        if self._unsent_bytes + size > self._bytes_max:
            return known(Overloaded("the node reads requests too slowly", retry_after_s=1), Executed.NO)
        if size > self._body_bytes_max:
            detail = f"a body of {size} bytes exceeds the limit of {self._body_bytes_max} bytes"
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
        """Return the next requests in order, up to ``bytes_target`` bytes. They count as sent from now on."""
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
        """Remove and return the request with this id; None if it was already answered or dropped."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            self._budget.requests -= 1
        return entry

    def drain(self, reason: str) -> None:
        """Refuse new work from now on, and the requests that were not sent yet."""
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
        """Remove and return the requests whose deadline passed, and those whose caller gave up."""
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
        """Remove all requests and stop draining, because the stream ended. Says which may have been executed."""
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
