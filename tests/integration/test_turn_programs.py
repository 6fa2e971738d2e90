"""Random programs of calls, failures, re-entrant chains, cancellations and restarts check every guarantee of a turn."""

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from goverse.model.frames import Reply
from goverse_node.runtime.call import Call
from goverse_node.runtime.output_gate import OutputGate
from goverse_node.runtime.state import State
from tests.integration.turn_programs import CAUSES, OBJECTS, Action, Log, Run, WatchedStore
from tests.nodes import bench
from tests.tiers import examples

PAUSES = st.integers(0, 4)
TARGETS = st.sampled_from(OBJECTS)


def calls(method: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    """A client's call. Without attempts it has no idempotency key and is not retried."""
    given_ones = st.fixed_dictionaries(
        {"target": TARGETS, "method": st.just(method), "attempts": st.integers(0, 3), **arguments}
    )
    return given_ones.map(lambda chosen: Action("call", chosen))


def happens(what: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    return st.fixed_dictionaries(arguments).map(lambda chosen: Action(what, chosen))


def spreading(method: str) -> st.SearchStrategy[Action]:
    """Mostly in alphabetical order: two calls that spread towards each other wait until their deadlines."""

    def towards(target: str) -> st.SearchStrategy[Action]:
        targets = st.lists(st.sampled_from([each for each in OBJECTS if each >= target]), min_size=1, max_size=3)
        return st.tuples(calls(method, target=st.just(target)), targets).map(
            lambda both: Action("call", {**both[0].arguments, "targets": both[1], "nested": len(both[1])})
        )

    return TARGETS.flatmap(towards)


ACTIONS = st.one_of(
    calls("append", pauses=PAUSES, early=st.booleans()),
    calls("append_at_once"),
    calls("look", pauses=PAUSES),
    calls("cheat", pauses=PAUSES),
    calls("fail", pauses=PAUSES),
    calls("refuse", pauses=PAUSES),
    spreading("spread"),
    spreading("spread_at_once"),
    calls("round_trip", through=TARGETS, nested=st.just(1), early=st.booleans()),
    happens("twin", which=st.integers(0, 50)),
    happens("cancel", which=st.integers(0, 50)),
    happens("pass_time", turns=st.integers(1, 12)),
    happens("hold"),
    happens("release"),
    happens("fail_commit", how=st.sampled_from(["full", "failed", "odd", "conflict", "lost answer"])),
    happens("defer", deferring=st.booleans()),
    happens("answer"),
    happens("passivate"),
)
SLOW_ACTIONS = st.one_of(
    ACTIONS,
    ACTIONS,
    calls("stall", stubborn=st.booleans()),
    happens("restart"),
)


def run(program: list[Action], **options: Any) -> list[str]:
    """Run a program; return the violations that it finds."""

    async def main() -> list[str]:
        CAUSES.clear()
        store = WatchedStore()
        async with bench(Log, store=store, cancel_grace_s=0.02, hook_timeout_s=0.05, **options) as b:
            run = Run(b, store)
            for action in program:
                await run.act(action)
            return await run.finish()

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Programs fail on purpose, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


PROGRAMS = settings(
    derandomize=True,
    print_blob=True,
    max_examples=examples(50),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.requirement("OBJ-2", "OBJ-5", "OBJ-8", "OBJ-9", "DUR-1", "DUR-2")
@PROGRAMS
@given(st.lists(ACTIONS, min_size=8, max_size=60))
def test_programs_keep_every_promise(program: list[Action]) -> None:
    note(str(program))
    assert run(program) == []


@pytest.mark.requirement("OBJ-2", "OBJ-5", "OBJ-8", "OBJ-9", "DUR-1", "DUR-2", "GATE-6")
@settings(PROGRAMS, max_examples=examples(8))
@given(st.lists(SLOW_ACTIONS, min_size=5, max_size=40))
def test_programs_with_deadlines_and_restarts_keep_every_promise(program: list[Action]) -> None:
    note(str(program))
    assert run(program) == []


@pytest.mark.requirement("OBJ-5", "GATE-9")
@settings(PROGRAMS, max_examples=examples(12))
@given(st.lists(ACTIONS, min_size=8, max_size=60))
def test_programs_keep_every_promise_where_memory_and_queues_are_short(program: list[Action]) -> None:
    note(str(program))
    assert run(program, activations_max=1, mailbox_calls_max=3, inflight_calls_max=12) == []


def a_call(method: str, **arguments: Any) -> Action:
    return Action("call", {"target": "a", "method": method, "attempts": 0, **arguments})


PAUSE = Action("pass_time", {"turns": 10})


def test_a_node_that_answers_too_early_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer_immediately(_gate: OutputGate, _owner: object, call: Call, reply: Reply) -> None:
        call.answer(reply)

    program = [Action("hold"), a_call("append"), PAUSE, a_call("look"), PAUSE]
    assert run(program) == []
    monkeypatch.setattr(OutputGate, "answer_when_durable", answer_immediately)
    assert any("received (1,) while [] was durable" in each for each in run(program))


def test_a_node_that_does_not_undo_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    program = [a_call("fail"), PAUSE, a_call("append"), PAUSE]
    assert run(program) == []
    monkeypatch.setattr(State, "_undo", lambda _state, _turn: None)
    assert any("failed and took effect" in each for each in run(program))
