"""Each test is in one tier, the verbs select the tiers, and a quick test cannot start a process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess

import pytest
import uvloop

from tests.tiers import QUICK_SELECTION, SYSTEM_PATHS, SYSTEM_SELECTION, ProcessGuard, of_system_only, tier_of
from tests.tree import ROOT

SELECTIONS = {"quick": QUICK_SELECTION, "system": SYSTEM_SELECTION, "deploy": "deploy"}


def selected_by(*markers: str) -> set[str]:
    """Return the tiers whose verb runs a test with these markers."""
    known = {name: name in markers for name in ("deploy", "hypothesis", "system")}
    return {tier for tier, selection in SELECTIONS.items() if eval(selection, {}, known)}


@pytest.mark.parametrize("verb", ["test", "test-system", "verify-deploy"])
def test_a_verb_selects_its_tier(verb: str) -> None:
    recipe = re.search(rf"^{verb}: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    tier = {"test": "quick", "test-system": "system", "verify-deploy": "deploy"}[verb]

    (selection,) = re.findall(r'pytest\)?(?: \S+)? -m (?:"([^"]*)"|(\S+))', recipe[1].replace("PYTEST)", "pytest)"))

    assert "".join(selection) == SELECTIONS[tier]


@pytest.mark.parametrize(
    ("markers", "tier"), [((), "quick"), (("system",), "system"), (("deploy", "system"), "deploy")]
)
def test_each_test_is_run_by_one_verb(markers: tuple[str, ...], tier: str) -> None:
    assert selected_by(*markers) == {tier}


def test_a_quick_property_is_run_once_more_with_more_examples() -> None:
    assert selected_by("hypothesis") == {"quick", "system"}
    assert "--hypothesis-profile=thorough" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SYSTEM_PATHS)
def test_a_path_of_the_system_tier_exists_and_is_passed_over_by_the_quick_one(path: str) -> None:
    assert (ROOT / path).exists()
    assert of_system_only(ROOT / path / "test_it.py")


def test_a_quick_test_cannot_start_a_process(request: pytest.FixtureRequest) -> None:
    assert tier_of(request.node) == "quick"
    with pytest.raises(pytest.fail.Exception, match=r"starts a process: sleep 60\. .*`system`"):
        subprocess.run(["sleep", "60"], check=True)
    with pytest.raises(pytest.fail.Exception, match=r"starts a process: os\.fork"):
        os.fork()


def test_a_command_that_lists_files_is_allowed() -> None:
    assert subprocess.run(["git", "--version"], capture_output=True, check=True, text=True).stdout.startswith("git")


@pytest.mark.system
def test_a_process_that_python_did_not_start_is_found_by_the_account_of_the_kernel() -> None:
    guard = ProcessGuard()
    guard.begin()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_exit_code("true")) == 0

    with pytest.raises(pytest.fail.Exception, match="a child process of this test has ended"):
        guard.end()


async def _exit_code(*command: str) -> int:
    return await (await asyncio.create_subprocess_exec(*command)).wait()
