"""A turn in memory that notes the reliable calls that an object sends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from goverse import Object, ObjectKey
from goverse.errors import CallIdMismatch
from goverse.model.effects import PendingCall, SentCall, same_content
from goverse.objects.context import Turn, current_turn

T = TypeVar("T", bound=Object)

NOW_MS = 1_800_000_000_000


class SendingTurn:
    """The part of ``goverse.objects.context.Turn`` that sends reliable calls.

    Attributes:
        sent: the calls that were sent, in order.
    """

    def __init__(self) -> None:
        self.sent: list[SentCall] = []

    def now_ms(self) -> int:
        return NOW_MS

    def expect(
        self, call: str, make: Callable[[Callable[[], None]], Coroutine[Any, Any, Any]]
    ) -> Coroutine[Any, Any, Any]:
        return make(lambda: None)

    def send_call(self, call: SentCall) -> SentCall:
        for pending in self.sent:
            if call.id == pending.id:
                if not same_content(pending, call):
                    raise CallIdMismatch
                return pending
        self.sent.append(call._replace(id=call.id or f"c_{len(self.sent) + 1}", sent_ms=NOW_MS))
        return self.sent[-1]

    def cancel_call(self, call_id: str) -> bool:
        before = len(self.sent)
        self.sent = [call for call in self.sent if call.id != call_id]
        return len(self.sent) < before

    def pending_calls(self) -> Sequence[PendingCall]:
        sender = ObjectKey("default", "Order", "o1")
        return [PendingCall(0, sender, 0, call, void="" if call.then else "cancelled") for call in self.sent]


@contextmanager
def turn_of(cls: type[T], object_id: str = "o1") -> Iterator[tuple[T, SendingTurn]]:
    """Run the body as a turn of a new object."""
    one: Any = cls.__new__(cls)
    one._goverse_key = ObjectKey("default", cls.__name__, object_id)
    turn = SendingTurn()
    token = current_turn.set(cast("Turn", turn))
    try:
        yield one, turn
    finally:
        current_turn.reset(token)
