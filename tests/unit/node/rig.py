"""A node over a gated store, and short ways to send it requests."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.objects.registry import Registry
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from tests.unit.node.gated_store import GatedStore


class Rig:
    """One node under test."""

    def __init__(self, classes: tuple[type[Any], ...], options: dict[str, Any]) -> None:
        self.classes = classes
        self.options = NodeOptions(**options)
        self.store = GatedStore()
        self.node = self._make()
        self.count = 0

    def _make(self) -> Node:
        return Node(Registry(self.classes), self.store, options=self.options)

    async def restart(self) -> None:
        """Replace the node; what is not durable is gone."""
        await self.node.stop(5.0)
        self.node = self._make()
        await self.node.start()

    def send(
        self,
        object_id: str,
        method: str = "",
        /,
        *,
        operation: Operation = Operation.CALL,
        type_name: str | None = None,
        timeout_s: float = 10.0,
        body: bytes | None = None,
        key: str | None = None,
        if_match: int | None = None,
        chain: tuple[ObjectKey, ...] = (),
        **arguments: Any,
    ) -> Future[Reply]:
        """Submit a request."""
        self.count += 1
        return self.node.submit(
            Request(
                operation,
                ObjectKey(DEFAULT_NAMESPACE, type_name or self.classes[0].__name__, object_id),
                method,
                (orjson.dumps(arguments) if arguments else b"") if body is None else body,
                self.node.now() + timeout_s,
                f"request-{self.count}",
                idempotency_key=key,
                if_match=if_match,
                chain=chain,
            )
        )

    async def call(self, object_id: str, method: str, /, **further: Any) -> Any:
        """Call and return the decoded result; a problem fails the test."""
        reply = await self.send(object_id, method, **further)
        assert reply.problem is None, reply.problem
        return orjson.loads(reply.body)

    async def code(self, object_id: str, method: str = "", /, **further: Any) -> str:
        """Call and return the problem's code; success fails the test."""
        reply = await self.send(object_id, method, **further)
        assert reply.problem is not None, reply
        return reply.problem.code

    async def state(self, object_id: str) -> Any:
        """Return the durable state, or None."""
        reply = await self.send(object_id, operation=Operation.READ)
        return orjson.loads(reply.body) if reply.problem is None else None

    async def until(self, condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
        """Wait for a condition, at most so long."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - any condition will do
                await asyncio.sleep(0.001)

    def assert_quiet(self) -> None:
        """Nothing is left over: no call in flight, watched, running, or standing under a key."""
        assert self.node.stats.inflight == 0
        assert not self.node.deadlines.waiting
        assert not self.node.deadlines.running
        for activation in self.node.residents:
            assert activation.running == []
            assert activation.tail is None
            assert not activation.keyed
            assert not activation._mailbox


@asynccontextmanager
async def rig(*classes: type[Any], **options: Any) -> AsyncIterator[Rig]:
    """Run a node for ``classes``; check at the end that nothing is left over."""
    made = Rig(classes, options)
    await made.store.open()
    await made.node.start()
    yield made
    made.store.release()
    await made.until(
        lambda: not (made.node.stats.inflight or made.node.deadlines.running or made.node.deadlines.waiting)
    )
    await made.node.pipeline.drain()
    made.assert_quiet()
    await made.node.stop(1.0)
    await made.store.close()
