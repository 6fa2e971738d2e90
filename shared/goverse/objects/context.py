"""The context of the call that a method serves.

The node sets ``current_turn`` for every turn; tasks that a method starts inherit it. Outside a turn it is None:
``Object.context`` and calls through a reference then raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from goverse.model.caller import Caller
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary


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


current_turn: ContextVar[Turn | None] = ContextVar("goverse_turn", default=None)
