"""A turn: one run of a method on an object.

Readonly and re-entrant turns may run beside other turns of the object, so they are driven step by step. After each
step, that is, whenever the coroutine suspends, the object's state is compared, so that a change is always attributed to
the turn that made it.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine, Generator, Sequence
from hashlib import blake2b
from time import perf_counter
from typing import TYPE_CHECKING, Any

from goverse.errors import Deadlock, GoverseError, ReadonlyViolation, Timeout, TooLarge
from goverse.limits import CHAIN_LENGTH_MAX, STATE_BYTES_MAX
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import CLIENT_DERIVED_KEY_PREFIX, DERIVED_KEY_PREFIX, ROUTER_KEY_PREFIX, ObjectKey
from goverse.model.object_ids import derived_id, time_ordered_id
from goverse.model.records import ObjectSummary
from goverse.objects.context import Context
from goverse.objects.spec import MethodSpec
from goverse_node.runtime.group_commit import UNCHANGED

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation
    from goverse_node.runtime.call import Call


Done = Callable[["Turn", bytes, GoverseError | None], None]


_NO_LIMIT = math.inf


class Turn:
    """A running method.

    Attributes:
        method: the exported method or hook; None for a turn without user code.
        done: called once, with the turn and either its result as JSON or an error.
        call: the call to refuse when the deadline passes; None for a hook that runs without a call.
        deadline: time at which the turn is cancelled, on the loop's clock.
        limit: upper bound on ``deadline``, from the method's own time limit.
        expired: the error with which the turn was cancelled, or None. A result that it still returns has no effect.
        condemned: the error for a change that is not allowed, or None. The turn fails with it even if the method
            catches the exception.
        waits_for: the objects that it has called and that have not answered.
        started: True once its task has taken its first step.
        stepped: True if it is driven step by step.
        closed: True once it has ended or expired, or its activation is gone. It may not call other objects any more.
    """

    __slots__ = (
        "_calls",
        "_context",
        "activation",
        "call",
        "closed",
        "condemned",
        "deadline",
        "done",
        "expired",
        "limit",
        "method",
        "readonly",
        "request",
        "started",
        "stepped",
        "task",
        "waits_for",
    )

    def __init__(
        self,
        activation: Activation,
        request: Request,
        method: MethodSpec | None,
        done: Done,
        *,
        deadline: float,
    ) -> None:
        """Prepare a turn for ``request``. ``execution.run`` starts it."""
        self.activation = activation
        self.request = request
        self.method = method
        self.done = done
        self.call: Call | None = None
        self.readonly = method is not None and method.readonly
        self.stepped = method is not None and (method.readonly or method.reentrant)
        self.deadline = deadline
        self.limit = _NO_LIMIT
        self.expired: GoverseError | None = None
        self.condemned: GoverseError | None = None
        self.closed = False
        self.waits_for: tuple[ObjectKey, ...] = ()
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self._context: Context | None = None
        self._calls: dict[tuple[ObjectKey, str, bytes], int] | None = None

    @property
    def name(self) -> str:
        """The name of the method or operation, for messages."""
        return self.method.name if self.method is not None else self.request.operation.name.lower()

    @property
    def context(self) -> Context:
        """The context of the call, as user code reads it."""
        if self._context is None:
            request = self.request
            self._context = Context(
                request_id=request.request_id,
                method=self.name,
                caller=request.caller,
                idempotency_key=request.idempotency_key,
                traceparent=request.traceparent,
                chain=request.chain,
                deadline=self.deadline,
            )
        return self._context

    def log_fields(self) -> dict[str, str | int]:
        """Return the log fields that locate this turn. The shard is included only if shards have owners (epoch > 0)."""
        activation, request = self.activation, self.request
        found: dict[str, str | int] = {
            "object": str(activation.key),
            "method": self.name,
            "request_id": request.request_id,
        }
        if activation.epoch:
            found["shard"] = activation.shard
        if (trace_id := request.traceparent.partition("-")[2].partition("-")[0]) != "":
            found["trace_id"] = trace_id
        return found

    @property
    def fate(self) -> str:
        """The effect of a turn that ends without a commit, as part of an error message."""
        return "nothing of it took effect" if self._calls is None else UNCHANGED

    def expire(self, error: GoverseError) -> None:
        """Cancel the turn and refuse its call with ``error``. A result that the method still returns has no effect."""
        if self.expired is None:
            self.expired = error
            self.closed = True
            if self.call is not None:
                self.call.refuse(error)
            if self.task is not None and self.started:  # a task cancelled before its first step would never call `done`
                self.task.cancel()

    def extend(self, deadline: float) -> None:
        """Move the deadline, for a follower that waits longer than the first caller."""
        self.deadline = deadline
        self._context = None

    async def call_object(
        self, key: ObjectKey, method: str, body: bytes, operation: Operation = Operation.CALL
    ) -> Reply:
        """Call another object, after all earlier commits of this object are durable."""
        chain = (*self.request.chain, self.activation.key)
        if len(chain) > CHAIN_LENGTH_MAX:
            return Reply(problem=Problem.of(Deadlock(f"the call chain is longer than {CHAIN_LENGTH_MAX} objects")))
        if (refusal := self._refusal(key, method, body)) is not None:
            return Reply(problem=Problem.of(refusal))
        nested_key = self._derived_key(key, method or f"@{operation.name.lower()}", body)
        await self.activation.durable()
        if self.closed:
            raise GoverseError(f"{self.activation.key}.{self.name} has ended; it cannot call other objects any more")
        request = Request(
            operation,
            key,
            method,
            body,
            self.deadline,
            self.request.request_id,
            idempotency_key=nested_key,
            if_match=0 if operation is Operation.CREATE else None,  # fail if the object exists
            caller=self.request.caller,
            traceparent=self.request.traceparent,
            chain=chain,
            fresh_key=self.request.fresh_key,
            reads_only=self.readonly,
        )
        self.waits_for = (*self.waits_for, key)
        node, began = self.activation.node, perf_counter()
        try:
            # Run in a new context: timers and tasks that this call starts in the runtime must not keep the turn's alive
            reply = await node.contexts.new().run(node.calls.submit, request)
            node.nested.record(key.type, method, reply.problem, perf_counter() - began)
            return reply
        finally:
            left = list(self.waits_for)
            left.remove(key)
            self.waits_for = tuple(left)

    async def create_object(self, key: ObjectKey, body: bytes) -> Reply:
        """Create an object. An object that exists is an error, even if it was created with the same arguments."""
        self._check_population("create", key)
        return await self.call_object(key, "", body, Operation.CREATE)

    async def delete_object(self, key: ObjectKey) -> Reply:
        self._check_population("delete", key)
        return await self.call_object(key, "", b"", Operation.DELETE)

    def _check_population(self, verb: str, key: ObjectKey) -> None:
        if self.readonly:
            raise ReadonlyViolation(
                f"{self.activation.key.type}.{self.name} is readonly and cannot {verb} {key}; declare it without "
                "readonly=True"
            )
        if key == self.activation.key:
            raise Deadlock(
                f"{key} cannot {verb} itself: the turn would wait for itself. Let another object do it afterwards"
            )

    async def list_objects(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List durable objects, within the turn's deadline."""
        if self.closed:
            raise GoverseError(f"{self.activation.key}.{self.name} has ended; it cannot list objects any more")
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self.activation.node.calls.list(
                    namespace, type_name, prefix=prefix, after=after, limit=limit
                )
        except TimeoutError:
            raise Timeout(
                f"listing {type_name} objects did not finish before the deadline", operation="list", object=type_name
            ) from None

    def new_id(self, namespace: str, type_name: str, body: bytes) -> str:
        """Return an id for an object that the turn creates. A retry with the same idempotency key gets the same id.

        Objects that are created concurrently are distinguished by their creation arguments, ``body``.
        """
        key = self._derived_key(ObjectKey(namespace, type_name, ""), "@id", body)
        if key is not None:
            return derived_id(namespace, type_name, key)
        return time_ordered_id(self.activation.node.clock.wall_ms(), os.urandom(10))

    def _refusal(self, key: ObjectKey, method: str, body: bytes) -> GoverseError | None:
        """Return the error for a call that the turn may not make, or None.

        Two rules are checked. The body must fit the size limit of calls to another node, even if the object is on this
        one, so that the outcome does not depend on placement. A readonly turn may call readonly methods only; methods
        that this node does not know are left to the node that serves the object.
        """
        if len(body) > STATE_BYTES_MAX:
            what = f"the arguments of {key.type}.{method}" if method else f"the creation arguments of {key.type}"
            return TooLarge(f"{what} have {len(body)} bytes; {STATE_BYTES_MAX} are allowed")
        if not self.readonly:
            return None
        spec = self.activation.node.registry.types.get(key.type)
        called = spec.methods.get(method) if spec is not None else None
        if called is None or called.readonly:
            return None  # the node that serves the object decides
        return ReadonlyViolation(violation(f"{self.activation.key.type}.{self.name}", key, method))

    def _derived_key(self, key: ObjectKey, method: str, body: bytes) -> str | None:
        """Return the idempotency key of a nested call. It is unique to the call and the same in every attempt.

        The key is a hash of the object, the idempotency key of its call, the hook or method that runs, the called
        object and method, and a sequence number. Calls that a method makes from its own task are numbered in order.

        Concurrent calls, made from other tasks of the turn, may change their order between attempts. Their key also
        contains their arguments, and the number counts calls with equal arguments. The same applies to calls of
        ``on_activate``: a repeated call may run it again on another activation, with other arguments.
        """
        calls = self._calls
        if calls is None:
            calls = self._calls = {}
        own_key = self.request.idempotency_key
        if own_key is None:
            return None
        in_order = asyncio.current_task() is self.task and self.name != "on_activate"
        print_ = b"" if in_order else blake2b(body, digest_size=16, person=b"goverse.nested").digest()
        count = calls[key, method, print_] = calls.get((key, method, print_), 0) + 1
        origin = "\x00".join((*self.activation.key, own_key, self.name, *key, method, print_.hex(), str(count)))
        prefix = DERIVED_KEY_PREFIX if own_key.startswith(ROUTER_KEY_PREFIX) else CLIENT_DERIVED_KEY_PREFIX
        return f"{prefix}{blake2b(origin.encode(), digest_size=24, person=b'goverse.nested').hexdigest()}"


def violation(caller: str, key: ObjectKey, method: str) -> str:
    """Return the error text for a readonly turn that calls a method that is not readonly."""
    return (
        f"{caller} is readonly and called {key.type}.{method} of {key}, which may change its object; call a readonly "
        f"method, or declare {caller} without readonly=True"
    )


class Scope:
    """The value of ``current_turn`` while a method runs. Tasks that the method starts inherit it.

    Only contexts refer to a scope. A scope that outlives its turn therefore shows that the method left something
    running (``goverse_node.runtime.strays``).
    """

    __slots__ = ("__weakref__", "turn")

    turn: Turn

    @property
    def context(self) -> Context:
        """The context of the turn's call."""
        return self.turn.context

    def log_fields(self) -> dict[str, str | int]:
        """Return the log fields that locate the turn."""
        return self.turn.log_fields()

    async def call_object(self, key: ObjectKey, method: str, body: bytes) -> Reply:
        """Call another object on behalf of the turn."""
        return await self.turn.call_object(key, method, body)

    async def create_object(self, key: ObjectKey, body: bytes) -> Reply:
        """Create an object on behalf of the turn."""
        return await self.turn.create_object(key, body)

    async def delete_object(self, key: ObjectKey) -> Reply:
        """Delete an object on behalf of the turn."""
        return await self.turn.delete_object(key)

    async def list_objects(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List durable objects on behalf of the turn."""
        return await self.turn.list_objects(namespace, type_name, prefix=prefix, after=after, limit=limit)

    def new_id(self, namespace: str, type_name: str, body: bytes) -> str:
        """Return an id for an object that the turn creates."""
        return self.turn.new_id(namespace, type_name, body)


class Stepped:
    """Awaits a coroutine and compares the object's state whenever it suspends or returns.

    An error of that comparison is raised inside the coroutine.
    """

    __slots__ = ("_coroutine", "_turn")

    def __init__(self, turn: Turn, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._turn = turn
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drive the coroutine as ``await`` would."""
        coroutine, turn, activation = self._coroutine, self._turn, self._turn.activation
        running: list[Turn] = activation.running
        failure: BaseException | None = None
        while True:
            if len(running) > 1 or activation.strays is not None:
                failure = activation.prepare(turn) or failure
            try:
                waits_for = coroutine.send(None) if failure is None else coroutine.throw(failure)
            except StopIteration as end:
                activation.observe(turn)
                return end.value
            try:
                activation.observe(turn)
            except GoverseError as refused:
                failure = refused
                cancel = getattr(waits_for, "cancel", None)
                if callable(cancel):
                    cancel()
                continue
            try:
                yield waits_for
                failure = None
            except BaseException as error:
                failure = error
