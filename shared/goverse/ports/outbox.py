"""The outbox: the durable part of reliable calls, in the same store as the objects.

Rules that every implementation keeps (``goverse.testing.outbox_contract`` checks them on each):

1. The effects of a record become durable with the record, or not at all. A record that only has effects is written like
   any other: it is no mere check of the epoch.
2. A record that settles a delivery fails alone, with ``Conflict``, unless the delivery is next after the receipt that
   the store holds for the pair. Two settlements of one pair in one batch count in order.
3. A record that expects ``ANY_VERSION`` fits every version, also of an object that does not exist, and changes none.
4. A call that a record sends has the number ``number_of(commit_seq, place in the record)``. It stays in the outbox
   until a record of the same object removes it.
5. Receipts and outboxes outlive the deletion of their objects.
6. A finished call can be read until its ``expires_ms``, and disappears some time after that. A store that was opened
   with shorter times for the states of calls (``goverse.model.call_retention``) applies them to those it already has.
7. ``pending``, ``receipt`` and ``finished`` return durable data only.
8. A receipt may disappear when neither its last call nor an earlier one of its sender is pending. From then on, a
   settlement of these calls is refused, although there is no receipt (``KeepsReceipts``).
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from goverse.model.effects import CallState, FinishedCall, PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Receipt


class CallFilter(NamedTuple):
    """A selection of calls. A member that is None selects everything.

    Attributes:
        namespace: the namespace of the senders.
        type: the type of the receivers.
        sender, receiver: one object.
        states: states of finished calls.
        finished_before_ms: only calls that ended before this time.
    """

    namespace: str | None = None
    type: str | None = None
    sender: ObjectKey | None = None
    receiver: ObjectKey | None = None
    states: frozenset[CallState] | None = None
    finished_before_ms: int | None = None

    def selects(self, sender: ObjectKey, receiver: ObjectKey) -> bool:
        """True if the objects of a call are selected."""
        return (
            (self.namespace is None or sender.namespace == self.namespace)
            and (self.type is None or receiver.type == self.type)
            and (self.sender is None or sender == self.sender)
            and (self.receiver is None or receiver == self.receiver)
        )


class KeepsReceipts(Protocol):
    """The upkeep of receipts, which each store does by itself from time to time."""

    async def forget_receipts(self) -> int:
        """Remove the receipts that have not been needed since the previous call, and return how many were removed.

        A receipt is not needed while no call of its sender is pending that was sent before its last one, or is that.
        A call whose id and method begin with ``@`` is never delivered, and does not count.

        Raises:
            Unavailable: the store does not answer; some of them may have been removed.
        """
        ...


class Outbox(Protocol):
    """Pending calls, receipts and finished calls."""

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls of senders in ``shards``, sorted by their numbers, all above ``after``.

        Raises:
            Unavailable: the store does not answer.
        """
        ...

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls, sorted by shard and number, after the place ``(shard, number)``.

        ``where`` selects them by its objects. With ``shard``, only this shard is read; it is that of a known sender.

        Raises:
            Unavailable: the store does not answer.
        """
        ...

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt | Future[Receipt]:
        """Return the receipt of a pair, an empty one if there is none; directly if in memory, else as a future."""
        ...

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        """Return up to ``limit`` kept ends of calls, the newest first, after the place ``(finished_ms, id)``.

        Raises:
            Unavailable: the store does not answer.
        """
        ...

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        """Return the kept end of the call with this id.

        Several senders can use one id. Without ``sender``, the newest end is returned.
        """
        ...

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        """Return the number of kept ends of calls that ``where`` selects, ``limit`` if there are more."""
        ...

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        """Remove up to ``limit`` kept ends of calls, the oldest first, and return how many were removed."""
        ...
