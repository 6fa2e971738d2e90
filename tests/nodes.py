"""Test bench for a node: a real node over a gated store, with short forms for calls and waits."""

import asyncio
import itertools
from asyncio import Future
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.objects.registry import Registry
from goverse.objects.spec import TypeSpec
from goverse.ports.clock import Clock
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from tests.gated_store import GatedStore

PATIENCE_S = 30.0  # bound of a wait that ends as soon as its condition holds; a busy machine may take long
_numbers = itertools.count(1)


def key_of(target: type[Any] | str, object_id: str) -> ObjectKey:
    name = target if isinstance(target, str) else TypeSpec.of(target).name
    return ObjectKey(DEFAULT_NAMESPACE, name, object_id)


def value(reply: Reply) -> Any:
    """Return the result of a successful reply."""
    assert reply.problem is None, reply.problem
    return orjson.loads(reply.body)


def problem(reply: Reply) -> Problem:
    """Return the problem of a failed reply."""
    assert reply.problem is not None, reply.body
    return reply.problem


def code(reply: Reply) -> str:
    """Return the error code of a reply, or "" if it is successful."""
    return "" if reply.problem is None else reply.problem.code


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most ``PATIENCE_S``."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while not condition():
        assert loop.time() < end, "the condition did not come true in time"
        await asyncio.sleep(0.001)


async def settle(turns: int = 20) -> None:
    """Run ``turns`` iterations of the event loop, so that everything that is ready has run."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Meeting:
    """A place where methods wait until the test lets them continue."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Future[None]]] = {}
        self.happened: list[str] = []

    async def wait(self, name: str) -> None:
        """Wait in a method until the test calls ``let_go``."""
        future: Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(future)
        self.happened.append(name)
        await future

    async def wait_stubbornly(self, name: str) -> None:
        """Wait in a method, and ignore its first cancellation."""
        try:
            await self.wait(name)
        except asyncio.CancelledError:
            self.note("swallowed")
            await self.wait(name)

    async def reached(self, name: str, count: int = 1) -> None:
        await until(lambda: len(self._waiting.get(name, ())) >= count)

    def let_go(self, name: str) -> None:
        for future in self._waiting.pop(name):
            if not future.done():
                future.set_result(None)

    def note(self, what: str) -> None:
        self.happened.append(what)


class Bench:
    """A node with a store, and short forms for calls."""

    def __init__(self, registry: Registry, store: GatedStore, options: NodeOptions, clock: Clock | None) -> None:
        self.registry = registry
        self.store = store
        self.options = options
        self.clock = clock
        self.node = Node(registry, store, options=options, clock=clock)

    def submit(
        self, operation: Operation, key: ObjectKey, method: str, body: bytes, *, timeout_s: float, **further: Any
    ) -> Future[Reply]:
        request_id = further.pop("request_id", None) or f"r{next(_numbers)}"
        deadline = self.node.now() + timeout_s
        return self.node.submit(Request(operation, key, method, body, deadline, request_id, **further))

    def call(
        self,
        target: type[Any] | str,
        object_id: str,
        method: str,
        arguments: dict[str, Any] | None = None,
        *,
        timeout_s: float = PATIENCE_S,
        **further: Any,
    ) -> Future[Reply]:
        body = orjson.dumps(arguments) if arguments else b""
        return self.submit(Operation.CALL, key_of(target, object_id), method, body, timeout_s=timeout_s, **further)

    def create(self, target: type[Any], object_id: str, **further: Any) -> Future[Reply]:
        body = orjson.dumps(further.pop("arguments", {}))
        timeout_s = further.pop("timeout_s", PATIENCE_S)
        return self.submit(Operation.CREATE, key_of(target, object_id), "", body, timeout_s=timeout_s, **further)

    def delete(self, target: type[Any], object_id: str, **further: Any) -> Future[Reply]:
        timeout_s = further.pop("timeout_s", PATIENCE_S)
        return self.submit(Operation.DELETE, key_of(target, object_id), "", b"", timeout_s=timeout_s, **further)

    def read(
        self, target: type[Any] | str, object_id: str, *, timeout_s: float = PATIENCE_S, **further: Any
    ) -> Future[Reply]:
        return self.submit(Operation.READ, key_of(target, object_id), "", b"", timeout_s=timeout_s, **further)

    def resident(self, target: type[Any], object_id: str) -> bool:
        return self.node.activations.get(key_of(target, object_id)) is not None

    async def finish(self, future: Future[Reply]) -> Reply:
        """Wait for a reply, and let the store answer the node in the meantime."""

        def done() -> bool:
            self.store.answer()
            return future.done()

        await until(done)
        return future.result()

    async def passivate(self) -> None:
        """Passivate every idle object."""
        for activation in self.node.activations:
            if activation.idle:
                activation.close()
        await until(lambda: not self.node.activations.leaving)

    async def restart(self, drain_timeout_s: float = PATIENCE_S) -> None:
        """Return a bench with another node over the same store."""
        await self.node.stop(drain_timeout_s)
        self.node = Node(self.registry, self.store, options=self.options, clock=self.clock)
        await self.node.start()

    @property
    def at_rest(self) -> bool:
        node = self.node
        return (
            node.stats.inflight == 0
            and not node.deadlines.running
            and not node.deadlines.waiting
            and not any(activation.leaders or activation.running for activation in node.activations)
        )


@asynccontextmanager
async def bench(
    *classes: type[Any], store: GatedStore | None = None, clock: Clock | None = None, **options: Any
) -> AsyncGenerator[Bench]:
    """Host `classes`. At the end the node must be idle, and its counters must agree with its contents."""
    store = store or GatedStore()
    await store.open()
    hosted = Bench(Registry(classes), store, NodeOptions(**options), clock)
    await hosted.node.start()
    try:
        yield hosted
        store.release()
        store.answer()
        await until(lambda: hosted.at_rest)
    finally:
        store.release()
        await hosted.node.stop(1.0)
        await store.close()
