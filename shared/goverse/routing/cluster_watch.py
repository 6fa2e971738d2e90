"""Maintenance of a ``ClusterView``: read all keys of the cluster once, then follow a watch.

The key ``shards`` belongs to no process. If it is missing because etcd was emptied or replaced, every process that
follows the cluster tries to write it, and etcd accepts the first write. If etcd then has another shard count, it
belongs to another cluster: the view stays as it is and an error is logged until the count is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from goverse.cluster.keys import KeyLayout
from goverse.cluster.view import ClusterView, Entry
from goverse.errors import ConfigError, GoverseError, Unavailable
from goverse.ports.coordinator import Changed, Coordinator, Deleted, Guard, KeyEntry, Put, Reloaded, Snapshot

RETRY_S: Final = 0.5
FOREIGN_RETRY_S: Final = 5.0  # pause between two checks of an etcd that holds another cluster

Follower = Callable[[ClusterView], None]

logger = logging.getLogger("goverse.cluster")


class ClusterWatch:
    """A process's view of its cluster, kept up to date.

    Attributes:
        view: the newest known state. It stays unchanged while etcd is unavailable, so known nodes are still used.
    """

    def __init__(self, coordinator: Coordinator, layout: KeyLayout) -> None:
        self.view = ClusterView(layout)
        self._coordinator = coordinator
        self._layout = layout
        self._followers: list[Follower] = []
        self._shard_count = 0
        self._task: asyncio.Task[None] | None = None
        self._offer: asyncio.Task[None] | None = None

    def add(self, follower: Follower) -> None:
        """Call ``follower`` after every change. Followers are called in the order in which they were added."""
        self._followers.append(follower)

    async def start(self, shard_count: int) -> None:
        """Write the shard count if it is missing, read all keys, and start to follow changes.

        Raises:
            ConfigError: the cluster has another shard count.
            Unavailable: etcd does not answer.
        """
        self._shard_count = shard_count
        await self._write_shard_count()
        snapshot = await self._coordinator.read(self._layout.prefix)
        self._reload(snapshot)
        if self.view.shard_count != shard_count:
            raise ConfigError(
                f"this cluster has {self.view.shard_count} shards, but cluster.shards is {shard_count} here; all "
                "processes of a cluster need the same number",
                setting="cluster.shards",
            )
        self._task = asyncio.create_task(self._follow(snapshot.revision), name="goverse-cluster-watch")

    async def stop(self) -> None:
        for task in (self._task, self._offer):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._offer = None

    async def _write_shard_count(self) -> None:
        key = self._layout.shards
        await self._coordinator.write([Guard(key, create_revision=0)], [Put(key, b"%d" % self._shard_count)])

    async def _offer_shard_count(self) -> None:
        while self.view.shard_count is None:
            try:
                await self._write_shard_count()
            except GoverseError as error:
                logger.warning("shard count missing in etcd and not written", extra={"reason": error.detail})
            await asyncio.sleep(RETRY_S)

    async def _follow(self, after: int) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._coordinator.watch(self._layout.prefix, after)) as watch:
                    async for news in watch:
                        after = self._take(news)
            except Unavailable as error:
                logger.warning("cluster watch interrupted; restarting", extra={"reason": error.detail})
            except ConfigError as error:
                logger.error("etcd holds another cluster; keeping the last known state", extra={"reason": error.detail})
                await asyncio.sleep(FOREIGN_RETRY_S)
            except Exception:
                logger.exception("cluster watch failed; restarting")
            await asyncio.sleep(RETRY_S)

    def _take(self, news: Changed | Reloaded) -> int:
        if isinstance(news, Reloaded):
            self._check_shard_count(news.snapshot)
            self._reload(news.snapshot, new_history=news.new_history)
            return news.snapshot.revision
        for change in news.changes:
            if isinstance(change, Deleted):
                self.view.delete(change.key, change.revision)
            else:
                self.view.put(_entry(change))
        self._notify()
        return news.revision

    def _check_shard_count(self, snapshot: Snapshot) -> None:
        found = next((entry.value for entry in snapshot.entries if entry.key == self._layout.shards), None)
        if found is not None and found != b"%d" % self._shard_count:
            raise ConfigError(
                f"etcd holds a cluster with {found.decode(errors='replace')} shards, but cluster.shards is "
                f"{self._shard_count} here; point etcd.endpoints at this cluster's etcd, or restore its keys",
                setting="etcd.endpoints",
            )

    def _reload(self, snapshot: Snapshot, *, new_history: bool = False) -> None:
        self.view.reload(map(_entry, snapshot.entries), snapshot.revision, new_history=new_history)
        self._notify()

    def _notify(self) -> None:
        if self.view.shard_count is None and (self._offer is None or self._offer.done()):
            self._offer = asyncio.create_task(self._offer_shard_count(), name="goverse-shard-count")
        for key, why in self.view.faults.items():
            logger.error("unreadable value in etcd", extra={"key": key, "reason": why})
        for follower in self._followers:
            try:
                follower(self.view)
            except Exception:
                logger.exception("a follower of the cluster view failed")


def _entry(entry: KeyEntry) -> Entry:
    return Entry(entry.key, entry.value, entry.create_revision, entry.mod_revision)
