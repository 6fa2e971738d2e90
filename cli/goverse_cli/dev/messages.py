"""Messages between the supervisor and a server process, as JSON: a job on the command line, reports as lines."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Job(NamedTuple):
    """The work of a server process; ``listener`` and ``channel`` are the descriptors of sockets that it inherits."""

    target: str
    flags: dict[str, tuple[str, Any]]  # options of the command line by setting, each as (flag, value)
    config: str | None
    listener: int
    channel: int = -1


class Report(NamedTuple):
    """A step of a server process, or the reason why it ends: ``broken`` is a failure that an edit can fix."""

    state: Literal["imported", "serving", "broken", "failed"]
    files: list[str] = []  # imported modules of the application's folder
    message: str = ""
    exit_code: int = 0
    hint: str = ""
