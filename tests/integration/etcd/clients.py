"""etcd clients for tests: with short timeouts, and closed at the end of a block."""

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
    """Run a client that tries the endpoints in their order, beginning with the first."""
    endpoints = tuple(map(Endpoint.parse, urls))
    coordinator = EtcdCoordinator(EtcdOptions(endpoints=endpoints, **{**QUICK, **options}), random=lambda: 0.0)
    try:
        yield coordinator
    finally:
        await coordinator.close()


@asynccontextmanager
async def following(coordinator: Coordinator, prefix: str) -> AsyncIterator[Follower]:
    """Read the keys with a prefix, and watch them while the block runs."""
    snapshot = await coordinator.read(prefix)
    follower = Follower(snapshot)
    async with follower.following(coordinator.watch(prefix, snapshot.revision)):
        yield follower


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most ``PATIENCE_S``."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a condition has no event to wait for
            await asyncio.sleep(0.01)


async def insist(operation: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat an operation until it does not raise Unavailable; return its result."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await operation()
            except Unavailable:
                await asyncio.sleep(0.02)
