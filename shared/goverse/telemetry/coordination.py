"""``MeteredCoordinator``: a coordinator that records metrics of its requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from goverse.ports.coordinator import Changed, Coordinator, Delete, Granted, Guard, Put, Reloaded, Snapshot
from goverse.telemetry.durations import Durations, Errors
from goverse.telemetry.series import counter


class MeteredCoordinator(Collector):
    """A ``goverse.ports.coordinator.Coordinator`` that measures another one."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self.durations = Durations("etcd_request", "requests to etcd")
        self._errors = Errors("etcd", "Requests to etcd that failed, by code.", self.durations)
        self._changes = self._reloads = self._refused = 0

    async def read(self, prefix: str) -> Snapshot:
        with self.durations.measure("read"):
            return await self._coordinator.read(prefix)

    async def write(self, guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> int | None:
        """Make the changes if every guard holds."""
        with self.durations.measure("write"):
            revision = await self._coordinator.write(guards, changes)
        self._refused += revision is None
        return revision

    async def grant(self, ttl_s: float) -> Granted:
        with self.durations.measure("grant"):
            return await self._coordinator.grant(ttl_s)

    async def refresh(self, lease_id: int) -> float | None:
        with self.durations.measure("refresh"):
            return await self._coordinator.refresh(lease_id)

    async def revoke(self, lease_id: int) -> None:
        with self.durations.measure("revoke"):
            await self._coordinator.revoke(lease_id)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Changed | Reloaded]:
        """Yield the changes behind ``after``."""
        async with aclosing(self._coordinator.watch(prefix, after)) as watch:
            async for news in watch:
                if isinstance(news, Reloaded):
                    self._reloads += 1
                else:
                    self._changes += len(news.changes)
                yield news

    async def close(self) -> None:
        await self._coordinator.close()

    def collect(self) -> Iterator[Metric]:
        yield from self.durations.collect()
        yield from self._errors.collect()
        yield counter(
            "etcd_writes_refused", "Writes refused because a concurrent write had changed the keys.", self._refused
        )
        yield counter("etcd_watch_changes", "Changes received by the watch.", self._changes)
        yield counter("etcd_watch_reloads", "Number of times the watch had to read all keys again.", self._reloads)
