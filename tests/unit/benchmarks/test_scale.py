"""The commands behind the figures on scale run, and say what the page says they do."""

import sys

import pytest

from benchmarks import fan_out, planner


def test_the_planner_is_simulated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["planner", "--nodes", "12", "--shards", "256"])
    planner.main()
    told = capsys.readouterr().out.splitlines()
    assert "(at least 256)" in told[0]
    assert all("rounds, longest" in line for line in told)
    assert len(told) == 7


def test_what_a_change_weighs_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fan_out", "--nodes", "12", "--shards", "256"])
    fan_out.main()
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "12 nodes register and claim",
        "a node claims one more shard",
        "the leader writes new targets",
        "a node reports its load",
    ]
