"""A process's etcd lease, with the process's own estimate of its deadline.

Rules:

1. The deadline counts from when the grant or keepalive request was *sent*. etcd starts counting later, so the deadline
   is always before the lease really ends, whatever the network does. The clock is monotonic and includes time during
   which the machine is suspended (``goverse.ports.clock.boot_time``), because etcd counts that time too.
2. A small part of the TTL is subtracted to allow for clocks that run at different speeds. A request sent at 100.0 s for
   a TTL of 10 s gives the deadline 109.9 s, whenever the answer arrives.
3. A lease that etcd no longer knows is lost for good, and the process requests a new one. The answer to a request that
   was under way when the lease was lost is ignored.
"""

from __future__ import annotations

from enum import Enum, auto

from goverse.limits import LEASE_CLOCK_DRIFT, LEASE_REFRESHES, LEASE_RETRY_S


class LeaseStep(Enum):
    """The next request to etcd."""

    GRANT = auto()
    REFRESH = auto()
    WAIT = auto()


class Lease:
    """The lease's id and deadline; ``id`` is None without a lease.

    Only one request is under way at a time: call ``asked`` before sending it, then one of ``granted``, ``refreshed``,
    ``lost`` or ``unanswered``.
    """

    def __init__(self, ttl_s: float) -> None:
        """Request leases of ``ttl_s`` seconds."""
        self.ttl_s = ttl_s
        self.id: int | None = None
        self.deadline = float("-inf")
        self._sent_at: float | None = None
        self._next_at = float("-inf")

    def step(self, now: float) -> LeaseStep:
        """Return the request to send now, if any."""
        if self._sent_at is not None or now < self._next_at:
            return LeaseStep.WAIT
        return LeaseStep.GRANT if self.id is None else LeaseStep.REFRESH

    def asked(self, now: float) -> None:
        """Record that a request is about to be sent."""
        self._sent_at = now

    def granted(self, lease_id: int, ttl_s: float) -> None:
        """Record a new lease."""
        if self._sent_at is not None:
            self.id = lease_id
            self._extend(ttl_s, self._sent_at)

    def refreshed(self, ttl_s: float) -> None:
        """Record that etcd extended the lease by ``ttl_s``."""
        if self._sent_at is not None:
            self._extend(ttl_s, self._sent_at)

    def lost(self) -> None:
        """Record that etcd does not know the lease; the next step requests a new one immediately."""
        self.id = None
        self.deadline = float("-inf")
        self._sent_at = None
        self._next_at = float("-inf")

    def unanswered(self, now: float) -> None:
        """Record that the request failed or timed out; the lease may or may not be alive."""
        self._sent_at = None
        self._next_at = now + LEASE_RETRY_S

    def alive(self, now: float) -> bool:
        """True until the moment from which etcd may report this process as gone."""
        return now < self.deadline

    def next_at(self) -> float:
        """Return when ``step`` may return another request, assuming that none is under way."""
        return self._next_at

    def _extend(self, ttl_s: float, sent_at: float) -> None:
        self.deadline = max(self.deadline, sent_at + ttl_s * (1 - LEASE_CLOCK_DRIFT))
        self._next_at = sent_at + ttl_s / LEASE_REFRESHES
        self._sent_at = None
