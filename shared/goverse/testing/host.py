"""``TestHost``: objects in a test, without a server.

It is the real node over a store in memory, so turns, restoration after failures, idempotency, hooks and passivation are
those of production. The node is looked up when a host starts: ``goverse`` itself stands below it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from goverse.model import json_values
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey, check_id
from goverse.model.records import CommitRecord
from goverse.objects.problems import error_of
from goverse.objects.reference import reference_to
from goverse.objects.registry import Registry
from goverse.objects.spec import TypeSpec

T = TypeVar("T")


class TestHost:
    """Hosts object types inside a test.

    >>> async with TestHost(Counter) as host:
    ...     counter = host.ref(Counter, "c1")
    ...     assert await counter.increment(by=2) == 2
    """

    __test__ = False

    def __init__(self, *classes: type[Any], timeout_s: float = 10.0, **options: Any) -> None:
        """Host ``classes``; ``options`` are those of ``goverse_node.options.NodeOptions``.

        Raises:
            DefinitionError: a class breaks a rule of the object model.
        """
        self._registry = Registry(classes)
        self._timeout_s = timeout_s
        self._options = import_module("goverse_node.options").NodeOptions(**options)
        self._store: Any = import_module("goverse_node.stores.memory").MemoryStore()
        self._node: Any = None
        self._count = 0

    async def __aenter__(self) -> Self:
        """Start."""
        await self._store.open()
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Passivate everything and stop."""
        await self._node.stop(0.0 if kind is not None else self._timeout_s)
        await self._store.close()

    async def _start(self) -> None:
        self._node = import_module("goverse_node.node").Node(self._registry, self._store, options=self._options)
        self._node.shows_causes = True
        await self._node.start()

    async def restart(self) -> None:
        """Stop the node and start another one over the same store: what is not durable is gone."""
        await self._node.stop(self._timeout_s)
        await self._start()

    async def passivate(self) -> None:
        """Take every idle object out of memory; the next call loads it again."""
        for activation in self._node.residents:
            if activation.idle:
                activation.close()
        await self._node.settled()

    def ref(
        self,
        target: type[T],
        object_id: str,
        *,
        idempotency_key: str | None = None,
        caller: str = "",
        namespace: str = DEFAULT_NAMESPACE,
    ) -> T:
        """Return a reference to an object; its exported methods are awaited, and raise what a calling object would see.

        Raises:
            MalformedRequest: ``object_id`` is not a valid id.
        """

        async def submit(key: ObjectKey, method: str, body: bytes) -> Reply:
            return await self._submit(Operation.CALL, key, method, body, idempotency_key=idempotency_key, caller=caller)

        return cast("T", reference_to(target, namespace, object_id, submit))

    async def create(self, target: type[Any], object_id: str, **arguments: Any) -> dict[str, Any]:
        """Create an object, with the parameters of its ``on_create`` hook; return its state.

        Raises:
            ObjectExists: it exists already.
            GoverseError: whatever the hook or the checks say.
        """
        spec = TypeSpec.of(target)
        hook = spec.hooks.get("on_create")
        body = hook.arguments.encode((), arguments) if hook else json_values.encode(arguments)
        reply = await self._checked(Operation.CREATE, self._key(target, object_id), body, if_match=0)
        return cast("dict[str, Any]", json_values.decode(reply.body))

    async def delete(self, target: type[Any], object_id: str) -> None:
        """Delete an object.

        Raises:
            ObjectNotFound: it does not exist.
        """
        await self._checked(Operation.DELETE, self._key(target, object_id), b"")

    async def state(self, target: type[Any], object_id: str) -> dict[str, Any] | None:
        """Return the durable state of an object as JSON values, or None if it does not exist."""
        reply = await self._submit(Operation.READ, self._key(target, object_id), "", b"")
        if reply.problem is not None and reply.problem.code == "object_not_found":
            return None
        if reply.problem is not None:
            raise error_of(reply.problem)
        return cast("dict[str, Any]", json_values.decode(reply.body))

    async def store_state(
        self, target: type[Any], object_id: str, state: Mapping[str, Any], *, state_version: int
    ) -> None:
        """Leave a state in the store as an earlier release of the class wrote it; the next call migrates it.

        Raises:
            ValueError: the object exists already.
        """
        key, body = self._key(target, object_id), json_values.encode(state)
        record = CommitRecord(key, 0, 1, body, state_version, at_ms=time.time_ns() // 1_000_000)
        [outcome] = await self._store.commit([record])
        if not isinstance(outcome, int):
            raise ValueError(f"{key} exists already; store an earlier state before the first call")

    async def _checked(self, operation: Operation, key: ObjectKey, body: bytes, if_match: int | None = None) -> Reply:
        reply = await self._submit(operation, key, "", body, if_match=if_match)
        if reply.problem is not None:
            raise error_of(reply.problem)
        return reply

    async def _submit(self, operation: Operation, key: ObjectKey, method: str, body: bytes, **further: Any) -> Reply:
        self._count += 1
        deadline = self._node.now() + self._timeout_s
        request = Request(operation, key, method, body, deadline, f"test-{self._count}", **further)
        return cast("Reply", await self._node.submit(request))

    def _key(self, target: type[Any], object_id: str) -> ObjectKey:
        return ObjectKey(DEFAULT_NAMESPACE, TypeSpec.of(target).name, check_id(object_id))
