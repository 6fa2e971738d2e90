"""Runs named tests with and without planted bugs: one pytest process collects them, and forks once per run."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

import tests.nodes
from tests.planted import PATIENCE_S, Planted, planted_bugs
from tests.tree import ROOT

RUN_S_MAX: Final = 60.0  # of one test
_PROFILE: Final = ("--hypothesis-profile", "thorough")  # a property must find its bug; seconds do not matter
_NAMES: Final = "GOVERSE_PLANTED"
_RESULTS: Final = "GOVERSE_PLANTED_RESULTS"


class Verdict(NamedTuple):
    """The outcome of an entry: the complaint about it, or None, and the duration of its run with the bug."""

    fault: str | None
    seconds: float


class Run(NamedTuple):
    """A run of a test: the report of its failure, or None if it passed. ``phase`` is the phase in which it failed."""

    failure: str | None
    phase: str
    seconds: float


def try_bugs(bugs: Sequence[Planted]) -> dict[str, Verdict]:
    """Try each bug; return the verdicts by name."""
    with tempfile.TemporaryDirectory(prefix="goverse-planted-") as directory:
        results = Path(directory, "results.json")
        files = sorted({bug.found_by.partition("::")[0] for bug in bugs})
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                __name__,
                "-p",
                "no:cacheprovider",
                "-q",
                "-m",
                "",
                *_PROFILE,
                *files,
            ],
            cwd=ROOT,
            env={**os.environ, _NAMES: ",".join(bug.name for bug in bugs), _RESULTS: str(results)},
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S_MAX * (1 + 2 * len(bugs)),
        )
        if not results.exists():
            raise AssertionError(f"the planted-bug list did not run:\n{ended.stdout}\n{ended.stderr}")
        return {name: Verdict(*verdict) for name, verdict in json.loads(results.read_text()).items()}


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run each test in a process of its own, instead of pytest's loop."""
    names = os.environ[_NAMES].split(",")
    everything, items = planted_bugs(), {item.nodeid: item for item in session.items}
    plain: dict[str, Run] = {}
    verdicts: dict[str, Verdict] = {}
    for bug in (everything[name] for name in names):
        item = items.get(bug.found_by)
        if item is None:
            verdicts[bug.name] = Verdict(f"no such test: {bug.found_by}", 0.0)
            continue
        if bug.found_by not in plain:
            plain[bug.found_by] = _apart(lambda item=item: _carry_out(item, None))  # type: ignore[misc]
        run = _apart(lambda item=item, bug=bug: _carry_out(item, bug))  # type: ignore[misc]
        verdicts[bug.name] = Verdict(judge(bug, plain[bug.found_by], run), run.seconds)
    Path(os.environ[_RESULTS]).write_text(json.dumps(verdicts))
    return True


def judge(bug: Planted, plain: Run, planted: Run) -> str | None:
    if plain.failure is not None:
        return f"{bug.found_by} fails without the bug:\n{plain.failure}"
    if planted.failure is None:
        return f"{bug.found_by} passes with the bug"
    if planted.phase != "call":
        return f"{bug.found_by} failed in {planted.phase}, not in its body:\n{planted.failure}"
    if bug.complaint not in planted.failure:
        return f"{bug.found_by} failed without saying {bug.complaint!r}:\n{planted.failure}"
    return None


def _carry_out(item: pytest.Item, bug: Planted | None) -> Run:
    """Run one test in this process, with ``bug`` planted."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as monkeypatch:
        if bug is not None:
            monkeypatch.setattr(tests.nodes, "PATIENCE_S", PATIENCE_S)
            bug.plant(monkeypatch)
        reports = runtestprotocol(item, log=False, nextitem=None)
    failed = next((report for report in reports if not report.passed), None)
    seconds = time.monotonic() - began
    return Run(None, "", seconds) if failed is None else Run(failed.longreprtext, failed.when, seconds)


def _apart(work: Callable[[], Run]) -> Run:
    """Do ``work`` in a forked process. One that takes too long or dies counts as a failure outside of the test."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _finish(work, writing)
    os.close(writing)
    try:
        told = _read(reading, time.monotonic() + RUN_S_MAX)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return Run(*json.loads(told)) if told else Run("the run took too long, or its process died", "its process", 0.0)


def _finish(work: Callable[[], Run], writing: int) -> None:
    """Do the work in the forked process, report it, and exit without the parent's clean-up."""
    try:
        told = json.dumps(work()).encode()
    except BaseException as error:
        told = json.dumps(Run(f"the bug could not be planted: {error!r}", "planting", 0.0)).encode()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(told)
    os._exit(0)


def _read(pipe: int, deadline: float) -> bytes:
    told = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        part = os.read(pipe, 1 << 16)
        if not part:
            return told
        told += part
    return b""
