"""What a method may know about the call that it serves.

The node sets ``current_turn`` around every turn; tasks that a method starts inherit it. Outside a turn there is
none, and ``Object.context`` and ``Object.ref`` say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary


@dataclass(slots=True, frozen=True)
class Context:
    """The call that a turn serves.

    Attributes:
        request_id: names the request in logs and answers; the same along a chain of calls.
        method: the exported method or hook that runs.
        caller: who asked, as the gate established it; empty for an anonymous caller.
        idempotency_key: the key that this call runs under, or None.
        traceparent: W3C trace context, or empty.
        chain: the objects whose turns wait for this call, outermost first, so ``chain[-1]`` made it; empty for a call
            from outside.
        deadline: when the caller stops waiting, in seconds of the monotonic clock (``asyncio``'s ``loop.time()``).
    """

    request_id: str
    method: str
    caller: str
    idempotency_key: str | None
    traceparent: str
    chain: tuple[ObjectKey, ...]
    deadline: float


class Turn(Protocol):
    """The running turn, as the object model sees it."""

    @property
    def context(self) -> Context:
        """The call that the turn serves."""
        ...

    def place(self) -> Mapping[str, str | int]:
        """Return what a log record of the turn says about where it comes from."""
        ...

    async def call_object(self, key: ObjectKey, method: str, body: bytes) -> Reply:
        """Call another object on behalf of this turn; the outcome is in the reply, also a failure."""
        ...

    async def create_object(self, key: ObjectKey, body: bytes) -> Reply:
        """Create an object that does not exist yet; the outcome is in the reply, also a failure."""
        ...

    async def delete_object(self, key: ObjectKey) -> Reply:
        """Delete an object; the outcome is in the reply, also a failure."""
        ...

    async def list_objects(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List durable objects, as ``goverse.ports.store.Store.list`` does."""
        ...

    def new_id(self, namespace: str, type_name: str, body: bytes) -> str:
        """Return an id for an object to create from ``body``; a repetition of the turn gets the same one."""
        ...


current_turn: ContextVar[Turn | None] = ContextVar("goverse_turn", default=None)
