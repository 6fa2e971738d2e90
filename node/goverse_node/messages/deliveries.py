"""The deliveries of a node that are on their way, within a budget, fair over all pairs.

Pairs that have something to deliver wait in a queue. The first one may deliver as much as its window, its receiver and
the budget of the node allow, and then goes to the end. Deliveries start in an iteration of the event loop of their own,
never inside of the commit that released them, and only ``_TURN_MAX`` per iteration: calls from outside come first.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from goverse.errors import Timeout
from goverse.limits import REQUEST_ID_BYTES_MAX
from goverse.model.caller import identified
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.receipts import Delivery
from goverse_node.messages.alarm import Alarm
from goverse_node.messages.commits import MessagesHost
from goverse_node.messages.outboxes import Outboxes, Pair
from goverse_node.messages.receivers import Receivers

Answered = Callable[[Pair, Delivery, Reply], None]

_TURN_MAX: Final = 128
_GRACE_S: Final = 5.0
"""A link answers at the deadline at the latest. A delivery without an answer some time later counts as a timeout, so
that a fault in a link cannot block a pair permanently."""


class _Flight:
    __slots__ = ("answer", "delivery", "ends", "over", "pair")

    def __init__(self, pair: Pair, delivery: Delivery, ends: float) -> None:
        self.pair = pair
        self.delivery = delivery
        self.ends = ends
        self.over = False
        self.answer: Future[Reply] | None = None


class Deliveries:
    """Starts deliveries and receives their answers.

    Attributes:
        on_their_way: the number of deliveries without an answer.
        repeated: the number of deliveries of calls that had been delivered before, since the start.
    """

    def __init__(
        self,
        host: MessagesHost,
        outboxes: Outboxes,
        alarm: Alarm,
        answered: Answered,
        suspected: Callable[[Pair, int], None],
    ) -> None:
        """Take the receivers of events.

        ``answered`` receives the answer to each delivery whose pair is still served, and ``suspected`` a pair with a
        suspect when it is served, with the time.
        """
        self._host = host
        self._outboxes = outboxes
        self._alarm = alarm
        self._answered = answered
        self._suspected = suspected
        self._budget = max(1, host.options.inflight_calls_max // 4)
        self._queue: deque[Pair] = deque()
        self._receivers: Receivers[Pair] = Receivers()
        self._flights: deque[_Flight] = deque()  # in the order of their ends
        self._serving = self._stopped = self._watching = False
        self.on_their_way = self.repeated = 0

    def stop(self) -> None:
        """Start no further delivery."""
        self._stopped = True
        self._queue.clear()

    def serve(self, pair: Pair) -> None:
        """Deliver what a pair has to deliver now, when it is its turn."""
        if pair.closed or pair.queued or pair.waiting or pair.delayed or self._stopped:
            return
        pair.queued = True
        self._queue.append(pair)
        self._proceed()

    def _proceed(self) -> None:
        if self._queue and not self._serving and self.on_their_way < self._budget:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve_queue)

    def _serve_queue(self) -> None:
        self._serving = False
        left = _TURN_MAX
        while self._queue and left > 0 and self.on_their_way < self._budget:
            pair = self._queue.popleft()
            pair.queued = False
            if not pair.closed:
                left -= 1 + self._serve(pair, min(left, self._budget - self.on_their_way))
        self._proceed()

    def _serve(self, pair: Pair, limit: int) -> int:
        """Start up to ``limit`` deliveries of a pair, and return their number."""
        room, receiver = self._receivers.room(pair.receiver), pair.receiver
        if not room:
            pair.waiting = True
            self._receivers.wait(receiver, pair)
            return 0
        now_ms = self._alarm.now_ms()
        found = pair.channel.due(now_ms, min(room, limit), wall_ms=self._host.clock.wall_ms())
        if found:
            self._receivers.started(receiver, len(found))
            self.on_their_way += len(found)
            for delivery in found:
                self._start(pair, delivery)
        if len(found) < room:
            self._wake(self._receivers.take(receiver))
        if pair.suspected:
            self._suspected(pair, now_ms)
        next_ms = pair.channel.next_ms()
        if next_ms is not None:
            if next_ms <= now_ms:
                self.serve(pair)
            else:
                self.serve_at(pair, next_ms)
        return len(found)

    def serve_at(self, pair: Pair, at_ms: int) -> None:
        """Deliver what a pair has to deliver at a time."""
        if pair.wakes_ms is None or at_ms < pair.wakes_ms:
            pair.wakes_ms = at_ms
            self._alarm.set(at_ms, partial(self._woken, pair, at_ms))

    def _woken(self, pair: Pair, at_ms: int) -> None:
        if pair.wakes_ms == at_ms:
            pair.wakes_ms = None
            self.serve(pair)

    def _wake(self, pair: Pair | None) -> None:
        """Serve a pair that waited for room at its receiver, or the next one if it was closed meanwhile."""
        while pair is not None and pair.closed:
            pair = self._receivers.take(pair.receiver)
        if pair is not None:
            pair.waiting = False
            self.serve(pair)

    # --- one delivery -------------------------------------------------------------------------------------------------

    def start_alone(self, pair: Pair, delivery: Delivery) -> None:
        """Start the delivery of a suspect."""
        if not self._stopped:
            self._receivers.started(pair.receiver, 1)
            self.on_their_way += 1
            self._start(pair, delivery)

    def _start(self, pair: Pair, delivery: Delivery) -> None:
        host = self._host
        call = self._outboxes.entries[delivery.number].call
        self.repeated += delivery.attempt > 1
        timeout_s = host.options.delivery_timeout_s
        deadline = host.now() + timeout_s
        request = Request(
            Operation.CALL,
            call.receiver,
            call.method,
            call.body,
            deadline,
            call.request_id or call.id[:REQUEST_ID_BYTES_MAX],
            caller=identified(call.subject).through((pair.sender,)),
            traceparent=call.traceparent,
            tracestate=call.tracestate,
            delivery=delivery,
        )
        flight = _Flight(pair, delivery, deadline + _GRACE_S)
        self._flights.append(flight)
        flight.answer = host.calls.submit(request)
        flight.answer.add_done_callback(partial(self._ended, flight))
        if not self._watching:
            self._watching = True
            self._alarm.set(self._alarm.now_ms() + round((timeout_s + _GRACE_S) * 1000), self._watch)

    def _watch(self) -> None:
        """End deliveries that no link has answered in time."""
        self._watching = False
        flights, now = self._flights, self._host.now()
        while flights and (flights[0].over or flights[0].ends <= now):
            flight = flights.popleft()
            if not flight.over and flight.answer is not None:
                flight.answer.cancel()
        if flights:
            self._watching = True
            self._alarm.set(self._alarm.now_ms() + 1 + round((flights[0].ends - now) * 1000), self._watch)

    def _ended(self, flight: _Flight, answer: Future[Reply]) -> None:
        flight.over = True
        while self._flights and self._flights[0].over:
            self._flights.popleft()
        self.on_their_way -= 1
        pair, reply = flight.pair, _unanswered() if answer.cancelled() else answer.result()
        overloaded = reply.problem is not None and reply.problem.code == "overloaded" and not reply.settled
        self._wake(self._receivers.ended(pair.receiver, success=reply.settled, overloaded=overloaded))
        if not pair.closed:
            self._answered(pair, flight.delivery, reply)
        self._proceed()


def _unanswered() -> Reply:
    return Reply(problem=Problem.of(Timeout("the delivery was not answered in time")))
