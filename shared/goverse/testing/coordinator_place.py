"""Where a coordinator contract runs: clients of the same keys, a way to let time pass, and short ways to watch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from goverse.ports.coordinator import Changed, Coordinator, Deleted, KeyEntry, Put, Reloaded, Snapshot

PATIENCE_S: Final = 30.0
TTL_S: Final = 2.0
"""The shortest lease that etcd gives where elections take a second, as they do by default."""

News = Changed | Reloaded


class CoordinatorPlace:
    """Gives each test a coordinator and keys of its own; subclasses say how they are made."""

    _numbers = itertools.count(1)

    async def make_coordinator(self) -> Coordinator:
        """Return another client of the same keys."""
        raise NotImplementedError

    async def compact(self) -> None:
        """Forget the history of all keys."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let ``seconds`` pass for leases; by default, by waiting."""
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[tuple[Coordinator, str]]:
        """Give a coordinator, and a prefix that nobody else uses."""
        coordinator = await self.make_coordinator()
        try:
            yield coordinator, f"contract-{next(self._numbers)}/"
        finally:
            await coordinator.close()

    async def eventually(self, condition: Callable[[], bool | Awaitable[bool]]) -> None:
        """Let time pass until ``condition`` holds."""
        passed_s = 0.0
        while not await self._holds(condition):
            assert passed_s < PATIENCE_S, "the condition did not come true in time"
            await self.pass_time(0.1)
            passed_s += 0.1

    async def _holds(self, condition: Callable[[], bool | Awaitable[bool]]) -> bool:
        holds = condition()
        return holds if isinstance(holds, bool) else await holds


class Follower:
    """What a watch yielded so far.

    Attributes:
        state: the keys as a process that follows the watch knows them.
        log: every change as ``(key, value or None, revision)``, in the order of arrival.
        reloads: how often everything was read again.
        histories: how often that was because the store was emptied or restored.
        ended: whether the watch ended.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Begin with what was read."""
        self.state: dict[str, KeyEntry] = {}
        self.log: list[tuple[str, bytes | None, int]] = []
        self.batches: list[Changed] = []
        self.reloads = self.histories = 0
        self.ended = False
        self.revision = 0
        self._load(snapshot)

    def _load(self, snapshot: Snapshot) -> None:
        self.state = {entry.key: entry for entry in snapshot.entries}
        self.revision = snapshot.revision

    def take(self, news: News) -> None:
        """Follow."""
        if isinstance(news, Reloaded):
            self.reloads += 1
            self.histories += news.new_history
            self._load(news.snapshot)
            return
        self.batches.append(news)
        self.revision = news.revision
        for change in news.changes:
            if isinstance(change, Deleted):
                self.state.pop(change.key, None)
                self.log.append((change.key, None, change.revision))
            else:
                self.state[change.key] = change
                self.log.append((change.key, change.value, change.mod_revision))

    @asynccontextmanager
    async def following(self, watch: AsyncGenerator[News]) -> AsyncGenerator[Follower]:
        """Follow a watch in the background while the block runs; what it raises is raised here."""
        task = asyncio.create_task(self._follow(watch))
        try:
            yield self
        finally:
            ended = task.done()
            task.cancel()
            await asyncio.wait([task])
            if ended:
                task.result()

    async def _follow(self, watch: AsyncGenerator[News]) -> None:
        async with aclosing(watch):
            async for news in watch:
                self.take(news)
        self.ended = True


async def put(coordinator: Coordinator, key: str, value: bytes, *, lease_id: int = 0) -> int:
    """Write a key without a guard; return the revision."""
    revision = await coordinator.write([], [Put(key, value, lease_id)])
    assert revision is not None
    return revision


async def next_of(watch: AsyncGenerator[News]) -> News:
    """Return what a watch yields next."""
    async with asyncio.timeout(PATIENCE_S):
        return await anext(watch)
