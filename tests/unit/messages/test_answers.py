"""Every error code has a meaning for the sender of a reliable call."""

from __future__ import annotations

import pytest

import goverse.errors
from goverse.errors import Executed, GoverseError
from goverse.model.effects import CallState
from goverse.model.frames import Problem, Reply
from goverse_node.messages.answers import ANSWERS, Answer, meaning_of, state_of
from goverse_node.messages.channel import Void


def test_every_error_code_of_goverse_has_a_meaning() -> None:
    classes = [
        value for value in vars(goverse.errors).values() if isinstance(value, type) and issubclass(value, GoverseError)
    ]

    assert {each.code for each in classes} - ANSWERS.keys() == set()


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (Reply(b"1", settled=True), Answer.SETTLED),
        (Reply(problem=Problem("sold_out", "", status=409), settled=True), Answer.SETTLED),
        (Reply(problem=Problem("call_forgotten", ""), settled=True), Answer.REFUSED),
        (Reply(problem=Problem("call_forgotten", "", status=410), settled=True), Answer.SETTLED),
        (Reply(b"1"), Answer.FAILED),
        (Reply(problem=Problem("invalid_arguments", "", status=409)), Answer.FAILED),
        (Reply(problem=Problem("overloaded", "")), Answer.REFUSED),
        (Reply(problem=Problem("unavailable", "", executed=Executed.NO)), Answer.REFUSED),
        (Reply(problem=Problem("unavailable", "", executed=Executed.UNKNOWN)), Answer.LOST),
        (Reply(problem=Problem("access_denied", "")), Answer.REJECTED),
        (Reply(problem=Problem("a_code_of_a_later_release", "")), Answer.FAILED),
    ],
)
def test_an_answer_is_classified(reply: Reply, meaning: Answer) -> None:
    assert meaning_of(reply) is meaning


@pytest.mark.parametrize(
    ("void", "expired", "state"),
    [
        (Void.EXPIRED, False, "expired"),
        (Void.CANCELLED, True, "cancelled"),
        (Void.SKIPPED, False, "dead"),
        (Void.DEAD, False, "dead"),
        (None, True, "expired"),
        (None, False, "dead"),
    ],
)
def test_a_void_outcome_gets_its_state_from_what_the_sender_knows(
    void: Void | None, expired: bool, state: CallState
) -> None:
    assert state_of(Reply(problem=Problem("call_void", ""), settled=True), void, expired=expired) == state


def test_a_business_error_with_the_code_of_a_void_call_is_a_failure() -> None:
    assert state_of(Reply(problem=Problem("call_void", "", status=409)), None, expired=True) == "failed"
