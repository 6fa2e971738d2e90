"""Planted bugs in kept results and sagas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from goverse.model.effects import Effects
from goverse.model.sagas import Saga
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.runtime.kept_results import KeptResults
from tests.planted import Planted

_SAGAS: Final = "tests/unit/model/test_sagas.py::"
_ONCE: Final = "tests/unit/node/test_once.py::"


class _Forgetful(dict[Any, Any]):
    def get(self, key: Any, default: Any = None) -> Any:
        del key
        return default


def _look_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    original = KeptResults.__init__

    def begin(self: KeptResults, notes: Any) -> None:
        original(self, notes)
        self._making = _Forgetful()

    monkeypatch.setattr(KeptResults, "__init__", begin)


def _keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Dispatcher.write

    def write(self: Dispatcher, key: Any, epoch: int, effects: Effects) -> Any:
        del effects
        return original(self, key, epoch, Effects())

    monkeypatch.setattr(Dispatcher, "write", write)


def _leave_the_first_undo_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Saga._back

    def back(self: Saga, before: int) -> Saga:
        return original(self, before if self.back else before - 1)

    monkeypatch.setattr(Saga, "_back", back)


def _undo_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def back(self: Saga, before: int) -> Saga:
        begin = self.position + 1 if self.back else 0
        end = len(self.results)
        left = [position for position in range(begin, end) if self.undos[position] is not None]
        del before
        return replace(self, position=left[0], back=True) if left else replace(self, back=True, ended="failed")

    monkeypatch.setattr(Saga, "_back", back)


PLANTED: Final = (
    Planted(
        "a-saga-leaves-an-undo-out",
        _leave_the_first_undo_out,
        f"{_SAGAS}test_completed_steps_are_undone_in_reverse_order",
        complaint="assert ['do0', 'do1', 'do2', 'do3', 'undo0', 'failed'] == ",
    ),
    Planted(
        "a-saga-undoes-its-steps-in-order",
        _undo_in_order,
        f"{_SAGAS}test_completed_steps_are_undone_in_reverse_order",
        complaint="assert ['do0', 'do1', 'do2', 'do3', 'undo0', 'undo2', ...] == ",
    ),
    Planted(
        "effects-are-repeated-while-their-result-is-queued",
        _look_too_early,
        f"{_ONCE}test_a_repetition_waits_for_a_result_whose_record_is_queued",
        complaint="assert 2 == 1",
    ),
    Planted(
        "results-are-not-kept",
        _keep_nothing,
        f"{_ONCE}test_a_result_survives_a_restart",
        complaint="assert 'ch_2' == 'ch_1'",
    ),
)
