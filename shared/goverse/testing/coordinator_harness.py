"""Test harness of the coordinator contracts: clients of a shared server, leases in time, and a recorder for watches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from goverse.ports.coordinator import Changed, Coordinator, Deleted, KeyEntry, Put, Reloaded, Snapshot

TIMEOUT_S: Final = 30.0
TTL_S: Final = 2.0
"""The shortest lease that etcd grants with its default election timeout of one second."""

News = Changed | Reloaded


class CoordinatorHarness:
    """A base class that provides a coordinator and a key prefix for each test.

    Subclasses implement ``make_coordinator`` and ``compact``.
    """

    _numbers = itertools.count(1)

    async def make_coordinator(self) -> Coordinator:
        """Return a new client of the same server."""
        raise NotImplementedError

    async def compact(self) -> None:
        """Delete the history of all keys in the server."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let ``seconds`` pass for leases; by default, sleep."""
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[tuple[Coordinator, str]]:
        """Provide a coordinator and a key prefix that no other test uses."""
        coordinator = await self.make_coordinator()
        try:
            yield coordinator, f"contract-{next(self._numbers)}/"
        finally:
            await coordinator.close()

    async def eventually(self, condition: Callable[[], bool | Awaitable[bool]]) -> None:
        """Let time pass until ``condition`` returns True."""
        passed_s = 0.0
        while not await self._holds(condition):
            assert passed_s < TIMEOUT_S, "the condition did not come true in time"
            await self.pass_time(0.1)
            passed_s += 0.1

    async def _holds(self, condition: Callable[[], bool | Awaitable[bool]]) -> bool:
        holds = condition()
        return holds if isinstance(holds, bool) else await holds


class Follower:
    """A recorder of everything that a watch yielded.

    Attributes:
        state: the current keys, as the watch reported them.
        log: all changes as ``(key, value or None, revision)``, in the order of arrival.
        batches: all news except reloads, in the order of arrival.
        reloads: the number of reloads.
        histories: the number of reloads after which the server had another history: it was emptied or restored.
        ended: True once the watch has ended.
        revision: the revision of the newest change or reload.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Start with the keys of ``snapshot``."""
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
        """Record what the watch yielded."""
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
        """Record a watch in the background while the block runs; errors of the watch are raised at its end."""
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
    """Return the next item that a watch yields."""
    async with asyncio.timeout(TIMEOUT_S):
        return await anext(watch)
