"""Tests of the limit on open files: connections leave descriptors for the store."""

import logging
import resource

import pytest

from goverse_cli.descriptors import RESERVED, connections_within

INFINITY = resource.RLIM_INFINITY


@pytest.mark.requirement("GATE-9")
@pytest.mark.parametrize(
    ("soft", "hard", "served", "raised_to"),
    [
        (1_024, 524_288, 20_000, 20_000 + RESERVED),
        (1_024, INFINITY, 20_000, 20_000 + RESERVED),
        (1_024, 4_096, 4_096 - RESERVED, 4_096),
        (128, 128, 64, 128),
        (INFINITY, INFINITY, 20_000, None),
        (50_000, 50_000, 20_000, None),
    ],
)
def test_the_limit_is_raised_and_what_is_left_bounds_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, served: int, raised_to: int | None
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert connections_within(20_000) == served
    assert raised == ([] if raised_to is None else [(raised_to, hard)])


@pytest.mark.requirement("GATE-9")
def test_a_refusal_to_raise_the_limit_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError(limits)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert connections_within(20_000) == 1_024 - RESERVED


@pytest.mark.parametrize(("hard", "told"), [(20_000, ""), (4_096, f"ulimit -n {20_000 + RESERVED}")])
def test_only_a_noticeable_difference_is_logged_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hard: int, told: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with caplog.at_level(logging.WARNING, logger="goverse.serve"):
        connections_within(20_000)
    assert told in caplog.text
    assert bool(caplog.records) == bool(told)
