"""``ObjectHost``: objects in a test, without a server.

It is the production node with a store in memory, so turns, rollback after failures, idempotency, hooks and passivation
behave as in production. The node is imported by name when a host starts, because ``goverse`` must not depend on
``goverse_node``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from goverse import limits
from goverse.errors import GoverseError, UnknownType
from goverse.model import json_values
from goverse.model.caller import identified
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey, check_id, check_idempotency_key, check_namespace
from goverse.model.problems import error_of
from goverse.model.records import CommitRecord
from goverse.objects.known_options import known_options
from goverse.objects.other_objects import create_body
from goverse.objects.process_hooks import ProcessHooks
from goverse.objects.reference import reference_to
from goverse.objects.registry import Registry
from goverse.objects.spec import TypeSpec
from goverse.testing.checks import check_class, check_count, check_flag, check_seconds, check_text
from goverse.testing.faults import Delay, Fault, Faults, FaultyLink, LostAnswer

T = TypeVar("T")

_POLL_S = 0.001
_STUCK_SHOWN = 10


class ObjectHost:
    """A host that runs object types inside a test.

    >>> async with ObjectHost(Counter) as host:
    ...     counter = host.ref(Counter, "c1")
    ...     assert await counter.increment(by=2) == 2

    Options, all keyword-only:

    * ``timeout_s``: timeout of each request of the test, including the calls that it causes.
    * ``process_hooks``: run the ``@on_start`` and ``@on_stop`` functions of the classes' application.
    * ``call_timeout_s``: timeout of a call whose method declares none.
    * ``create_timeout_s``: timeout of a create or delete.
    * ``hook_timeout_s``: timeout of one ``on_...`` hook, and of all ``@on_stop`` functions together.
    * ``idle_timeout_s``: time without a call after which an object is passivated.
    * ``activations_max``: maximum number of objects in memory.
    * ``mailbox_calls_max``: maximum number of calls waiting for one object.
    * ``inflight_calls_max``: maximum number of concurrent calls.
    * ``state_bytes_max``, ``result_bytes_max``: maximum size of a state and of a result.
    * ``idempotency_retention_s``: time for which the reply under an idempotency key is kept.
    """

    _count = 0
    _link: FaultyLink | None = None
    _node: Any = None

    @known_options("ObjectHost")
    def __init__(
        self,
        *classes: type[Any],
        timeout_s: float = 10.0,
        process_hooks: bool = True,
        call_timeout_s: float = limits.CALL_TIMEOUT_S,
        create_timeout_s: float = limits.CREATE_TIMEOUT_S,
        hook_timeout_s: float = limits.HOOK_TIMEOUT_S,
        idle_timeout_s: float = limits.IDLE_TIMEOUT_S,
        activations_max: int = limits.ACTIVATIONS_MAX,
        mailbox_calls_max: int = limits.MAILBOX_CALLS_MAX,
        inflight_calls_max: int = limits.INFLIGHT_CALLS_MAX,
        state_bytes_max: int = limits.STATE_BYTES_MAX,
        result_bytes_max: int = limits.RESULT_BYTES_MAX,
        idempotency_retention_s: float = limits.IDEMPOTENCY_RETENTION_S,
    ) -> None:
        """Prepare a host for ``classes``: all object types that the test calls, directly or from other objects.

        Raises:
            TypeError, ValueError: a class is not an object type, or an option is unknown or has an invalid value.
            DefinitionError: a class breaks a rule of the object model.
        """
        _check(classes, timeout_s, process_hooks)
        self._options = _node_options(
            call_timeout_s=call_timeout_s,
            create_timeout_s=create_timeout_s,
            hook_timeout_s=hook_timeout_s,
            idle_timeout_s=idle_timeout_s,
            activations_max=activations_max,
            mailbox_calls_max=mailbox_calls_max,
            inflight_calls_max=inflight_calls_max,
            state_bytes_max=state_bytes_max,
            result_bytes_max=result_bytes_max,
            idempotency_retention_s=idempotency_retention_s,
        )
        self._registry = Registry(classes, remedy="pass each class that the test calls to the host")
        self._faults = Faults(self._registry)
        self._hooks = ProcessHooks.of(classes) if process_hooks else ProcessHooks()
        self._timeout_s, self._hook_timeout_s = timeout_s, hook_timeout_s
        self._store: Any = import_module("goverse_node.stores.memory").MemoryStore()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop(0.0 if kind is not None else self._timeout_s)

    async def start(self) -> Self:
        """Run the ``@on_start`` functions and begin to serve calls; ``async with`` calls this for you.

        Raises:
            GoverseError: the host is already running.
            StartFailed: an ``@on_start`` function failed.
        """
        if self._node is not None:
            raise GoverseError("the host is already running")
        await self._store.open()
        try:
            await self._start()
        except BaseException:
            await self._store.close()
            raise
        return self

    async def stop(self) -> None:
        """Passivate all objects and run the ``@on_stop`` functions. Does nothing if the host is not running."""
        await self._stop(self._timeout_s)

    async def _start(self) -> None:
        try:
            await self._hooks.start()
        except BaseException:
            await self._hooks.stop(self._hook_timeout_s)
            raise
        self._node = import_module("goverse_node.node").Node(self._registry, self._store, options=self._options)
        self._link = FaultyLink(self._node, self._faults)
        self._node.calls = self._link
        self._node.shows_causes = self._node.passes_interrupts = True
        await self._node.start()

    async def _stop(self, drain_timeout_s: float) -> None:
        if self._node is None:
            return
        await self._node.stop(drain_timeout_s)
        self._node = self._link = None
        await self._hooks.stop(self._hook_timeout_s)
        await self._store.close()

    async def restart(self) -> None:
        """Simulate a restart of the process. Only durable state remains; ``@on_stop`` and ``@on_start`` functions run.

        Raises:
            GoverseError: the host is not running.
            StartFailed: an ``@on_start`` function failed.
        """
        await self._running().stop(self._timeout_s)
        self._node = self._link = None
        await self._hooks.stop(self._hook_timeout_s)
        await self._start()

    async def passivate(self) -> None:
        """Passivate all idle objects; the next call of an object loads it again."""
        node = self._running()
        for activation in node.activations:
            if activation.idle:
                activation.close()
        await node.settled()

    async def deliver(self) -> None:
        """Wait until the reliable calls that are pending have ended, and those that they send. Delayed calls stay.

        Raises:
            GoverseError: the host is not running, or calls were still pending after ``timeout_s``. The message says
                which ones, and why they wait.
        """
        node = self._running()
        outboxes, end = node.dispatcher.outboxes, node.now() + self._timeout_s
        while len(outboxes.entries) > outboxes.delayed:
            if node.now() >= end:
                raise GoverseError(self._stuck(node))
            node.dispatcher.hurry()
            await asyncio.sleep(_POLL_S)

    def _stuck(self, node: Any) -> str:
        operating = import_module("goverse_node.messages.operating")
        reads = operating.Operating(node.dispatcher, self._store, str, node.clock.wall_ms)
        stuck = [each for each in reads.list(limit=_STUCK_SHOWN) if not each.waits_for.startswith("due in")]
        return f"reliable calls are still pending after {self._timeout_s:g} s: " + "; ".join(map(_shown, stuck))

    def _running(self) -> Any:
        if self._node is None:
            raise GoverseError("the host is not running; use it inside `async with`, or after `await host.start()`")
        return self._node

    # --- faults -------------------------------------------------------------------------------------------------------

    def fail(
        self,
        target: type[Any],
        method: str,
        with_: Exception | type[Exception] | Delay | LostAnswer,
        *,
        times: int | None = 1,
        object_id: str | None = None,
    ) -> Fault:
        """Inject a fault: the next calls of a method fail, whether they come from the test or from other objects.

        >>> host.fail(Wallet, "pay", with_=ConnectionError("the bank is away"))
        >>> host.fail(Wallet, "pay", with_=Delay(seconds=0.2), times=None)
        >>> host.fail(Wallet, "pay", with_=LostAnswer())

        Args:
            target: the class of the object.
            method: an exported method, or a hook that the class defines.
            with_: the fault. An exception is raised instead of running the method, so the call has no effect. ``Delay``
                runs the method later. ``LostAnswer`` runs the method and drops its answer, so the call takes effect but
                the caller gets ``Timeout``.
            times: the number of calls that fail; None lets all calls fail until ``Fault.end``.
            object_id: limits the fault to one object; None affects all objects of the type.

        Returns:
            The fault: ``hits`` is the number of calls that failed so far, ``end()`` removes the fault.

        Raises:
            TypeError: ``target`` is not an object type, ``with_`` is neither an exception nor a fault, or another
                argument has the wrong type.
            ValueError: the host does not serve the class, the class has no such method, or ``times`` is less than 1.
            MalformedRequest: ``object_id`` is not a valid id.
        """
        check_class(target)
        return self._faults.add(TypeSpec.of(target).name, method, with_, times=times, object_id=object_id)

    # --- objects ------------------------------------------------------------------------------------------------------

    def acting_as(self, target: type[Any], object_id: str) -> ObjectCaller:
        """Return a caller whose requests come from the object ``target``/``object_id``.

        Such requests may call handlers, and may create and delete objects of types with ``"internal"`` access. Requests
        made directly through the host come from outside.

        Raises:
            MalformedRequest: ``object_id`` is not a valid id.
        """
        return ObjectCaller(self, self._key(target, object_id))

    def ref(
        self,
        target: type[T],
        object_id: str,
        *,
        idempotency_key: str | None = None,
        caller: str = "",
        namespace: str = DEFAULT_NAMESPACE,
    ) -> T:
        """Return a reference to an object. Await its methods; they raise the errors that a calling object sees.

        The calls come from outside, so handlers are refused; to call them, use ``acting_as``.

        Raises:
            TypeError: an argument has the wrong type.
            MalformedRequest: ``object_id``, ``idempotency_key`` or ``namespace`` is invalid, as it would be over HTTP.
        """
        _check_reference(object_id, idempotency_key)
        check_text("caller", caller)
        check_namespace(check_text("namespace", namespace))

        async def submit(key: ObjectKey, method: str, body: bytes) -> Reply:
            return await self._submit(
                Operation.CALL, key, method, body, idempotency_key=idempotency_key, caller=identified(caller)
            )

        return cast("T", reference_to(target, namespace, object_id, submit))

    async def create(self, target: type[Any], object_id: str, /, **arguments: Any) -> dict[str, Any]:
        """Create an object from outside and return its state; ``arguments`` are passed to its ``on_create`` hook.

        Raises:
            ObjectExists: the object already exists.
            TypeError: the arguments do not fit the hook.
            GoverseError: the hook or GoVerse refused the request.
        """
        return await self._create(target, object_id, arguments)

    async def _create(
        self, target: type[Any], object_id: str, arguments: dict[str, Any], **further: Any
    ) -> dict[str, Any]:
        key, body = self._key(target, object_id), create_body(target, arguments)
        await self._checked(Operation.CREATE, key, body, if_match=0, **further)
        state = await self.state(target, object_id)
        assert state is not None, f"{key} was created and is gone"
        return state

    async def delete(self, target: type[Any], object_id: str) -> None:
        """Delete an object from outside.

        Raises:
            ObjectNotFound: the object does not exist.
            AccessDenied: the type is not declared with ``delete="anyone"``.
        """
        await self._checked(Operation.DELETE, self._key(target, object_id), b"")

    async def state(self, target: type[Any], object_id: str) -> dict[str, Any] | None:
        """Return the durable state of an object as JSON values, hidden fields included; None if it does not exist."""
        key = self._key(target, object_id)
        spec = self._registry.type(key.type)
        stored = self._store.load(key)
        if stored is None or stored.state is None:
            return None
        instance = import_module("goverse_node.runtime.instance").Instance(spec, key, stored)
        return cast("dict[str, Any]", json_values.decode(instance.base))

    async def shown(self, target: type[Any], object_id: str) -> Any:
        """Return the response to ``GET`` as JSON values: the object's view, or its state without hidden fields.

        Raises:
            ObjectNotFound: the object does not exist.
            MethodFailed: the view failed.
        """
        reply = await self._checked(Operation.READ, self._key(target, object_id), b"")
        return json_values.decode(reply.body)

    async def store_state(
        self, target: type[Any], object_id: str, state: Mapping[str, Any], *, state_version: int
    ) -> None:
        """Store a state as an earlier version of the class would have; the next call of the object migrates it.

        Raises:
            TypeError: ``state_version`` is not an integer.
            ValueError: the object already exists, or ``state_version`` is less than 1.
        """
        check_count("state_version", state_version)
        key, body = self._key(target, object_id), json_values.encode(state)
        record = CommitRecord(key, 0, 1, body, state_version, at_ms=time.time_ns() // 1_000_000)
        [outcome] = await self._store.commit([record])
        if not isinstance(outcome, int):
            raise ValueError(f"{key} already exists; store an earlier state before the first call")

    async def _checked(self, operation: Operation, key: ObjectKey, body: bytes, **further: Any) -> Reply:
        reply = await self._submit(operation, key, "", body, **further)
        if reply.problem is not None:
            raise error_of(reply.problem)
        return reply

    async def _submit(self, operation: Operation, key: ObjectKey, method: str, body: bytes, **further: Any) -> Reply:
        node = self._running()
        assert self._link is not None
        self._count += 1
        deadline = node.now() + self._timeout_s
        request = Request(operation, key, method, body, deadline, f"test-{self._count}", **further)
        reply = await self._link.submit(request)
        problem = reply.problem
        if problem is not None and isinstance(problem.cause, UnknownType):  # a class that the test did not pass
            reply = replace(reply, problem=replace(problem, detail=f"{problem.detail}: {problem.cause.detail}"))
        return reply

    def _key(self, target: type[Any], object_id: str) -> ObjectKey:
        return _key(DEFAULT_NAMESPACE, target, object_id)


def _key(namespace: str, target: type[Any], object_id: str) -> ObjectKey:
    check_class(target)
    return ObjectKey(namespace, TypeSpec.of(target).name, check_id(check_text("the object id", object_id)))


def _shown(status: Any) -> str:
    call, problem = status.call, status.problem
    why = status.waits_for or "it is running"
    last = f"; the last attempt: {problem.code}, {problem.detail}" if problem is not None else ""
    return f"{call.receiver}.{call.method} from {status.sender} ({why}{last})"


def _check(classes: Sequence[type[Any]], timeout_s: float, process_hooks: object) -> None:
    if not classes:
        raise TypeError("the host has no object types; pass the classes that the test calls: ObjectHost(Cart, Order)")
    for each in classes:
        check_class(each)
    check_seconds("timeout_s", timeout_s)
    check_flag("process_hooks", process_hooks)


def _check_reference(object_id: str, idempotency_key: str | None) -> None:
    check_text("the object id", object_id)
    if idempotency_key is not None:
        check_idempotency_key(check_text("idempotency_key", idempotency_key))


def _node_options(**options: float) -> Any:
    """Return the node's options.

    Raises:
        TypeError: an option is not a number.
        ValueError: an option is out of range.
    """
    for name, value in options.items():
        (check_seconds if name.endswith("_s") else check_count)(name, value)
    return import_module("goverse_node.options").NodeOptions(**options)


class ObjectCaller:
    """A caller inside a host: its requests have a call chain that begins with one object."""

    def __init__(self, host: ObjectHost, key: ObjectKey) -> None:
        """Send requests in the name of the object ``key``, which need not exist."""
        self._namespace = key.namespace
        self._submit = partial(host._submit, chain=(key,))  # pyright: ignore[reportPrivateUsage]
        self._create = partial(host._create, chain=(key,))  # pyright: ignore[reportPrivateUsage]
        self._checked = partial(host._checked, chain=(key,))  # pyright: ignore[reportPrivateUsage]

    def ref(self, target: type[T], object_id: str, *, idempotency_key: str | None = None) -> T:
        """Return a reference to an object, handlers included.

        Raises:
            TypeError: an argument has the wrong type.
            MalformedRequest: ``object_id`` or ``idempotency_key`` is not valid.
        """
        _check_reference(object_id, idempotency_key)

        async def submit(key: ObjectKey, method: str, body: bytes) -> Reply:
            return await self._submit(Operation.CALL, key, method, body, idempotency_key=idempotency_key)

        return cast("T", reference_to(target, self._namespace, object_id, submit))

    async def create(self, target: type[Any], object_id: str, /, **arguments: Any) -> dict[str, Any]:
        """Create an object as another object would, and return its state.

        Raises:
            ObjectExists: the object already exists.
            TypeError: the arguments do not fit the ``on_create`` hook.
            GoverseError: the hook or GoVerse refused the request.
        """
        return await self._create(target, object_id, arguments)

    async def delete(self, target: type[Any], object_id: str) -> None:
        """Delete an object as another object would.

        Raises:
            ObjectNotFound: the object does not exist.
        """
        await self._checked(Operation.DELETE, _key(self._namespace, target, object_id), b"")
