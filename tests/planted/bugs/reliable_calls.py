"""Bugs in the turns of reliable calls: what they commit, and which deliveries run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from goverse.errors import GoverseError
from goverse.model.effects import PendingCall
from goverse.model.frames import Reply
from goverse.model.receipts import Receipt, Settlement, Verdict
from goverse_node.messages.loading import Loading
from goverse_node.messages.marking import Marking
from goverse_node.runtime import activation
from goverse_node.runtime.activation import Activation
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import LateCommit, LateMark, Owner, PendingCommit
from goverse_node.runtime.output_gate import OutputGate
from goverse_node.runtime.pair import Pair
from goverse_node.runtime.receiving import answer_delivery
from goverse_node.runtime.turn import Turn
from goverse_node.runtime.turn_effects import TurnEffects, effects_of
from goverse_node.stores import receipt_rounds
from goverse_node.stores.outbox_table import OutboxTable
from tests.planted import Planted

_SENDING: Final = "tests/unit/node/test_sending.py::"
_RECEIVING: Final = "tests/unit/node/test_receiving.py::"
_MARKING: Final = "tests/unit/messages/test_marking.py::"
_CONCLUDING: Final = "tests/unit/node/test_concluding.py::"
_FORGETTING: Final = "tests/contract/test_stores.py::TestForgottenReceiptsOfTheMemoryStore::"


def _commit_no_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(call: Call, reply: Reply, effects: TurnEffects | None) -> TurnEffects:
        found = effects_of(call, reply, effects)
        found.settles = None
        return found

    monkeypatch.setattr(activation, "effects_of", planted)


def _run_whatever_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(receiver: Activation, call: Call) -> bool:
        delivery, pair = call.request.delivery, call.reliable
        assert delivery is not None
        assert isinstance(pair, Pair)
        return pair.receipt.judge(delivery) is not Verdict.OUT_OF_ORDER and answer_delivery(receiver, call)

    monkeypatch.setattr(activation, "answer_delivery", answer)


def _commit_changes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.answer

    def answer(
        self: OutputGate, owner: Owner, call: Call, reply: Reply, *, expected: int | None = None, **further: Any
    ) -> bool:
        if expected == self._state.instance.version:
            further["effects"] = None
        return original(self, owner, call, reply, expected=expected, **further)

    monkeypatch.setattr(OutputGate, "answer", answer)


def _send_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Activation._failed

    def failed(self: Activation, turn: Turn, failure: GoverseError) -> None:
        if turn.effects:
            version = self.state.instance.version
            self.gate.commit(self, None, Reply(), expected=version, effects=turn.effects)
        original(self, turn, failure)

    monkeypatch.setattr(Activation, "_failed", failed)


def _deliver_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.commit

    def commit(self: OutputGate, owner: Activation, call: Call | None, reply: Reply, **further: Any) -> None:
        original(self, owner, call, reply, **further)
        if self.queued:
            owner.host.outgoing.committed(self.queued[-1].record, 1)

    monkeypatch.setattr(OutputGate, "commit", commit)


def _cancel_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    original = LateCommit.__init__

    def begin(self: LateCommit, *arguments: Any) -> None:
        original(self, *arguments)
        self.waits = False

    monkeypatch.setattr(LateCommit, "__init__", begin)


def _mark_former_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def addressed(self: Marking, pending: PendingCommit, late_marks: Sequence[LateMark]) -> PendingCommit:
        del self, late_marks
        return pending

    monkeypatch.setattr(Marking, "addressed", addressed)


def _conclude_with_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Activation._failed

    def failed(self: Activation, turn: Turn, failure: GoverseError) -> None:
        if turn.call is not None and turn.call.reliable is not None:
            effects = effects_of(turn.call, Reply(), None)
            self.gate.commit(self, None, Reply(), expected=self.state.instance.version, effects=effects)
        original(self, turn, failure)

    monkeypatch.setattr(Activation, "_failed", failed)


def _ignore_pending_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt_rounds.Floors, "of", lambda self, _: self.floor)


def _settle_whatever_has_no_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutboxTable._after

    def after(self: OutboxTable, pair: bytes, settles: Settlement) -> Receipt:
        floors, self.rounds.floors = self.rounds.floors, receipt_rounds.Floors()
        try:
            return original(self, pair, settles)
        finally:
            self.rounds.floors = floors

    monkeypatch.setattr(OutboxTable, "_after", after)


def _forget_a_call_of_each_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Loading.__init__

    def planted(self: Loading, *arguments: Any, found: Callable[[PendingCall], None], **further: Any) -> None:
        known: set[object] = set()

        def find(call: PendingCall) -> None:
            if call.sender in known:
                found(call)
            known.add(call.sender)

        original(self, *arguments, found=find, **further)

    monkeypatch.setattr(Loading, "__init__", planted)


PLANTED: Final = (
    Planted(
        "receipt-of-a-pending-call-is-removed",
        _ignore_pending_calls,
        f"{_FORGETTING}test_a_receipt_is_kept_while_its_call_is_pending",
        "assert 1 == 0",
    ),
    Planted(
        "late-delivery-without-a-receipt-takes-effect",
        _settle_whatever_has_no_receipt,
        f"{_FORGETTING}test_a_receipt_goes_when_its_call_is_settled_for_good",
        "the call has taken effect",
    ),
    Planted(
        "receipts-are-not-in-the-commit",
        _commit_no_receipts,
        f"{_RECEIVING}test_receipts_outlive_the_deletion_of_the_receiver",
        complaint="assert 2 == 1",
    ),
    Planted(
        "deliveries-run-before-their-predecessors",
        _run_whatever_arrives,
        f"{_RECEIVING}test_a_delivery_without_its_predecessor_is_refused",
        complaint="== 'out_of_order'",
    ),
    Planted(
        "turns-that-only-send-are-not-committed",
        _commit_changes_only,
        f"{_SENDING}test_a_turn_that_only_sends_is_committed_and_does_not_raise_the_version",
        complaint="['first'",
    ),
    Planted(
        "failed-turns-send",
        _send_after_a_failure,
        f"{_SENDING}test_a_turn_that_fails_sends_nothing[send_and_refuse]",
        complaint="== ['first', 'last']",
    ),
    Planted(
        "calls-leave-before-their-commit",
        _deliver_before_the_commit,
        f"{_SENDING}test_a_call_leaves_with_the_commit_of_the_turn_and_not_earlier",
        complaint="== ([], False)",
    ),
    Planted(
        "queued-calls-are-cancelled-in-their-own-batch",
        _cancel_too_early,
        f"{_SENDING}test_a_call_whose_commit_is_queued_can_be_cancelled",
        complaint="assert [] == [Mark(",
    ),
    Planted(
        "marks-name-the-former-numbers-of-delayed-calls",
        _mark_former_numbers,
        f"{_MARKING}test_a_cancellation_behind_the_record_that_sends_the_call_again_is_durable[durable]",
        complaint="== 'cancelled'",
    ),
    Planted(
        "delayed-calls-are-sent-again-behind-their-cancellation",
        _mark_former_numbers,
        f"{_MARKING}test_a_call_is_not_sent_again_behind_its_cancellation",
        complaint="['cancelled', 'success']",
    ),
    Planted(
        "refused-outcomes-are-removed",
        _conclude_with_refusals,
        f"{_CONCLUDING}test_a_turn_that_fails_removes_nothing[business]",
        complaint="== (1, [])",
    ),
    Planted(
        "new-owners-forget-calls",
        _forget_a_call_of_each_sender,
        "tests/integration/cluster/test_reliable_calls.py::test_pending_calls_follow_their_shards[_left_fast]",
        complaint="== ((['success'] * 30)",
    ),
)
