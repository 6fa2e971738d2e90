"""Tokens go around a ring of objects by reliable calls while the server is killed: count and order are exact."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from goverse.testing import ObjectHost
from tests.chaos.ring import Plan, Result, turn
from tests.chaos.ring_places import Place
from tests.cluster_processes import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.requirement("DUR-3")]

PLAN = Plan(places=30, hops=60, kill_every_s=0.3, kills_max=3, limit_s=300.0)


async def test_each_token_makes_its_hops_in_order_over_kills(tmp_path: Path) -> None:
    progress: list[str] = []
    result = await turn(tmp_path, PLAN, progress.append)

    assert result.problems == [], progress
    assert result.kills == PLAN.kills_max
    assert result.line().startswith("PASS ring  30 places, 1800 hops in ")


async def test_a_place_notices_a_token_that_is_not_the_expected_one() -> None:
    async with ObjectHost(Place) as host:
        place = host.acting_as(Place, "0").ref(Place, "5")
        for hop in (1, 3):
            await place.take(token=5 - hop, hop=hop, places=10, hops=3)

        assert await place.look() == (2, ["token 2 at hop 3 instead of token 3 at hop 2"])


def test_a_failed_run_says_what_is_wrong() -> None:
    assert Result(Plan(2, 3), 1.0, 1, ["place 1 took 2 tokens instead of 3"]).line() == (
        "FAIL ring  2 places, 6 hops in 1.0 s, 1 kills: place 1 took 2 tokens instead of 3"
    )


def test_the_command_ends_by_itself_and_prints_its_result() -> None:
    command = [sys.executable, "-m", "tests.chaos.ring", "--places", "5", "--hops", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("PASS ring  5 places, 35 hops in ")
