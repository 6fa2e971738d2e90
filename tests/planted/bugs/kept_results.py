"""Planted bugs in kept results and sagas."""

from __future__ import annotations

from typing import Any, Final

import pytest

from goverse.model.effects import Effects
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.runtime.kept_results import KeptResults
from tests.planted import Planted

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


PLANTED: Final = (
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
