"""The context of the call that a method serves.

The node sets ``current_turn`` for every turn; tasks that a method starts inherit it. Outside a turn it is None:
``Object.context`` and calls through a reference then raise an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from goverse.model.caller import Caller
from goverse.model.effects import PendingCall, SentCall
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary
from goverse.model.sagas import Saga


@dataclass(slots=True, frozen=True)
class Context:
    """The call that a turn serves.

    Attributes:
        request_id: identifies the request in logs and answers; all calls of a chain have the same one.
        method: the exported method or hook that runs.
        caller: the caller: a client or another object. ``str(caller)`` is the client's name, empty if it is unknown.
        idempotency_key: the key that this call runs under, or None.
        traceparent: W3C trace context, or empty. If the call is sampled, it has the span id of this turn, so what a
            method sends it to becomes a child of the turn.
        tracestate: the entries of tracing systems that belong to ``traceparent``, or empty.
        chain: the objects whose turns wait for this call, outermost first, so ``chain[-1]`` made it; empty for a call
            from outside.
        deadline: the time at which the caller stops waiting, in seconds of ``asyncio``'s ``loop.time()``.
    """

    request_id: str
    method: str
    caller: Caller
    idempotency_key: str | None
    traceparent: str
    tracestate: str
    chain: tuple[ObjectKey, ...]
    deadline: float


class Turn(Protocol):
    """The interface of a running turn that the object model uses."""

    @property
    def context(self) -> Context:
        """The call that the turn serves."""
        ...

    def log_fields(self) -> Mapping[str, str | int]:
        """Return the fields that identify the turn in its log records."""
        ...

    def expect(
        self, call: str, make: Callable[[Callable[[], None]], Coroutine[Any, Any, Any]]
    ) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that ``make`` makes for a call, and fail the turn if it never runs.

        ``make`` gets a function for the coroutine to call when it begins to run; ``call`` names it in the error.
        """
        ...

    async def call_object(self, key: ObjectKey, method: str, body: bytes) -> Reply:
        """Call another object on behalf of this turn. A failure is reported in the reply, not raised."""
        ...

    async def create_object(self, key: ObjectKey, body: bytes) -> Reply:
        """Create an object that does not exist yet. A failure is reported in the reply, not raised."""
        ...

    async def delete_object(self, key: ObjectKey) -> Reply:
        """Delete an object. A failure is reported in the reply, not raised."""
        ...

    async def list_objects(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List durable objects, as ``goverse.ports.store.Store.list`` does."""
        ...

    def new_id(self, namespace: str, type_name: str, body: bytes) -> str:
        """Return an id for a new object with the creation arguments ``body``; a repeated turn gets the same id."""
        ...

    def now_ms(self) -> int:
        """Return the wall time of the node, in milliseconds since the epoch."""
        ...

    def send_call(self, call: SentCall) -> SentCall:
        """Send a reliable call with the commit of this turn, and return it. A turn that fails sends nothing.

        The turn sets ``sent_ms``, the subject, the request id and the trace of the call, and a new id if it has none.
        If a call with the same id and content is pending, that one is returned, and nothing is sent.

        Raises:
            CallIdMismatch: a call with the same id and other content is pending.
            GoverseError: the turn has ended.
            Overloaded: too many calls of the object are pending.
            ReadonlyViolation: the turn is readonly.
            TooLarge: the arguments, or all calls of the turn together, are too large.
            UnknownMethod: the type is known here and has no such method.
        """
        ...

    def cancel_call(self, call_id: str) -> bool:
        """Cancel a pending call of the object, with the commit of this turn.

        A call that the turn itself has sent is taken back: it was never sent, and has no outcome.

        Returns:
            False if no call with this id is pending, or if it is already void.

        Raises:
            GoverseError: the turn has ended.
            ReadonlyViolation: the turn is readonly.
        """
        ...

    def pending_calls(self) -> Sequence[PendingCall]:
        """Return the pending calls of the object in order, as this turn leaves them.

        Calls that are not durable yet have the number 0.

        Raises:
            GoverseError: the turn has ended.
            Unavailable: the node does not know the calls yet, because it has just begun to serve the object's shard.
        """
        ...

    def start_saga(self, name: str, saga: Saga) -> str:
        """Start a saga with the commit of this turn, and return its id. An empty ``name`` stands for a new one.

        Raises:
            CallIdMismatch: a saga of the object with this name is running.
            Unavailable: as for ``keep_result``; only with a name.
            GoverseError: what ``send_call`` raises.
        """
        ...

    async def keep_result(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the result that the object keeps under ``name``. If there is none, make it and keep it first.

        The result is durable when this returns, whatever becomes of the turn.

        Raises:
            Deadlock: ``make`` asks for the same result.
            GoverseError: the turn has ended, or the result could not be made durable; also what ``make`` raises.
            MethodFailed: the object keeps too many results.
            ReadonlyViolation: the turn is readonly.
            Unavailable: the node does not know the results yet, because it has just begun to serve the object's shard.
        """
        ...

    def forget_result(self, name: str) -> bool:
        """Remove the result that the object keeps under ``name``, with the commit of this turn.

        Returns:
            False if none is kept.

        Raises:
            GoverseError: the turn has ended.
            ReadonlyViolation: the turn is readonly.
            Unavailable: as for ``keep_result``.
        """
        ...


current_turn: ContextVar[Turn | None] = ContextVar("goverse_turn", default=None)
