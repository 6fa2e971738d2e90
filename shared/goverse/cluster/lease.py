"""A process's lease in etcd, as the process itself counts it.

Rules:

1. The deadline is counted from when the request for the lease, or the keepalive, was *sent*: etcd began to count later,
   so the deadline lies before the lease's end whatever the network did. The clock is monotonic and counts the time
   during which the machine is suspended (``goverse.ports.clock.boot_time``), since etcd counts it too.
2. A small part of the time is left out for clocks that do not run equally fast.
3. A lease that etcd does not know any more is gone for good; a new one is another lease. The answer to a request
   that was under way when the lease was lost is ignored.
"""

from __future__ import annotations

from enum import Enum, auto

from goverse.limits import LEASE_CLOCK_DRIFT, LEASE_REFRESHES, LEASE_RETRY_S


class LeaseStep(Enum):
    """What to do about the lease now."""

    GRANT = auto()
    REFRESH = auto()
    WAIT = auto()


class Lease:
    """The lease's id and deadline; ``id`` is None while there is none.

    One request at a time is under way: ``asked`` before it is sent, then one of ``granted``, ``refreshed``, ``lost`` or
    ``unanswered``.
    """

    def __init__(self, ttl_s: float) -> None:
        """Ask for leases of ``ttl_s`` seconds."""
        self.ttl_s = ttl_s
        self.id: int | None = None
        self.deadline = float("-inf")
        self._sent_at: float | None = None
        self._next_at = float("-inf")

    def step(self, now: float) -> LeaseStep:
        """Return what to ask etcd for now."""
        if self._sent_at is not None or now < self._next_at:
            return LeaseStep.WAIT
        return LeaseStep.GRANT if self.id is None else LeaseStep.REFRESH

    def asked(self, now: float) -> None:
        """Note that a request is about to be sent."""
        self._sent_at = now

    def granted(self, lease_id: int, ttl_s: float) -> None:
        """Note a new lease."""
        if self._sent_at is not None:
            self.id = lease_id
            self._extend(ttl_s, self._sent_at)

    def refreshed(self, ttl_s: float) -> None:
        """Note that etcd extended the lease by ``ttl_s``."""
        if self._sent_at is not None:
            self._extend(ttl_s, self._sent_at)

    def lost(self) -> None:
        """Note that etcd does not know the lease (any more): ask for a new one at once."""
        self.id = None
        self.deadline = float("-inf")
        self._sent_at = None
        self._next_at = float("-inf")

    def unanswered(self, now: float) -> None:
        """Note that the request failed or took too long; the lease may live or not."""
        self._sent_at = None
        self._next_at = now + LEASE_RETRY_S

    def alive(self, now: float) -> bool:
        """Return True until the moment from which etcd may tell other processes that this one is gone."""
        return now < self.deadline

    def next_at(self) -> float:
        """Return when ``step`` has something to do again, unless a request is under way."""
        return self._next_at

    def _extend(self, ttl_s: float, sent_at: float) -> None:
        self.deadline = max(self.deadline, sent_at + ttl_s * (1 - LEASE_CLOCK_DRIFT))
        self._next_at = sent_at + ttl_s / LEASE_REFRESHES
        self._sent_at = None
