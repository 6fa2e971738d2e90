"""Bugs in reliable calls for the simulation to find (``tests.simulation.call_log`` reports them)."""

from __future__ import annotations

import asyncio
from asyncio import Future
from dataclasses import replace
from typing import Any, Final

import pytest

from goverse.errors import CallVoid, GoverseError
from goverse.model.effects import ANY_VERSION, Effects
from goverse.model.frames import Problem, Reply, Request
from goverse.model.receipts import Delivery, Receipt, Verdict
from goverse.model.records import CommitRecord
from goverse.routing.router import Router
from goverse_node.messages.channel import Channel
from goverse_node.messages.loading import Loading
from goverse_node.node import Node
from goverse_node.runtime.activation import Activation
from goverse_node.runtime.call import Call
from goverse_node.runtime.output_gate import OutputGate
from goverse_node.runtime.turn_effects import TurnEffects
from tests.simulation.planting import Bug, from_list
from tests.simulation.settings import Settings

CALLS: Final = Settings(clients=0, senders=4, send_s=0.3)
KILLS: Final = replace(
    CALLS, faults=("crash", "very_slow_store", "pause", "cut_from_store"), fault_every_s=0.5, send_s=0.2
)
MOVES: Final = replace(CALLS, faults=("crash", "break_streams", "drain", "pin", "very_slow_store"), fault_every_s=0.5)
SLOW: Final = replace(CALLS, faults=("pause", "break_streams", "lose_messages", "cut_from_store"), fault_every_s=0.5)


def _deliver_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.commit

    def commit(self: OutputGate, owner: Activation, call: Call | None, reply: Reply, **further: Any) -> None:
        original(self, owner, call, reply, **further)
        record = self.tail.record if self.tail is not None else None
        if record is not None and record.effects is not None and record.effects.sends:
            owner.host.outgoing.committed(record, owner.host.store.health().commit_seq + 1)

    monkeypatch.setattr(OutputGate, "commit", commit)


def _commit_receipts_after_the_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.commit

    def commit(
        self: OutputGate,
        owner: Activation,
        call: Call | None,
        reply: Reply,
        *,
        expected: int,
        effects: TurnEffects | None = None,
    ) -> None:
        if effects is None or effects.settles is None or expected in (ANY_VERSION, self._state.instance.version):
            original(self, owner, call, reply, expected=expected, effects=effects)
            return
        after = TurnEffects()
        after.settles, effects.settles = effects.settles, None

        def receipt(_seq: int, error: GoverseError | None) -> None:
            if error is None:
                original(self, owner, None, Reply(), expected=ANY_VERSION, effects=after)

        original(self, owner, call, reply, expected=expected, effects=effects)
        assert self.tail is not None
        self.tail.wait(receipt)

    monkeypatch.setattr(OutputGate, "commit", commit)


def _check_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(self: Receipt, delivery: Delivery) -> Verdict:
        return Verdict.DUPLICATE if delivery.number <= self.last else Verdict.NEXT

    monkeypatch.setattr(Receipt, "judge", judge)


def _acknowledge_before_the_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.commit

    def commit(self: OutputGate, owner: Activation, call: Call | None, reply: Reply, **further: Any) -> None:
        original(self, owner, call, reply, **further)
        if call is not None and call.request.delivery is not None:
            call.answer(reply)

    monkeypatch.setattr(OutputGate, "commit", commit)


def _remove_before_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Node.conclude

    def conclude(self: Node, request: Request, effects: Effects) -> Future[Reply]:
        shard = self.shard_access.shard_of(request.key)
        self.dispatcher.commits.commit(request.key, shard, effects, lambda _: None)
        return original(self, request, Effects())

    monkeypatch.setattr(Node, "conclude", conclude)


def _remove_after_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Node.conclude

    async def both(self: Node, request: Request, effects: Effects) -> Reply:
        reply = await original(self, request, Effects())
        if reply.problem is not None:
            return reply
        removed: Future[GoverseError | None] = asyncio.get_running_loop().create_future()
        shard = self.shard_access.shard_of(request.key)
        self.dispatcher.commits.commit(request.key, shard, effects, removed.set_result)
        error = await removed
        return reply if error is None else Reply(problem=Problem.of(error))

    monkeypatch.setattr(Node, "conclude", lambda *arguments: asyncio.ensure_future(both(*arguments)))


def _let_outcomes_go_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Channel._deliver

    def deliver(self: Channel, *arguments: Any) -> Delivery:
        delivery = original(self, *arguments)
        return replace(delivery, head=delivery.number)

    monkeypatch.setattr(Channel, "_deliver", deliver)


def _take_sends_for_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_check(record: CommitRecord) -> bool:
        return bool(record.epoch) and not record.changes_object and record.reply is None

    monkeypatch.setattr("goverse_node.stores.memory.is_check", is_check)


def _void_without_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Router.submit

    def submit(self: Router, request: Request) -> Future[Reply]:
        if request.delivery is None or not request.delivery.void:
            return original(self, request)
        answer: Future[Reply] = asyncio.get_running_loop().create_future()
        answer.set_result(Reply(problem=Problem.of(CallVoid()), settled=True))
        return answer

    monkeypatch.setattr(Router, "submit", submit)


def _read_no_outboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loading, "start", lambda self, opened, _: self._done(opened))


NEVER_ENDED: Final = "never ended"

CALL_BUGS: Final[dict[str, Bug]] = {
    "calls-are-delivered-before-their-commit": Bug(
        _deliver_before_the_commit, KILLS, "took effect, and was not sent", 1
    ),
    "receipts-are-committed-after-the-effect": Bug(_commit_receipts_after_the_effect, KILLS, "took effect twice", 9),
    "the-order-of-a-pair-is-not-checked": Bug(_check_no_order, MOVES, "overtook"),
    "deliveries-are-acknowledged-before-their-receipt": Bug(
        _acknowledge_before_the_receipt, KILLS, "as success, and its receiver committed nothing"
    ),
    "calls-are-removed-before-their-outcome": Bug(_remove_before_the_outcome, KILLS, "without its then"),
    "calls-are-removed-after-their-outcome": Bug(_remove_after_the_outcome, KILLS, "was received twice"),
    "outcomes-are-forgotten-too-early": Bug(_let_outcomes_go_too_early, KILLS, NEVER_ENDED, 1),
    "turns-that-only-send-count-as-checks": Bug(_take_sends_for_a_check, KILLS, NEVER_ENDED),
    "void-calls-end-without-their-receiver": Bug(
        _void_without_the_receiver, SLOW, "took effect after it was reported", 1
    ),
    "outboxes-are-not-read": Bug(_read_no_outboxes, MOVES, NEVER_ENDED),
    "failed-turns-send": Bug(from_list("failed-turns-send"), CALLS, "was sent by a turn that failed"),
}
