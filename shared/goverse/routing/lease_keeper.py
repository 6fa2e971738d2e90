"""Keeps a lease in etcd: grants it, refreshes it, and takes a new one when it was lost; the rules are in ``Lease``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from goverse.cluster.lease import Lease, LeaseStep
from goverse.errors import GoverseError
from goverse.ports.coordinator import Coordinator

logger = logging.getLogger("goverse.cluster")


class LeaseKeeper:
    """One process's lease.

    Attributes:
        lease: its id and deadline.
    """

    def __init__(self, coordinator: Coordinator, ttl_s: float, *, changed: Callable[[], None]) -> None:
        """Hold no lease yet; ``changed`` is told when there is another one, or none."""
        self.lease = Lease(ttl_s)
        self._coordinator = coordinator
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask for a lease, and keep it."""
        self._task = asyncio.create_task(self._run(), name="goverse-lease")

    async def stop(self, *, revoke: bool) -> None:
        """Refresh it no more; end it now if ``revoke``, else it runs out."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if revoke and self.lease.id is not None:
            try:
                await self._coordinator.revoke(self.lease.id)
            except GoverseError as error:
                logger.warning("the lease could not be revoked; it runs out", extra={"reason": error.detail})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            step = self.lease.step(loop.time())
            if step is LeaseStep.WAIT:
                await asyncio.sleep(max(0.01, self.lease.next_at() - loop.time()))
                continue
            before = self.lease.id
            self.lease.asked(loop.time())
            try:
                await self._ask(step)
            except GoverseError as error:
                self.lease.unanswered(loop.time())
                logger.warning("the lease was not refreshed", extra={"reason": error.detail})
            except Exception:
                self.lease.unanswered(loop.time())
                logger.exception("the lease was not refreshed")
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
            logger.warning("the lease ran out; a new one is asked for")
            self.lease.lost()
        else:
            self.lease.refreshed(ttl_s)
