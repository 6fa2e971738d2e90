"""Receiving reliable calls: the receipts of one object, and the answers to deliveries that do not run.

A delivery waits in the mailbox as other calls do, and runs alone. It is judged twice (``Receipt.judge``): when it
arrives, so that a duplicate of a settled call need not wait, and when its turn starts. So the deliveries of a pair can
arrive together: the second one is next as soon as the first one is settled, and it is refused with ``out_of_order`` if
the first one failed. A repetition of a delivery that still runs waits behind it, and then gets its outcome.

A settlement counts from the end of its turn, although its commit is queued. The answer to a duplicate waits until that
is durable. The store judges each settlement again.

The receipts in memory are those of pairs with a delivery in progress, and of ``RECEIPTS_IN_MEMORY`` recent ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from goverse.errors import CallForgotten, CallVoid, GoverseError, OutOfOrder
from goverse.limits import DELIVERY_AGE_S_MAX, RECEIPTS_IN_MEMORY
from goverse.model.effects import ANY_VERSION
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery, Receipt, Verdict
from goverse.model.replies import decode_reply
from goverse.ports.clock import Clock
from goverse.ports.store import Store
from goverse_node.runtime.alone import Alone
from goverse_node.runtime.call import Call
from goverse_node.runtime.deadlines import Deadlines
from goverse_node.runtime.group_commit import Owner
from goverse_node.runtime.output_gate import OutputGate
from goverse_node.runtime.pair import Pair
from goverse_node.runtime.stats import NodeStats
from goverse_node.runtime.store_answer import outcome, refusal
from goverse_node.runtime.turn_effects import TurnEffects

Deliver = Callable[[Call], None]


class ReceivingHost(Protocol):
    """The part of a host that finds receipts and watches the deadlines of waiting calls.

    Attributes:
        alone: the place for the one suspect that may run.
    """

    alone: Alone
    clock: Clock
    deadlines: Deadlines
    stats: NodeStats
    store: Store

    def now(self) -> float:
        """Return the time of the loop's clock."""
        ...


class Receiver(Owner, Protocol):
    """The object that receives a delivery: its activation.

    Attributes:
        gate: its commits; set once it is loaded.
        receipts: its receipts, or None if it has received no reliable call.
    """

    receipts: Receipts | None

    @property
    def host(self) -> ReceivingHost: ...
    @property
    def key(self) -> ObjectKey: ...
    @property
    def gate(self) -> OutputGate: ...

    def deliver_again(self, call: Call) -> None:
        """Deliver a call that waited for an answer of the store."""
        ...


class Receipts:
    """The receipts of one object, by sender."""

    __slots__ = ("_asked", "_host", "_object", "_pairs", "_recent")

    def __init__(self, host: ReceivingHost, key: ObjectKey) -> None:
        """Read the receipts of the object ``key`` from the store."""
        self._host = host
        self._object = key
        self._pairs: WeakValueDictionary[ObjectKey, Pair] = WeakValueDictionary()
        self._recent: dict[ObjectKey, Pair] = {}
        self._asked: dict[ObjectKey, list[Call]] = {}

    def attach(self, call: Call, sender: ObjectKey, deliver: Deliver) -> Pair | None:
        """Attach the pair with ``sender`` to a delivery and return it.

        Returns:
            None if the call was refused, or waits for the store; then ``deliver`` receives it again. The calls of one
            sender stay in order.
        """
        pair = self._pairs.get(sender)
        if pair is None:
            if (waiting := self._asked.get(sender)) is not None:
                waiting.append(call)
                self._host.deadlines.watch(call)
                return None
            try:
                found = self._host.store.receipt(self._object, sender)
            except Exception as error:
                call.refuse(refusal(error))
                return None
            if isinstance(found, asyncio.Future):
                self._asked[sender] = [call]
                self._host.deadlines.watch(call)
                found.add_done_callback(lambda answer: self._found(sender, answer, deliver))
                return None
            pair = Pair(found)
        self._use(sender, pair)
        call.reliable = pair
        return pair

    def _found(self, sender: ObjectKey, answer: asyncio.Future[Receipt], deliver: Deliver) -> None:
        _, error = outcome(answer)
        if error is None:
            self._use(sender, Pair(answer.result()))
        for call in self._asked.pop(sender):
            self._host.deadlines.unwatch(call)
            if call.pointless:
                call.answer(Reply())
            elif error is not None:
                call.refuse(error)
            else:
                deliver(call)

    def _use(self, sender: ObjectKey, pair: Pair) -> None:
        self._pairs[sender] = pair
        recent = self._recent
        recent.pop(sender, None)
        recent[sender] = pair
        if len(recent) > RECEIPTS_IN_MEMORY:
            del recent[next(iter(recent))]


def receive(receiver: Receiver, call: Call, delivery: Delivery, *, active: bool) -> bool:
    """Attach the receipt of its sender to a delivery that arrives. An ``active`` receiver answers a duplicate at once.

    Returns:
        True if the delivery needs nothing further: it was answered, or waits for the store. False if it should run now,
        or wait for its turn.
    """
    call.readonly = False  # the deliveries of a pair run one after the other
    call.request.idempotency_key = None
    late = _too_old(delivery, receiver.host.clock.wall_ms())
    if late is not None:
        call.refuse(late)
        return True
    if receiver.receipts is None:
        receiver.receipts = Receipts(receiver.host, receiver.key)
    pair = receiver.receipts.attach(call, delivery.sender, receiver.deliver_again)
    if pair is None:
        return True
    is_repeated = pair.receipt.judge(delivery) is Verdict.DUPLICATE
    if is_repeated and active and answer_delivery(receiver, call):
        return True
    refusal = receiver.host.alone.refusal(call, delivery, receiver.host.now()) if delivery.alone else None
    if refusal is not None:
        call.refuse(refusal)
    return refusal is not None


def answer_delivery(receiver: Receiver, call: Call) -> bool:
    """Answer a delivery that does not run. Return False if it is next, so that its turn can start."""
    delivery, pair, request_id = call.request.delivery, call.reliable, call.request.request_id
    assert delivery is not None
    assert isinstance(pair, Pair)
    verdict = pair.receipt.judge(delivery)
    if verdict is Verdict.DUPLICATE:
        receiver.host.stats.repeated_deliveries += 1
        try:
            receiver.gate.answer_when_durable(receiver, call, _kept_outcome(pair.receipt, delivery, request_id))
        except GoverseError as error:
            call.refuse(error)
    elif verdict is Verdict.OUT_OF_ORDER:
        call.refuse(_too_early(pair.receipt, delivery))
    elif delivery.void:
        effects = TurnEffects()
        effects.settles = pair.settle(delivery, b"")
        reply = Reply(problem=Problem.of(CallVoid(), request_id), settled=True)
        receiver.gate.commit(receiver, call, reply, expected=ANY_VERSION, effects=effects)
    else:
        return False
    return True


def _kept_outcome(receipt: Receipt, delivery: Delivery, request_id: str) -> Reply:
    """Return the answer to a duplicate: the outcome of the call.

    Raises:
        DataNewer: a newer release wrote the outcome.
    """
    kept = receipt.outcome_of(delivery)
    if not kept:
        error = CallForgotten() if kept is None else CallVoid()
        return Reply(problem=Problem.of(error, request_id), settled=True)
    reply = decode_reply(kept, 0)
    reply.settled = True
    return reply


def _too_early(receipt: Receipt, delivery: Delivery) -> OutOfOrder:
    """Return the error for a delivery whose predecessor is not settled."""
    return OutOfOrder(
        f"call {delivery.id} of {delivery.sender} arrived before the call that it follows was settled (call number "
        f"{delivery.number}, after {delivery.prev}; the last one that was settled is {receipt.last})"
    )


def _too_old(delivery: Delivery, now_ms: int) -> GoverseError | None:
    """Return the error for a delivery that was on its way for too long, or None."""
    age_s = (now_ms - delivery.sent_ms) / 1000
    if age_s <= DELIVERY_AGE_S_MAX:
        return None
    return OutOfOrder(
        f"call {delivery.id} of {delivery.sender} was delivered {age_s:.0f} s ago by the clocks of the two nodes; "
        f"{DELIVERY_AGE_S_MAX:.0f} s are allowed. If this repeats, compare the clocks"
    )
