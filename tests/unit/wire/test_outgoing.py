"""Sent and unsent requests, and whether each may have been executed after a failure."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from goverse.errors import Executed, GoverseError
from goverse.model.frames import Reply
from goverse.wire.outgoing import Budget, Outgoing
from tests.tiers import examples
from tests.unit.wire.frames import Slot, request


def outgoing(inflight_max: int = 10, bytes_max: int = 100, body_bytes_max: int = 50) -> Outgoing:
    return Outgoing(inflight_max=inflight_max, bytes_max=bytes_max, body_bytes_max=body_bytes_max)


def refused(error: GoverseError | None) -> tuple[str, Executed | None]:
    assert error is not None
    return error.code, error.link_verdict


def test_requests_beyond_the_limit_are_refused_until_replies_arrive() -> None:
    table = outgoing(inflight_max=2)
    assert [table.add(request(), Slot()) for _ in range(2)] == [None, None]
    assert refused(table.add(request(), Slot())) == ("overloaded", "no")
    (number, _), _ = table.take(10_000)
    assert table.answered(number) is not None

    assert table.add(request(), Slot()) is None


def test_a_node_that_does_not_answer_leaves_room_for_the_others() -> None:
    budget = Budget(100)
    stuck, healthy = (
        Outgoing(inflight_max=100, bytes_max=1_000, body_bytes_max=1_000, budget=budget) for _ in range(2)
    )
    assert [stuck.add(request(), Slot()) for _ in range(80)] == [None] * 80
    assert refused(stuck.add(request(), Slot())) == ("overloaded", "no")

    for _ in range(1_000):
        assert healthy.add(request(), Slot()) is None
        ((number, _),) = healthy.take(10_000)
        assert healthy.answered(number) is not None
    assert (len(stuck), len(healthy), budget.requests) == (80, 0, 80)


def test_room_is_freed_however_a_request_ends() -> None:
    budget = Budget(100)
    table = Outgoing(inflight_max=100, bytes_max=1_000, body_bytes_max=1_000, budget=budget)
    slots = [Slot() for _ in range(6)]
    for slot in slots[:3]:
        table.add(request(), slot)
    slots[0].set_result(Reply())  # given up before it was sent
    table.take(10_000)
    table.overdue(0.0)
    table.overdue(float("inf"))
    assert budget.requests == 0
    for slot in slots[3:5]:
        table.add(request(), slot)
    table.drain("bye")
    assert budget.requests == 0
    table.draining = None
    table.add(request(), slots[5])
    table.lose()
    assert budget.requests == 0


def test_unsent_bytes_are_limited() -> None:
    table = outgoing(bytes_max=100)
    assert table.add(request(b"x" * 50), Slot()) is None
    assert table.add(request(b"x" * 50), Slot()) is None
    assert refused(table.add(request(b"x"), Slot())) == ("overloaded", "no")
    table.take(10_000)

    assert table.add(request(b"x"), Slot()) is None


def test_a_body_that_fits_into_no_message_is_refused() -> None:
    assert refused(outgoing().add(request(b"x" * 51), Slot())) == ("too_large", "no")


@pytest.mark.requirement("GATE-8")
def test_a_draining_peer_gets_only_requests_that_its_turns_may_wait_for() -> None:
    table = outgoing()
    table.draining = "bye"

    assert refused(table.add(request(), Slot())) == ("draining", "no")
    assert table.add(request(chain=(request().key,)), Slot()) is None


@pytest.mark.requirement("GATE-8")
def test_unsent_requests_are_refused_when_the_peer_starts_to_drain() -> None:
    table = outgoing(bytes_max=30)
    table.add(request(), sent := Slot())
    table.take(10_000)
    table.add(request(b"x" * 30), unsent := Slot())
    table.add(request(chain=(request().key,)), needed := Slot())
    table.drain("bye")

    assert unsent.reply is not None
    assert unsent.reply.problem is not None
    assert (unsent.reply.problem.code, unsent.reply.problem.executed) == ("draining", "no")
    assert (sent.done(), needed.done()) == (False, False)
    assert len(table.take(10_000)) == 1
    assert table.add(request(b"x" * 30, chain=(request().key,)), Slot()) is None


def test_a_message_ends_at_its_target_size() -> None:
    table = outgoing()
    for _ in range(5):
        table.add(request(b"x" * 10), Slot())

    assert [len(table.take(300)) for _ in range(3)] == [2, 2, 1]
    assert table.unsent == 0


def test_a_request_given_up_before_it_was_sent_is_never_sent() -> None:
    table, slot = outgoing(), Slot()
    table.add(request(), slot)
    slot.given_up = True

    assert table.take(10_000) == []
    assert len(table) == 0


@pytest.mark.requirement("GATE-6")
def test_an_expired_request_says_whether_it_was_sent() -> None:
    table = outgoing()
    table.add(request(deadline=5.0), sent := Slot())
    ((number, _),) = table.take(10_000)
    table.add(request(deadline=5.0), unsent := Slot())
    table.add(request(deadline=9.0), Slot())

    assert table.overdue(4.9).expired == []
    overdue = table.overdue(5.0)

    assert [(entry.waiter, known) for entry, known in overdue.expired] == [
        (sent, Executed.UNKNOWN),
        (unsent, Executed.NO),
    ]
    assert overdue.cancels == [number]
    assert table.answered(number) is None


def test_a_lost_stream_separates_sent_from_unsent_requests() -> None:
    table = outgoing()
    table.add(request(), first := Slot())
    table.take(10_000)
    table.add(request(), second := Slot())
    table.draining = "bye"

    assert [(entry.waiter, known) for entry, known in table.lose()] == [
        (first, Executed.UNKNOWN),
        (second, Executed.NO),
    ]
    assert (len(table), table.unsent) == (0, 0)
    assert table.draining is None


class Program(RuleBasedStateMachine):
    """In any order of events, every request ends exactly once and leaves nothing behind."""

    def __init__(self) -> None:
        super().__init__()
        self.table = outgoing(inflight_max=5, bytes_max=60, body_bytes_max=30)
        self.now = 0.0
        self.waiting: dict[Slot, bool] = {}  # True if it was sent
        self.numbers: dict[int, Slot] = {}
        self.order: list[Slot] = []

    @rule(size=st.integers(0, 40), patience_s=st.floats(0.1, 3.0))
    def submit(self, size: int, patience_s: float) -> None:
        slot = Slot()
        if self.table.add(request(b"x" * size, deadline=self.now + patience_s), slot) is None:
            self.waiting[slot] = False
            self.order.append(slot)

    @rule(size=st.integers(1, 600))
    def write(self, size: int) -> None:
        unsent = [slot for slot in self.order if slot in self.waiting and not self.waiting[slot] and not slot.done()]
        for (number, _), slot in zip(self.table.take(size), unsent, strict=False):
            self.waiting[slot] = True
            self.numbers[number] = slot

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.numbers)))
        slot = self.numbers.pop(number)
        entry = self.table.answered(number)
        assert (entry is not None) == (slot in self.waiting)
        if entry is not None and not slot.given_up:
            assert entry.waiter is slot
            slot.set_result(Reply())
        self.waiting.pop(slot, None)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(list(self.waiting))).given_up = True

    @rule(seconds=st.floats(0.0, 2.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        overdue = self.table.overdue(self.now)
        for entry, known in overdue.expired:
            slot = entry.waiter
            assert isinstance(slot, Slot)
            assert not slot.done()
            assert self.waiting.pop(slot) == (known is Executed.UNKNOWN)
        for number in overdue.cancels:
            assert number in self.numbers
        for slot in [slot for slot in self.waiting if slot.given_up]:
            del self.waiting[slot]
        assert len(self.table) == len(self.waiting)

    @rule()
    def lose(self) -> None:
        lost = {entry.waiter: known for entry, known in self.table.lose()}
        expected = {slot: sent for slot, sent in self.waiting.items() if not slot.given_up}
        assert {slot: known is Executed.UNKNOWN for slot, known in lost.items()} == expected
        self.waiting.clear()
        assert (len(self.table), self.table.unsent) == (0, 0)

    @invariant()
    def nothing_is_forgotten_or_kept(self) -> None:
        assert len([slot for slot in self.waiting if not slot.given_up]) <= len(self.table) <= 5


Program.TestCase.settings = settings(max_examples=examples(10), stateful_step_count=30)
TestProgram = Program.TestCase
