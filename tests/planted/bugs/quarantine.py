"""Bugs in the quarantine of calls that may have ended a node."""

from __future__ import annotations

from typing import Final

import pytest

from goverse_node.messages.outboxes import Entry
from goverse_node.messages.quarantine import LAST_TRIAL, ON_TRIAL, SUSPECTED, Quarantine
from tests.planted import Planted

_QUARANTINE: Final = "tests/unit/messages/test_quarantine.py::"
_GIVEN_UP: Final = f"{_QUARANTINE}test_a_call_that_ends_its_node_is_given_up_after_three_trials"


def _run_before_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(self: Quarantine, entry: Entry) -> None:
        self._noted(entry, min(LAST_TRIAL, max(ON_TRIAL, entry.crashes + 1)), None)

    monkeypatch.setattr(Quarantine, "_mark", mark)


def _count_every_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Quarantine.read

    def read(self: Quarantine, entry: Entry, *, interrupted: bool) -> None:
        original(self, entry, interrupted=interrupted or entry.crashes > SUSPECTED)

    monkeypatch.setattr(Quarantine, "read", read)


def _judge_by_one_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Quarantine.read

    def read(self: Quarantine, entry: Entry, *, interrupted: bool) -> None:
        if interrupted and entry.crashes >= ON_TRIAL:
            entry.crashes = LAST_TRIAL
        original(self, entry, interrupted=interrupted)

    monkeypatch.setattr(Quarantine, "read", read)


PLANTED: Final = (
    Planted("suspects-run-before-their-mark-is-durable", _run_before_the_mark, _GIVEN_UP, complaint=" == 4\nE  "),
    Planted(
        "one-trial-condemns",
        _judge_by_one_trial,
        f"{_QUARANTINE}test_a_call_whose_node_is_ended_by_others_during_two_trials_takes_effect",
        complaint="'c1'",
    ),
    Planted(
        "trials-that-were-interrupted-condemn",
        _count_every_trial,
        f"{_QUARANTINE}test_a_trial_that_an_orderly_end_interrupts_does_not_count",
        complaint="== (['c1'], {})",
    ),
)
