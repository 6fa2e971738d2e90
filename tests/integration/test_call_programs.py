"""Random programs of reliable calls lose none, double none, and reorder none within a pair, on both embedded stores."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.integration.call_programs import PARTIES, Action, play
from tests.simulation.call_bugs import CALL_BUGS
from tests.tiers import examples

TARGETS = st.sampled_from(PARTIES)
WHICH = st.integers(0, 20)

PARCELS = st.fixed_dictionaries(
    {
        "to": TARGETS,
        "how": st.sampled_from(("take", "take", "slow", "refuse", "flaky", "break")),
        "attempts": st.integers(1, 8),
    },
    optional={
        "onward": TARGETS,
        "then": st.sampled_from(("ended", "ended", "ended_in_vain")),
        "has_id": st.just(True),
        "expires_s": st.sampled_from((0.05, 0.2, 0.4, 1.0)),
        "delay_s": st.sampled_from((0.1, 0.5)),
        "on_failure": st.sampled_from(("hold", "drop")),
    },
)


def happens(what: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    return st.fixed_dictionaries(arguments).map(lambda chosen: Action(what, chosen))


POSTS = happens(
    "post",
    party=TARGETS,
    method=st.sampled_from(("post", "post", "post", "post_silently", "post_and_fail")),
    parcels=st.lists(PARCELS, min_size=1, max_size=6),
)
WAITS = happens("wait", ms=st.sampled_from((0, 1, 10, 60, 300, 1_500)))
ACTIONS = st.one_of(
    POSTS,
    POSTS,
    POSTS,
    WAITS,
    WAITS,
    WAITS,
    happens("take_back", which=WHICH),
    happens("operate", how=st.sampled_from(("cancel", "skip", "retry")), which=WHICH),
    happens("redrive", which=WHICH, times=st.integers(1, 3)),
    happens("pause", source=TARGETS, target=TARGETS),
    happens("resume", source=TARGETS, target=TARGETS),
    happens("delete", party=TARGETS),
    happens("passivate"),
    happens("fail", how=st.sampled_from(("unavailable", "receipts", "removals")), times=st.integers(1, 3)),
    happens("hold", ms=st.sampled_from((5, 100, 3_000))),
    happens("kill"),
    happens("restart"),
)
PROGRAMS = settings(
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Methods fail on purpose, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.requirement("DUR-3")
@settings(PROGRAMS, max_examples=examples(60))
@given(st.lists(ACTIONS, min_size=6, max_size=40), st.integers(0, 2**32))
def test_no_call_is_lost_doubled_or_reordered(program: list[Action], seed: int) -> None:
    note(str(program))
    assert play(program, seed=seed).found == []


@pytest.mark.requirement("DUR-3")
@settings(PROGRAMS, max_examples=examples(12))
@given(st.lists(ACTIONS, min_size=6, max_size=40), st.integers(0, 2**32))
def test_no_call_is_lost_doubled_or_reordered_in_a_data_directory(program: list[Action], seed: int) -> None:
    note(str(program))
    with TemporaryDirectory(prefix="goverse-calls-") as directory:
        assert play(program, Path(directory), seed=seed).found == []


def posts(*parcels: dict[str, Any], method: str = "post") -> Action:
    return Action("post", {"party": "a", "method": method, "parcels": [{"to": "b", **parcel} for parcel in parcels]})


def fails(how: str, times: int = 1) -> Action:
    return Action("fail", {"how": how, "times": times})


PAUSE = Action("wait", {"ms": 1_000})
SHORT = Action("wait", {"ms": 0})


@pytest.mark.requirement("DUR-3", "QUA-8")
@pytest.mark.parametrize(
    ("bug", "program"),
    [
        ("calls-are-delivered-before-their-commit", [fails("unavailable"), posts({}), PAUSE]),
        ("the-order-of-a-pair-is-not-checked", [posts({"how": "break", "attempts": 2}, {}), PAUSE]),
        ("deliveries-are-acknowledged-before-their-receipt", [fails("receipts", 20), posts({}), PAUSE]),
        ("calls-are-removed-after-their-outcome", [fails("removals", 20), posts({"then": "ended"}), PAUSE]),
        (
            "outcomes-are-forgotten-too-early",
            [fails("removals", 50), posts({"then": "ended"}, {"then": "ended"}), PAUSE, Action("kill", {})],
        ),
        ("outboxes-are-not-read", [posts({"delay_s": 1.0}), SHORT, Action("restart", {}), PAUSE]),
        ("failed-turns-send", [posts({}, method="post_and_fail"), PAUSE]),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_broken_rule_is_found(bug: str, program: list[Action], monkeypatch: pytest.MonkeyPatch) -> None:
    assert play(program).found == []
    CALL_BUGS[bug].plant(monkeypatch)
    assert any(CALL_BUGS[bug].complaint in each for each in play(program).found)
