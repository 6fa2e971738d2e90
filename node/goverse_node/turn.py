"""A turn: one method running on one object, what it may do, and how it is watched.

A turn of which others run beside it (readonly, re-entrant) is driven step by step: after each step, that is,
whenever it waits, the object's state is compared, so a change is always charged to the turn that made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from hashlib import blake2b
from time import perf_counter
from typing import TYPE_CHECKING, Any

from goverse.errors import Deadlock, GoverseError
from goverse.limits import CHAIN_LENGTH_MAX
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import DERIVED_KEY_PREFIX, ROUTER_KEY_PREFIX, ObjectKey
from goverse.objects.context import Context
from goverse.objects.spec import MethodSpec

if TYPE_CHECKING:
    from goverse_node.activation import Activation
    from goverse_node.call import Call


Done = Callable[["Turn", bytes, GoverseError | None], None]


class Turn:
    """One running method.

    Attributes:
        method: the exported method or hook; None for a turn without user code.
        done: called once with the turn, its result as JSON, or what went wrong.
        call: whom to answer when the deadline passes; None for a hook that runs on its own.
        deadline: when it is cancelled, on the loop's clock.
        expired: its deadline passed; whatever it still returns has no effect.
        waits_for: the objects that it has called and that have not answered.
        started: its task took its first step.
        closed: it is over, expired, or without its activation; it may not call other objects any more.
    """

    __slots__ = (
        "_calls",
        "_context",
        "activation",
        "call",
        "closed",
        "deadline",
        "done",
        "expired",
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
        """Prepare a turn for ``request``; ``done`` is told how it ended."""
        self.activation = activation
        self.request = request
        self.method = method
        self.done = done
        self.call: Call | None = None
        self.readonly = method is not None and method.readonly
        self.stepped = method is not None and method.is_async and (method.readonly or method.reentrant)
        self.deadline = deadline
        self.expired: GoverseError | None = None
        self.closed = False
        self.waits_for: tuple[ObjectKey, ...] = ()
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self._context: Context | None = None
        self._calls: dict[tuple[ObjectKey, str], int] | None = None

    @property
    def name(self) -> str:
        """The method's name, for messages."""
        return self.method.name if self.method is not None else self.request.operation.name.lower()

    @property
    def context(self) -> Context:
        """The call as the user's code sees it."""
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

    def place(self) -> dict[str, str | int]:
        """Return what a log record says about where it comes from; a shard only where shards have owners."""
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

    def expire(self, error: GoverseError) -> None:
        """Cancel the turn; the caller hears ``error`` now, and whatever the method still does has no effect."""
        if self.expired is None:
            self.expired = error
            self.closed = True
            if self.call is not None:
                self.call.refuse(error)
            if self.task is not None and self.started:  # one that is cancelled before could not tell that it ended
                self.task.cancel()

    async def call_object(self, key: ObjectKey, method: str, body: bytes) -> Reply:
        """Call another object; leaves only when everything that this object did before is durable."""
        chain = (*self.request.chain, self.activation.key)
        if len(chain) > CHAIN_LENGTH_MAX:
            return Reply(problem=Problem.of(Deadlock(f"the call chain is longer than {CHAIN_LENGTH_MAX} objects")))
        nested_key = self._derived_key(key, method)
        await self.activation.durable()
        if self.closed:
            raise GoverseError(f"{self.activation.key}.{self.name} is over; it can call no other object any more")
        request = Request(
            Operation.CALL,
            key,
            method,
            body,
            self.deadline,
            self.request.request_id,
            idempotency_key=nested_key,
            caller=self.request.caller,
            traceparent=self.request.traceparent,
            chain=chain,
            fresh_key=self.request.fresh_key,
        )
        self.waits_for = (*self.waits_for, key)
        node, began = self.activation.node, perf_counter()
        try:
            reply = await node.calls.submit(request)
            node.nested.record(key.type, method, reply.problem, perf_counter() - began)
            return reply
        finally:
            left = list(self.waits_for)
            left.remove(key)
            self.waits_for = tuple(left)

    def _derived_key(self, key: ObjectKey, method: str) -> str | None:
        """Give the nth call to a method the same key in every attempt, so that a repeated turn repeats no effect."""
        if self.request.idempotency_key is None:
            return None
        if self._calls is None:
            self._calls = {}
        count = self._calls[key, method] = self._calls.get((key, method), 0) + 1
        origin = "\x00".join((*self.activation.key, self.request.idempotency_key, *key, method, str(count)))
        prefix = DERIVED_KEY_PREFIX if self.request.idempotency_key.startswith(ROUTER_KEY_PREFIX) else "~"
        return f"{prefix}{blake2b(origin.encode(), digest_size=24, person=b'goverse.nested').hexdigest()}"


class Stepped:
    """Awaits a coroutine and calls ``after_step`` whenever it pauses or ends; an error from there is raised inside
    it."""

    __slots__ = ("_after_step", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], after_step: Callable[[], None]) -> None:
        """Wrap ``coroutine``."""
        self._coroutine = coroutine
        self._after_step = after_step

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drive the coroutine as ``await`` would."""
        coroutine, after_step = self._coroutine, self._after_step
        failure: BaseException | None = None
        while True:
            try:
                waits_for = coroutine.send(None) if failure is None else coroutine.throw(failure)
            except StopIteration as end:
                after_step()
                return end.value
            try:
                after_step()
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
