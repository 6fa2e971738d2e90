"""What supervisor and server process say to each other: JSON lines over a socket pair.

The end of the stream says more than any line: the other side is gone, whatever killed it.

    supervisor                        server process
        | Job            ->  |        imports the application
        |            <- Imported      (or Failed, and it ends)
        | Serve          ->  |        opens the store and serves
        |            <- Serving       (or Failed, and it ends)
        | Stop           ->  |        drains and ends
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Job:
    """What to serve: the target, flags by setting as ``(flag, value)``, the settings file, the socket's descriptor."""

    target: str
    flags: dict[str, tuple[str, Any]]
    config: str | None
    listener: int


@dataclass(frozen=True, slots=True)
class Serve:
    """The way is free: the data directory and the socket are yours. ``announce``: nothing was served before."""

    announce: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish what runs, and end."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The application was imported and could be served; ``files`` are the modules of its folder that this took."""

    files: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Serving:
    """Requests are answered."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be done: the message, the exit code, and whether a change of the application can mend it."""

    message: str
    exit_code: int
    by_application: bool = False


Message = Job | Serve | Stop | Imported | Serving | Failed

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Job, Serve, Stop, Imported, Serving, Failed)}


def encode(message: Message) -> bytes:
    """Return a message as one line."""
    return orjson.dumps([type(message).__name__, asdict(message)]) + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line."""
    kind, members = orjson.loads(line)
    return _KINDS[kind](**members)
