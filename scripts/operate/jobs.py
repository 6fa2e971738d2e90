"""Runs a Job to its end and gives back what it said."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from scripts.operate.programs import Programs, Refused

_PAUSE_S = 2.0
TROUBLE_S = 120.0
"""Time for which a cluster that does not answer is borne: a Job goes on without whoever waits for it."""

_FINAL = ("(NotFound)", "(Forbidden)", "(Unauthorized)", "(Invalid)", "(BadRequest)")

T = TypeVar("T")


def patiently(ask: Callable[[], T], *, trouble_s: float | None = None, pause_s: float | None = None) -> T:
    """Ask until there is an answer, for a bounded time.

    Raises:
        Refused: the last refusal, or one that no repetition changes.
    """
    end = time.monotonic() + (TROUBLE_S if trouble_s is None else trouble_s)
    while True:
        try:
            return ask()
        except Refused as error:
            if time.monotonic() >= end or any(word in str(error) for word in _FINAL):
                raise
        time.sleep(_PAUSE_S if pause_s is None else pause_s)


def run(programs: Programs, job: dict[str, Any], *, patience_s: float) -> str:
    """Create a Job, wait for its end, return its log.

    Raises:
        Refused: it failed, did not end in time, or the cluster did not answer for long; it is left for whoever wants
            to look.
    """
    name = job["metadata"]["name"]
    patiently(lambda: _create(programs, job))
    end = time.monotonic() + patience_s
    while True:
        try:
            status = patiently(lambda: programs.document("get", "job", name)).get("status", {})
        except Refused as error:
            raise Refused(f"{error}\nwhat becomes of the Job {name} is not known: kubectl get job {name}") from error
        conditions = conditions_of(status)
        if "Complete" in conditions:
            return _log(programs, name)
        if "Failed" in conditions:
            why = conditions["Failed"].get("message", "")
            raise Refused(f"the Job {name} failed: {why}\n{_log(programs, name, '--tail', '20')}")
        if time.monotonic() >= end:
            raise Refused(f"the Job {name} did not end in {patience_s:g} s; it goes on: kubectl logs job/{name}")
        time.sleep(_PAUSE_S)


def conditions_of(status: dict[str, Any]) -> dict[str, Any]:
    """Return the conditions that are true, by type."""
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    return {each["type"]: each for each in conditions if each["status"] == "True"}


def _create(programs: Programs, job: dict[str, Any]) -> None:
    """Create it; where an answer was lost, it is there already."""
    try:
        programs.kubectl("create", "--filename", "-", given=json.dumps(job))
    except Refused as error:
        if "(AlreadyExists)" not in str(error):
            raise


def _log(programs: Programs, name: str, *words: str) -> str:
    """Return what it said, or why that cannot be had: whether it is done was seen already."""
    try:
        return patiently(lambda: programs.kubectl("logs", f"job/{name}", "--all-containers", *words), trouble_s=20)
    except Refused as error:
        return f"{name}: its log cannot be had: {error}"
