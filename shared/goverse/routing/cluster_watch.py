"""Maintenance of a ``ClusterView``: read all keys of the cluster once, then follow a watch.

The key ``shards`` belongs to no process. If it is missing because etcd was emptied or replaced, every process that
follows the cluster tries to write it, and etcd accepts the first write. If etcd then has another shard count, it
belongs to another cluster: the view stays as it is and an error is logged until the count is right.

Nodes know from the database with how many shards the cluster was created (the base). A process that does not know it
yet writes the count alone, and a node completes the value.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from goverse.cluster.keys import KeyLayout
from goverse.cluster.shard_count import ShardCount
from goverse.cluster.view import ClusterView
from goverse.errors import ConfigError, DataDamaged, GoverseError, Unavailable
from goverse.ports.coordinator import Changed, Coordinator, Deleted, Guard, Put, Reloaded, Snapshot

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
        self._shards = ShardCount(0, None)
        self._task: asyncio.Task[None] | None = None
        self._offer: asyncio.Task[None] | None = None

    def add(self, follower: Follower) -> None:
        """Call ``follower`` after every change. Followers are called in the order in which they were added."""
        self._followers.append(follower)

    async def start(self, shard_count: int, base: int | None = None) -> None:
        """Write the shard count if it is missing, read all keys, and start to follow changes.

        ``base`` is the number of shards that the cluster was created with; only nodes know it.

        Raises:
            ConfigError: the cluster has another shard count, or was created with another one.
            Unavailable: etcd does not answer.
        """
        self._shards = ShardCount(shard_count, base)
        await self._write_shard_count()
        snapshot = await self._coordinator.read(self._layout.prefix)
        self._reload(snapshot)
        if self.view.shard_count != shard_count:
            raise ConfigError(
                f"this cluster has {self.view.shard_count} shards, but cluster.shards is {shard_count} here; all "
                "processes of a cluster need the same number",
                setting="cluster.shards",
            )
        if base is not None and self.view.base not in (None, base):
            raise ConfigError(
                f"according to etcd this cluster was created with {self.view.base} shards, according to the database "
                f"with {base}; set etcd.endpoints and postgres.dsn to the same cluster",
                setting="etcd.endpoints",
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
        """Write the shard count if the key is missing, or the same count with its base if that is missing."""
        key = self._layout.shards
        if self.view.shard_count is None:
            guard = Guard(key, create_revision=0)
        else:
            guard = Guard(key, mod_revision=self.view.revision_of(key))
        await self._coordinator.write([guard], [Put(key, self._shards.encode())])

    def _lacks_shard_count(self) -> bool:
        if self.view.shard_count is None:
            return True
        return self.view.base is None and self.view.shard_count == self._shards.count and self._shards.base is not None

    async def _offer_shard_count(self) -> None:
        while self._lacks_shard_count():
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
                self.view.put(change)
        self._notify()
        return news.revision

    def _check_shard_count(self, snapshot: Snapshot) -> None:
        found = next((entry.value for entry in snapshot.entries if entry.key == self._layout.shards), None)
        if found is not None and not self._agrees(found):
            raise ConfigError(
                f"etcd holds a cluster with {found.decode(errors='replace')} shards, but here it is "
                f"{self._shards.encode().decode()}; point etcd.endpoints at this cluster's etcd, or restore its keys",
                setting="etcd.endpoints",
            )

    def _agrees(self, found: bytes) -> bool:
        try:
            return self._shards.agrees(ShardCount.decode(found))
        except DataDamaged:
            return False

    def _reload(self, snapshot: Snapshot, *, new_history: bool = False) -> None:
        self.view.reload(snapshot.entries, snapshot.revision, new_history=new_history)
        self._notify()

    def _notify(self) -> None:
        if self._shards.base is None and self.view.shard_count == self._shards.count:
            self._shards = ShardCount(self._shards.count, self.view.base)
        if self._lacks_shard_count() and (self._offer is None or self._offer.done()):
            self._offer = asyncio.create_task(self._offer_shard_count(), name="goverse-shard-count")
        for key, why in self.view.faults.items():
            logger.error("unreadable value in etcd", extra={"key": key, "reason": why})
        for follower in self._followers:
            try:
                follower(self.view)
            except Exception:
                logger.exception("a follower of the cluster view failed")
