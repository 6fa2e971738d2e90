"""Clients for tests: quick to give up on a member, and put in a context that closes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from goverse.errors import Unavailable
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.ports.coordinator import Coordinator
from goverse.testing.coordinator_harness import Follower

PATIENCE_S = 30.0
QUICK: dict[str, Any] = {
    "attempt_timeout_s": 0.5,
    "connect_timeout_s": 0.5,
    "ask_s": 0.25,
    "silence_s_max": 1.0,
    "operation_timeout_s": 20.0,
}


@asynccontextmanager
async def client_of(urls: Sequence[str], **options: Any) -> AsyncIterator[EtcdCoordinator]:
    """A client that begins with the first endpoint, as far as that stands."""
    endpoints = tuple(map(Endpoint.parse, urls))
    coordinator = EtcdCoordinator(EtcdOptions(endpoints=endpoints, **{**QUICK, **options}), random=lambda: 0.0)
    try:
        yield coordinator
    finally:
        await coordinator.close()


@asynccontextmanager
async def following(coordinator: Coordinator, prefix: str) -> AsyncIterator[Follower]:
    """Read what is there, and follow it while the block runs."""
    snapshot = await coordinator.read(prefix)
    follower = Follower(snapshot)
    async with follower.following(coordinator.watch(prefix, snapshot.revision)):
        yield follower


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most as long as patience lasts."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - it may depend on anything
            await asyncio.sleep(0.01)


async def insist(operation: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat until there is an answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await operation()
            except Unavailable:
                await asyncio.sleep(0.02)
