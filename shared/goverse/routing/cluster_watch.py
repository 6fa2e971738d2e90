"""Following a cluster: reads everything once, then keeps a ``ClusterView`` up to date and tells who follows it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from goverse.cluster.keys import KeyLayout
from goverse.cluster.view import ClusterView, Entry
from goverse.errors import ConfigError, Unavailable
from goverse.ports.coordinator import Changed, Coordinator, Deleted, Guard, KeyEntry, Put, Reloaded, Snapshot

RETRY_S: Final = 0.5

Follower = Callable[[ClusterView], None]

logger = logging.getLogger("goverse.cluster")


class ClusterWatch:
    """One process's view of its cluster.

    Attributes:
        view: what etcd said last. Stays as it is while etcd is away: whoever was there is asked on.
    """

    def __init__(self, coordinator: Coordinator, layout: KeyLayout) -> None:
        """See nothing yet."""
        self.view = ClusterView(layout)
        self._coordinator = coordinator
        self._layout = layout
        self._followers: list[Follower] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, follower: Follower) -> None:
        """Tell ``follower`` after every change; those that were added first are told first."""
        self._followers.append(follower)

    async def start(self, shard_count: int) -> None:
        """Agree on the shard count, read what is there, and follow it from now on.

        Raises:
            ConfigError: the cluster has another shard count.
            Unavailable: etcd does not answer.
        """
        value = b"%d" % shard_count
        await self._coordinator.write(
            [Guard(self._layout.shards, create_revision=0)], [Put(self._layout.shards, value)]
        )
        snapshot = await self._coordinator.read(self._layout.prefix)
        self._reload(snapshot)
        if self.view.shard_count != shard_count:
            raise ConfigError(
                f"this cluster has {self.view.shard_count} shards, and this process is set to {shard_count}; all "
                "processes of a cluster need the same number",
                setting="cluster.shards",
            )
        self._task = asyncio.create_task(self._follow(snapshot.revision), name="goverse-cluster-watch")

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _follow(self, after: int) -> None:
        while True:
            try:
                async for news in self._coordinator.watch(self._layout.prefix, after):
                    after = self._take(news)
            except Unavailable as error:
                logger.warning("the watch on the cluster was interrupted", extra={"reason": error.detail})
            except Exception:
                logger.exception("the watch on the cluster failed; it begins anew")
            await asyncio.sleep(RETRY_S)

    def _take(self, news: Changed | Reloaded) -> int:
        if isinstance(news, Reloaded):
            self._reload(news.snapshot)
            return news.snapshot.revision
        for change in news.changes:
            if isinstance(change, Deleted):
                self.view.delete(change.key, change.revision)
            else:
                self.view.put(_entry(change))
        self._tell()
        return news.revision

    def _reload(self, snapshot: Snapshot) -> None:
        self.view.reload(map(_entry, snapshot.entries), snapshot.revision)
        self._tell()

    def _tell(self) -> None:
        for key, why in self.view.faults.items():
            logger.error("a value in etcd cannot be read", extra={"key": key, "reason": why})
        for follower in self._followers:
            try:
                follower(self.view)
            except Exception:
                logger.exception("a change of the cluster could not be followed")


def _entry(entry: KeyEntry) -> Entry:
    return Entry(entry.key, entry.value, entry.create_revision, entry.mod_revision)
