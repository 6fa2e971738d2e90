"""Keeps a process's etcd lease alive: grant, refresh, and replacement when it is lost. The rules are in ``Lease``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from goverse.cluster.lease import Lease, LeaseStep
from goverse.cluster.view import ClusterView
from goverse.errors import GoverseError
from goverse.ports.clock import boot_time
from goverse.ports.coordinator import Coordinator

logger = logging.getLogger("goverse.cluster")


class LeaseKeeper:
    """A process's lease, kept alive by a task.

    Attributes:
        lease: the lease's id and deadline.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        ttl_s: float,
        *,
        changed: Callable[[], None],
        now: Callable[[], float] = boot_time,
    ) -> None:
        """Start without a lease. ``changed`` is called when the lease is lost or replaced; ``now`` is its clock."""
        self.lease = Lease(ttl_s)
        self._coordinator = coordinator
        self._changed = changed
        self._now = now
        self._wake = asyncio.Event()
        self._histories = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task that requests a lease and refreshes it."""
        self._task = asyncio.create_task(self._run(), name="goverse-lease")

    def follow(self, view: ClusterView) -> None:
        """Drop the lease if ``view`` shows a new history: the lease belongs to the previous etcd."""
        if view.histories != self._histories:
            self._histories = view.histories
            if self.lease.id is not None:
                logger.warning("etcd was emptied or restored; requesting a new lease")
            self.lease.lost()
            self._wake.set()
            self._changed()

    async def stop(self, *, revoke: bool) -> None:
        """Stop refreshing. With ``revoke`` the lease ends now, locally first; otherwise it expires."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        lease_id = self.lease.id
        if not revoke or lease_id is None:
            return
        self.lease.lost()
        try:
            await self._coordinator.revoke(lease_id)
        except GoverseError as error:
            logger.warning("lease not revoked; it expires by itself", extra={"reason": error.detail})

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            step = self.lease.step(self._now())
            if step is LeaseStep.WAIT:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.01, self.lease.next_at() - self._now())):
                        await self._wake.wait()
                continue
            before = self.lease.id
            self.lease.asked(self._now())
            try:
                await self._ask(step)
            except GoverseError as error:
                self.lease.unanswered(self._now())
                logger.warning("lease not refreshed", extra={"reason": error.detail})
            except Exception:
                self.lease.unanswered(self._now())
                logger.exception("lease not refreshed")
            if self.lease.id != before:
                self._changed()

    async def _ask(self, step: LeaseStep) -> None:
        if step is LeaseStep.GRANT:
            granted = await self._coordinator.grant(self.lease.ttl_s)
            self.lease.granted(granted.lease_id, granted.ttl_s)
            return
        assert self.lease.id is not None
        ttl_s = await self._coordinator.refresh(self.lease.id)
        if ttl_s is None:
            logger.warning("lease expired; requesting a new one")
            self.lease.lost()
        else:
            self.lease.refreshed(ttl_s)
