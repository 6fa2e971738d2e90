"""Runs a Kubernetes Job to completion and returns its log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from scripts.operate.programs import Programs, Refused

_PAUSE_S = 2.0
TROUBLE_S = 120.0
"""Retry time while the API server does not respond. The Job itself keeps running during that time."""

_FINAL = ("(NotFound)", "(Forbidden)", "(Unauthorized)", "(Invalid)", "(BadRequest)")

T = TypeVar("T")


def patiently(ask: Callable[[], T], *, trouble_s: float | None = None, pause_s: float | None = None) -> T:
    """Retry ``ask`` until it succeeds, for at most ``trouble_s``.

    Raises:
        Refused: the last error, or one that a retry cannot fix.
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
    """Create a Job, wait until it ends, and return its log.

    Raises:
        Refused: the Job failed or did not end in time, or the API server did not respond for ``TROUBLE_S``. The Job is
            kept for inspection.
    """
    name = job["metadata"]["name"]
    patiently(lambda: _create(programs, job))
    end = time.monotonic() + patience_s
    while True:
        try:
            status = patiently(lambda: programs.document("get", "job", name)).get("status", {})
        except Refused as error:
            raise Refused(f"{error}\nthe state of the Job {name} is unknown: check kubectl get job {name}") from error
        conditions = conditions_of(status)
        if "Complete" in conditions:
            return _log(programs, name)
        if "Failed" in conditions:
            why = conditions["Failed"].get("message", "")
            raise Refused(f"the Job {name} failed: {why}\n{_log(programs, name, '--tail', '20')}")
        if time.monotonic() >= end:
            raise Refused(f"the Job {name} is still running after {patience_s:g} s: check kubectl logs job/{name}")
        time.sleep(_PAUSE_S)


def conditions_of(status: dict[str, Any]) -> dict[str, Any]:
    """Return the conditions that are true, by type."""
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    return {each["type"]: each for each in conditions if each["status"] == "True"}


def _create(programs: Programs, job: dict[str, Any]) -> None:
    """Create the Job. It may exist already if the response to an earlier attempt was lost."""
    try:
        programs.kubectl("create", "--filename", "-", given=json.dumps(job))
    except Refused as error:
        if "(AlreadyExists)" not in str(error):
            raise


def _log(programs: Programs, name: str, *words: str) -> str:
    """Return the log of the Job, or the reason why it cannot be read; the Job's result is known already."""
    try:
        return patiently(lambda: programs.kubectl("logs", f"job/{name}", "--all-containers", *words), trouble_s=20)
    except Refused as error:
        return f"{name}: the log cannot be read: {error}"
