"""Bugs in the lease, the fence and what a node may still answer."""

from __future__ import annotations

from typing import Final

import pytest

from goverse.model.frames import Reply
from goverse_node import answers, reading
from goverse_node.activation import Activation
from goverse_node.call import Call
from goverse_node.ownership.keeper import Keeper
from tests.planted import Planted

_REPLACED: Final = "tests/integration/cluster/test_replaced_owners.py::"
_LOOKS: Final = f"{_REPLACED}test_a_replaced_node_answers_no_readonly_call_from_memory"
_READS: Final = f"{_REPLACED}test_a_replaced_node_reads_the_state_that_is_stored_now"
_FENCED: Final = f"{_REPLACED}test_a_node_whose_commit_was_fenced_off_gives_up_the_shard"


def _confirm_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(activation: Activation, call: Call, reply: Reply) -> None:
        call.answer(reply)

    monkeypatch.setattr(answers, "confirm", confirm)


def _read_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    original = reading._in_memory

    def in_memory(node: object, key: object) -> Reply | None:
        with monkeypatch.context() as during:
            during.setattr(Keeper, "may_answer", lambda *_: True)
            return original(node, key)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "_in_memory", in_memory)


def _always_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "may_answer", lambda *_: True)


def _ignore_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "fenced", lambda *_: None)


PLANTED: Final = (
    Planted("unconfirmed-replies-leave-after-the-lease", _confirm_nothing, _LOOKS, "the value 1"),
    Planted("reads-from-memory-after-the-lease", _read_from_memory, _READS, "assert [1"),
    Planted("readonly-calls-from-memory-after-the-lease", _always_answer, _LOOKS, "the value 1"),
    Planted("a-fenced-shard-is-kept", _ignore_the_fence, _FENCED, "did not come true"),
)
