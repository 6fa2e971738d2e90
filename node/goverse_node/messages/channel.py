"""The sender's side of a pair: which of its pending calls to deliver next, and what each answer means.

A channel holds the unsettled calls from one object to another, in order. It delivers them in order, up to ``WINDOW`` at
a time, and repeats from the first unanswered one after a failure (go-back-N). A call leaves the channel when its
outcome is known, and each call has one outcome:

    pending ──▶ on its way ──▶ settled: the receiver committed the call's receipt with its effect
       ▲            │
       └────────────┘           failed (an attempt), refused for now (no attempt), too early, lost
       │
       ├──▶ void ──▶ on its way ──▶ settled: the receiver committed a receipt without effect
       ├──▶ held                an operator decides: retry or skip
       └──▶ suspected ──▶ alone ──▶ on its way        it may have ended a node (``goverse_node.messages.quarantine``)

    settled ──▶ removed: the sender committed the outcome

Expiry, cancellation, skipping and giving up only mark a call as *void*. The receiver decides: if the call took effect
before the void delivery arrived, its real outcome comes back instead. So a call that is reported as expired has not
taken effect, and never will.

After a failure only the first unsettled call is delivered, because calls behind it would arrive too early. Each settled
call doubles the number of deliveries again, up to ``WINDOW``.

A settled call stays in the channel until its sender has committed the outcome. Until then a restart of the sender would
deliver it again and ask for its outcome, so the receiver must keep that. ``Delivery.head`` tells the receiver up to
where outcomes are committed, and settled calls count among the ``WINDOW`` first ones.

Outcomes are committed in the order of the pair (``front``), so the calls in the sender's outbox are always the newest
ones of the pair, without a gap. The receiver therefore never has to keep more than ``WINDOW`` outcomes, also after a
restart of the sender.

The channel knows no clock and does no IO. Times are milliseconds of the store's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice, takewhile

from goverse.model.keys import ObjectKey
from goverse.model.receipts import WINDOW, Delivery


class Void(Enum):
    """The reason for which a call is settled without running it."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    DEAD = "dead"
    CRASHED = "crashed"  # nodes ended while it ran


@dataclass(slots=True)
class Pending:
    """A call that is not settled yet.

    Attributes:
        number: its place in the order of the pair.
        id: its id.
        expires_ms: the time at which it becomes void if it has not been settled by then.
        attempts_max: failed attempts after which it is given up.
        attempts: attempts that have failed.
        deliveries: deliveries that were made, failed or not.
        void: the reason why it must not run any more, or None.
        not_before_ms: the time of its next attempt.
        on_its_way: True while a delivery of it has no answer.
        settled: True once its outcome is known.
        holds: hold it, instead of giving it up, after its last attempt or a final refusal.
        held: True while it waits for an operator. The calls behind it wait as well.
        refusals: refusals since its last attempt; the wait after a refusal grows with it.
        suspected: True while it may have ended a node, so that only ``alone`` delivers it.
        lost_with: the process that its last delivery was lost with, or empty.
    """

    number: int
    expires_ms: int
    attempts_max: int
    attempts: int = 0
    deliveries: int = 0
    void: Void | None = None
    not_before_ms: int = 0
    on_its_way: bool = False
    settled: bool = False
    id: str = ""
    holds: bool = False
    held: bool = False
    refusals: int = 0
    suspected: bool = False
    lost_with: str = ""


class Channel:
    """The calls from one object to another whose outcomes the sender has not committed yet.

    Attributes:
        sender: the object that sends them.
        paused: True while an operator holds the pair.
    """

    def __init__(self, sender: ObjectKey) -> None:
        """Create an empty channel."""
        self.sender = sender
        self.paused = False
        self._window = WINDOW
        self._calls: deque[Pending] = deque()

    def __len__(self) -> int:
        """Return the number of calls in the channel."""
        return len(self._calls)

    def __iter__(self) -> Iterator[Pending]:
        """Iterate over the calls, in order."""
        return iter(self._calls)

    def append(self, call: Pending) -> None:
        """Add a call that was committed. Calls are added in the order of their numbers."""
        assert not self._calls or call.number > self._calls[-1].number, "calls of a pair are added in order"
        self._calls.append(call)

    def due(self, now_ms: int, limit: int = WINDOW, *, wall_ms: int = 0) -> list[Delivery]:
        """Return up to ``limit`` deliveries to make now, in order, and note that they are on their way.

        ``wall_ms`` is the time that the receiver compares with its own wall clock.
        """
        found: list[Delivery] = []
        if self.paused:
            return found
        prev, unsettled = 0, 0
        for call in islice(self._calls, WINDOW):
            if not call.settled:
                unsettled += 1
                if unsettled > self._window:
                    break
            if not call.on_its_way and not call.settled:
                if call.void is None and call.expires_ms <= now_ms:
                    self._make_void(call, Void.EXPIRED)
                if call.held or call.not_before_ms > now_ms or len(found) == limit:
                    break  # the calls behind it would arrive too early
                if call.suspected and call.void is None:
                    break
                found.append(self._deliver(call, prev, wall_ms))
            if not call.settled or prev:
                prev = call.number
        return found

    def next_ms(self) -> int | None:
        """Return the time at which ``due`` has to be asked again although nothing happened, or None for never.

        A time in the past means now. Only the window matters: later calls cannot be delivered before it moves. Of a
        suspected call only the expiry counts here.
        """
        if self.paused:
            return None
        unsettled = (call for call in islice(self._calls, WINDOW) if not call.settled)
        for call in islice(unsettled, self._window):
            if not call.on_its_way:
                if call.void is not None:
                    return call.not_before_ms
                return call.expires_ms if call.held or call.suspected else min(call.not_before_ms, call.expires_ms)
        return None

    def suspect(self) -> Pending | None:
        """Return the first unsettled call if it is suspected and could be delivered, now or after a wait."""
        if self.paused:
            return None
        call = next((call for call in self._calls if not call.settled), None)
        return call if call is not None and _may_be_alone(call) else None

    def alone(self, call: Pending, wall_ms: int) -> Delivery:
        """Return the delivery of a call that ``suspect`` returned, and note that it is on its way."""
        return self._deliver(call, 0, wall_ms)

    def front(self) -> list[Pending]:
        """Return the settled calls whose outcomes can be committed now: those with no unsettled call before them."""
        return list(takewhile(lambda call: call.settled, self._calls))

    def _deliver(self, call: Pending, prev: int, wall_ms: int) -> Delivery:
        call.on_its_way = True
        call.deliveries += 1
        head, void = self._calls[0].number, call.void is not None
        number, alone = call.number, call.suspected and not void
        return Delivery(self.sender, number, prev, head, call.deliveries, void, call.id, wall_ms, alone, call.lost_with)

    # --- answers ------------------------------------------------------------------------------------------------------

    def settle(self, number: int) -> Pending | None:
        """Note that the outcome of a call is known, and return the call; None if it was known before.

        The caller commits the outcome and then calls ``remove``.
        """
        call = self.find(number)
        if call is None or call.settled:
            return None
        call.settled = True
        call.on_its_way = False
        self._window = min(WINDOW, 2 * self._window)
        return call

    def remove(self, number: int) -> None:
        """Remove the first call, which is settled: its sender has committed the outcome."""
        first = self._calls[0]
        assert first.number == number, "outcomes are committed in the order of the pair"
        assert first.settled, "only a settled call is removed"
        self._calls.popleft()

    def failed(self, delivery: Delivery, next_ms: int) -> Pending | None:
        """Note that an attempt ran and failed without effect. The next one is at ``next_ms``.

        After the last attempt that the call is allowed it becomes void, or is held.

        Returns:
            The call, or None if the answer is to an older delivery.
        """
        call = self._take_back(delivery, next_ms)
        if call is not None and call.void is None:
            call.attempts += 1
            call.refusals = 0
            if call.attempts >= call.attempts_max:
                self._end_attempts(call)
        return call

    def rejected(self, delivery: Delivery) -> Pending | None:
        """Note that the call can never succeed. It becomes void, or is held. Returns what ``failed`` does."""
        call = self._take_back(delivery, 0)
        if call is not None and call.void is None:
            call.attempts += 1
            self._end_attempts(call)
        return call

    def refused(self, delivery: Delivery, next_ms: int) -> Pending | None:
        """Note that the receiver did not take the delivery: it is overloaded or moving, or the call came too early.

        This is not an attempt. Returns what ``failed`` does.
        """
        call = self._take_back(delivery, next_ms)
        if call is not None:
            call.refusals += 1
        return call

    def was_lost(self, delivery: Delivery, lost_with: str, next_ms: int) -> Pending | None:
        """Note that a delivery was lost with the process ``lost_with``, and with it those behind it.

        Returns what ``refused`` does.
        """
        for later in islice(self._calls, WINDOW):
            if later.on_its_way:
                later.lost_with = lost_with
        return self.refused(delivery, next_ms)

    def retry(self, number: int) -> bool:
        """Deliver a call now that is held, or waits for its next attempt. Return False if it is not waiting."""
        call = self.find(number)
        if call is None or call.settled or call.on_its_way:
            return False
        call.held = False
        call.not_before_ms = 0
        return True

    def give_up(self, number: int, reason: Void) -> bool:
        """Make a call void. Return False if it is settled already, or void for another reason.

        If a delivery is on its way, the void delivery follows when that has an answer.
        """
        call = self.find(number)
        if call is None or call.settled or call.void is not None:
            return False
        self._make_void(call, reason)
        return True

    def lost(self) -> None:
        """Deliver everything again: the process or the link that carried the deliveries has ended."""
        self._window = 1
        for call in islice(self._calls, WINDOW):
            call.on_its_way = False

    def find(self, number: int) -> Pending | None:
        """Return a call by its number, or None. Calls near the head are found fast."""
        return next((call for call in self._calls if call.number == number), None)

    def _take_back(self, delivery: Delivery, next_ms: int) -> Pending | None:
        """Deliver a call and all later ones again, in order. Return None if the answer is to an older delivery."""
        call = self.find(delivery.number)
        if call is None or not call.on_its_way or call.deliveries != delivery.attempt:
            return None
        self._window = 1
        call.not_before_ms = next_ms
        for later in islice(self._calls, WINDOW):
            if later.number >= call.number:
                later.on_its_way = False
        return call

    def _end_attempts(self, call: Pending) -> None:
        if call.holds:
            call.held = True
        else:
            self._make_void(call, Void.DEAD)

    def _make_void(self, call: Pending, reason: Void) -> None:
        call.void = reason
        call.held = False
        call.not_before_ms = 0


def _may_be_alone(call: Pending) -> bool:
    """True if a call waits to be delivered alone. A void call runs no code, so it need not be alone."""
    return call.suspected and call.void is None and not call.on_its_way and not call.held
