"""The rules of a saga: which call follows from the end of the running one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.limits import SAGA_RESULT_BYTES_MAX
from goverse.model.effects import CallState
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey
from goverse.model.sagas import Saga, SagaCall, decode_saga

pytestmark = pytest.mark.requirement("DUR-7")

FULL = Reply(problem=Problem("sold_out", "nothing is left", extra={"left": 0}, status=409))


def _call(method: str, number: int) -> SagaCall:
    return SagaCall(ObjectKey("default", "Stock", "größe"), f"{method}{number}", b'{"n":1.10}', 60_000, 3)


def _saga(*undoable: bool) -> Saga:
    steps = tuple(_call("do", number) for number in range(len(undoable)))
    undos = tuple(_call("undo", number) if each else None for number, each in enumerate(undoable))
    return Saga("ended", steps, undos)


def _run(saga: Saga, *states: CallState) -> list[str]:
    """Return the methods that run, and the end."""
    ran: list[str] = []
    for state in states:
        ran.append(saga.running.method)
        saga = saga.after(state, Reply(b"7") if state == "success" else FULL)
        if saga.ended is not None:
            return [*ran, saga.ended]
        saga = decode_saga(saga.encode())
    raise AssertionError(f"the saga goes on after {ran}")


def test_the_steps_run_in_order() -> None:
    saga = _saga(True, False, True)
    assert _run(saga, "success", "success", "success") == ["do0", "do1", "do2", "success"]


def test_completed_steps_are_undone_in_reverse_order() -> None:
    saga = _saga(True, False, True, True)
    ran = _run(saga, "success", "success", "success", "failed", "success", "success")
    assert ran == ["do0", "do1", "do2", "do3", "undo2", "undo0", "failed"]


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled", "dead"])
def test_a_first_step_without_effect_ends_the_saga(state: CallState) -> None:
    assert _run(_saga(True, True), state) == ["do0", "failed"]


def test_an_undo_without_effect_does_not_stop_the_others() -> None:
    ran = _run(_saga(True, True, True), "success", "success", "failed", "dead", "success")
    assert ran == ["do0", "do1", "do2", "undo1", "undo0", "dead"]


def test_the_outcome_has_the_results_or_the_reason() -> None:
    done = _saga(True, True).after("success", Reply(b"1.10")).after("success", Reply())
    assert (done.ended, done.outcome) == ("success", Reply(b"[1.10,null]"))

    undone = _saga(True, True).after("success", Reply(b"1")).after("failed", FULL).after("dead", FULL)
    problem = undone.outcome.problem
    assert problem is not None
    assert (undone.ended, problem.code, problem.status) == ("dead", "sold_out", 409)
    assert problem.extra == {"left": 0, "step": "Stock.do1", "state": "failed", "not_undone": ["Stock.undo0"]}


def test_a_step_whose_result_is_too_large_is_undone_itself() -> None:
    saga = _saga(True, True).after("success", Reply(b"1" * (SAGA_RESULT_BYTES_MAX + 1)))
    assert saga.running.method == "undo0"
    ended = saga.after("success", Reply())
    assert ended.outcome.problem is not None
    assert (ended.ended, ended.outcome.problem.code) == ("failed", "too_large")


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_every_saga_ends_and_leaves_all_or_nothing(undoable: list[bool], data: st.DataObject) -> None:
    saga, effects, undone = _saga(*undoable), list[int](), list[int]()
    states: list[CallState] = ["success", "failed", "expired", "cancelled", "dead"]
    while saga.ended is None:
        name, back = saga.running.method, saga.back
        state = data.draw(st.sampled_from(states))
        if state == "success" and not back:
            effects.append(int(name.removeprefix("do")))
        elif back:
            undone.append(int(name.removeprefix("undo")))
        saga = decode_saga(saga.encode()).after(state, Reply(b"7") if state == "success" else FULL)
    assert effects == list(range(len(effects)))
    if saga.ended == "success":
        assert (len(effects), undone) == (len(undoable), [])
    else:
        assert undone == [number for number in reversed(effects) if undoable[number]]
        assert (saga.ended == "dead") == bool(saga.failed_undos)
