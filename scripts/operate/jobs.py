"""Runs a Job to its end and gives back what it said."""

from __future__ import annotations

import json
import time
from typing import Any

from scripts.operate.programs import Programs, Refused

_PAUSE_S = 2.0


def run(programs: Programs, job: dict[str, Any], *, patience_s: float) -> str:
    """Create a Job, wait for its end, return its log.

    Raises:
        Refused: it failed, or did not end in time; it is left for whoever wants to look.
    """
    name = job["metadata"]["name"]
    programs.kubectl("create", "--filename", "-", given=json.dumps(job))
    end = time.monotonic() + patience_s
    while True:
        status = programs.document("get", "job", name).get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
        if "Complete" in conditions:
            return programs.kubectl("logs", f"job/{name}", "--all-containers")
        if "Failed" in conditions:
            why = conditions["Failed"].get("message", "")
            raise Refused(f"the Job {name} failed: {why}\n{_last_words(programs, name)}")
        if time.monotonic() >= end:
            raise Refused(f"the Job {name} did not end in {patience_s:g} s; it goes on: kubectl logs job/{name}")
        time.sleep(_PAUSE_S)


def _last_words(programs: Programs, name: str) -> str:
    try:
        return programs.kubectl("logs", f"job/{name}", "--all-containers", "--tail", "20")
    except Refused as error:
        return str(error)
