"""Bugs in turns: isolation, output gate, idempotency keys, deadlines, activations."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any, Final

import pytest

from goverse.errors import GoverseError
from goverse.model.frames import Reply
from goverse_node.runtime import activation as activations
from goverse_node.runtime import idempotency, method_errors
from goverse_node.runtime.activation import Activation, Phase
from goverse_node.runtime.call import Call
from goverse_node.runtime.contexts import TurnContexts
from goverse_node.runtime.group_commit import Owner, PendingCommit
from goverse_node.runtime.idempotency import Leaders
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.output_gate import OutputGate
from goverse_node.runtime.state import State
from goverse_node.runtime.turn import Turn
from tests.planted import Planted

_NODE: Final = "tests/unit/node/"


def _keep_what_was_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Activation.settled

    def settled(self: Activation, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        if error is None:
            original(self, pending, commit_seq, None)
            return
        self.gate.tail = None if self.gate.tail is pending else self.gate.tail
        if pending.call is not None:
            pending.call.refuse(error)

    monkeypatch.setattr(Activation, "settled", settled)


def _ignore_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Activation, "fenced", lambda _self: None)


def _answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_gate: OutputGate, _owner: object, call: Call, reply: Reply) -> None:
        call.answer(reply)

    monkeypatch.setattr(OutputGate, "answer_when_durable", answer)


def _answer_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.commit

    def commit(self: OutputGate, owner: Owner, call: Call | None, reply: Reply, **further: Any) -> None:
        original(self, owner, call, reply, **further)
        if call is not None:
            call.answer(reply)

    monkeypatch.setattr(OutputGate, "commit", commit)


def _call_others_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def durable(_self: Activation) -> None:
        pass

    monkeypatch.setattr(Activation, "durable", durable)


def _share_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Current:
        def run(self, function: Any, *given: Any, **named: Any) -> Any:
            return function(*given, **named)

    original = TurnContexts.__init__

    def init(self: TurnContexts) -> None:
        original(self)
        self.new = Current  # type: ignore[assignment]

    monkeypatch.setattr(TurnContexts, "__init__", init)


def _inherit_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TurnContexts.__init__

    def init(self: TurnContexts) -> None:
        original(self)
        self.new = copy_context

    monkeypatch.setattr(TurnContexts, "__init__", init)


def _rebuild_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    original = State._rebuild

    def return_to(self: State, state: bytes | None, turn: Turn, *, guilty: object) -> None:
        del guilty
        original(self, state, turn)

    monkeypatch.setattr(State, "_return_to", return_to)


def _forgive_violations(monkeypatch: pytest.MonkeyPatch) -> None:
    original = State.observe

    def observe(self: State, turn: Turn) -> None:
        try:
            original(self, turn)
        finally:
            turn.condemned = None

    monkeypatch.setattr(State, "observe", observe)


def _overlook_strays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "undo_strays", lambda *_: None)


def _expire_with_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "extend", lambda *_: False)


def _never_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "runs_again", lambda *_: False)


def _take_any_body_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "fingerprint", lambda _request: b"the same for all")


def _execute_repeated_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leaders, "deduplicate", lambda *_: False)


def _forget_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OutputGate.answer

    def answer(self: OutputGate, owner: Owner, call: Call, reply: Reply, *, keep: bool = True, **further: Any) -> bool:
        return original(self, owner, call, reply, keep=keep and reply.problem is None, **further)

    monkeypatch.setattr(OutputGate, "answer", answer)


def _revive_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Activation._become_active

    def enliven(self: Activation, stored: Any) -> None:
        self.phase = Phase.LOADING
        original(self, stored)

    monkeypatch.setattr(Activation, "_become_active", enliven)


def _leave_groups_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_errors, "single", lambda error: error)


def _see_no_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "closes_cycle", lambda *_: False)


def _check_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Instance, "check_version", lambda *_: None)


PLANTED: Final = (
    Planted(
        "a-state-whose-commit-failed-stays-in-memory",
        _keep_what_was_not_stored,
        f"{_NODE}test_fenced_commits.py::test_an_object_whose_commit_was_refused_is_as_it_is_stored",
        "assert 2 == 1",
    ),
    Planted(
        "a-fenced-commit-is-no-news-to-the-node",
        _ignore_the_fence,
        f"{_NODE}test_fenced_commits.py::test_a_fenced_commit_ends_the_claim_and_the_activation",
        "claim.told",
    ),
    Planted(
        "a-reply-without-a-commit-leaves-at-once",
        _answer_at_once,
        f"{_NODE}test_output_gates.py::test_no_reply_leaves_before_its_commit",
        "== []",
    ),
    Planted(
        "a-reply-leaves-before-its-commit",
        _answer_before_the_commit,
        f"{_NODE}test_output_gates.py::test_no_reply_leaves_before_its_commit",
        "== []",
    ),
    Planted(
        "a-nested-call-leaves-before-the-commits-that-led-to-it",
        _call_others_before_the_commit,
        f"{_NODE}test_output_gates.py::test_no_call_leaves_before_the_commits_that_led_to_it",
        "resident",
    ),
    Planted(
        "turns-run-in-the-context-of-the-connection",
        _share_contexts,
        f"{_NODE}test_contexts.py::test_what_a_turn_sets_is_seen_by_no_other_call[plain-arguments0]",
        "'ann'",
    ),
    Planted(
        "turns-see-the-context-of-their-caller",
        _inherit_contexts,
        f"{_NODE}test_contexts.py::test_a_method_sees_the_same_whether_its_caller_set_something_or_not",
        "the test",
    ),
    Planted(
        "a-neighbour-that-is-undone-takes-references-away",
        _rebuild_instead,
        f"{_NODE}test_put_back.py::test_what_a_waiting_turn_adds_after_a_nested_one_was_undone_is_kept[list-True-now]",
        "book",
    ),
    Planted(
        "a-readonly-turn-may-catch-its-violation",
        _forgive_violations,
        f"{_NODE}test_put_back.py::test_a_readonly_turn_that_catches_its_violation_fails_all_the_same[list]",
        "method_failed",
    ),
    Planted(
        "a-stray-change-is-committed-by-the-next-turn",
        _overlook_strays,
        f"{_NODE}test_strays.py::test_a_change_that_no_turn_made_is_undone_before_the_next_turn[inc-start]",
        "102",
    ),
    Planted(
        "followers-expire-with-their-leader",
        _expire_with_the_leader,
        f"{_NODE}test_followers.py::test_a_turn_goes_on_for_a_follower_that_may_wait_longer",
        "timeout",
    ),
    Planted(
        "a-nested-timeout-of-the-leader-fails-its-followers",
        _never_run_again,
        f"{_NODE}test_followers.py::test_a_call_whose_nested_call_met_the_old_deadline_runs_again",
        "",
    ),
    Planted(
        "any-body-is-the-same-call",
        _take_any_body_for_the_same,
        f"{_NODE}test_idempotency.py::test_another_method_or_body_under_the_same_key_is_refused[at once]",
        "idempotency_key_mismatch",
    ),
    Planted(
        "a-repeated-call-is-executed-again",
        _execute_repeated_calls,
        f"{_NODE}test_groups.py::test_a_refusal_of_a_task_group_is_kept_under_the_key[1]",
        "replayed",
    ),
    Planted(
        "a-refusal-is-not-kept",
        _forget_refusals,
        f"{_NODE}test_groups.py::test_a_refusal_of_a_task_group_is_kept_under_the_key[1]",
        "replayed",
    ),
    Planted(
        "a-late-load-revives-an-activation",
        _revive_what_is_gone,
        f"{_NODE}test_late_loads.py::test_an_object_whose_shard_left_while_it_was_loading_stays_gone[closed]",
        "on_deactivate",
    ),
    Planted(
        "a-task-group-hides-a-refusal",
        _leave_groups_as_they_are,
        f"{_NODE}test_groups.py::test_a_refusal_of_a_task_group_is_kept_under_the_key[1]",
        "method_failed",
    ),
    Planted(
        "chains-that-wait-for-each-other-are-not-found",
        _see_no_rings,
        f"{_NODE}test_deadlocks.py::test_chains_in_a_ring_fail_with_deadlock_and_do_not_hang[names0]",
        "",
    ),
    Planted(
        "conditions-are-not-checked",
        _check_no_version,
        f"{_NODE}test_lifecycle.py::test_conditions_name_the_version_that_must_be",
        "version_mismatch",
    ),
)
