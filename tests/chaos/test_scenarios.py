"""The scenarios of ``make chaos`` in their shortest form, on a shared cluster: no call fails, no acknowledged effect is
lost or doubled, and all responses are consistent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.history import Note, Told
from tests.chaos.scenario import APPLICATION, Scenario, perform
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Stage
from tests.cluster_processes import ROOT, Processes, Shape, cluster
from tests.linearizability import Outcome

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.requirement("CLU-3", "CLU-6", "CLU-9", "CLU-11", "DUR-1", "DUR-2", "QUA-2"),
    pytest.mark.asyncio(loop_scope="module"),
]


def is_apart(scenario: Scenario) -> bool:
    """Return True if a scenario needs servers that the shared cluster does not have."""
    return scenario.members > 1 or scenario.standby


SHORT = [scenario for scenario in SCENARIOS if scenario.short]
NODES = 3
SEED = 1
SHAPE = Shape(nodes=NODES, gates=2, shards=64, lease_ttl_s=2, application=APPLICATION, detoured=("n1",))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    async with cluster(tmp_path_factory.mktemp("cluster"), SHAPE) as processes:
        yield processes


@pytest_asyncio.fixture(loop_scope="module")
async def processes(shared: Processes) -> Processes:
    """The cluster with all its nodes, whatever the previous test did to it."""
    for number in range(1, NODES + 1):
        if f"n{number}" not in shared.nodes:
            shared.start_node(f"n{number}")
    await shared.ready()
    await shared.started()
    return shared


@pytest.mark.parametrize("scenario", [one for one in SHORT if not is_apart(one)], ids=lambda one: one.name)
async def test_callers_notice_no_more_than_time(processes: Processes, scenario: Scenario) -> None:
    result = await perform(scenario, processes, seed=SEED, brief=True, timed=False)

    assert result.problems == []
    assert result.tally.answered > 0


@pytest.mark.requirement("CLU-1")
@pytest.mark.parametrize("scenario", [one for one in SHORT if is_apart(one)], ids=lambda one: one.name)
async def test_callers_notice_no_more_than_time_with_more_servers(scenario: Scenario, tmp_path: Path) -> None:
    shape = replace(SHAPE, nodes=2, members=scenario.members, standby=scenario.standby, detoured=())
    async with cluster(tmp_path, shape) as processes:
        result = await perform(scenario, processes, seed=SEED, brief=True, timed=False)

    assert result.problems == []


async def test_a_planted_violation_fails_the_scenario(processes: Processes) -> None:
    async def lie(stage: Stage) -> None:
        journal = stage.load.history.journals[0]
        now = asyncio.get_running_loop().time()
        after = round(1e9 * now) + 10**15
        stage.load.history.note(journal, Note(None, after, after + 1, Outcome.DONE, Told(0, 0)))

    result = await perform(Scenario("lie", "an answer is stale", lie), processes, seed=SEED, brief=True, timed=False)

    assert any("does not see" in problem for problem in result.problems)
    assert result.line().startswith("FAIL lie")


def _verb(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


async def test_the_verb_teaches_its_use() -> None:
    listed, helped, refused = _verb("--list"), _verb("--help"), _verb("kill-nobody")

    assert [line.split()[0] for line in listed.stdout.splitlines()] == [scenario.name for scenario in SCENARIOS]
    assert "make chaos CHAOS_ARGS=" in helped.stdout
    assert (refused.returncode, "unknown scenario: kill-nobody" in refused.stderr) == (2, True)
