"""Messages between the supervisor and a server process: JSON lines over a socket pair.

The end of the stream means that the other process has ended, whatever the reason.

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
    """The work of a server process.

    Attributes:
        target: application to import.
        flags: options of the command line by setting, each as ``(flag, value)``.
        config: settings file.
        listener: file descriptor of the listening socket.
    """

    target: str
    flags: dict[str, tuple[str, Any]]
    config: str | None
    listener: int


@dataclass(frozen=True, slots=True)
class Serve:
    """Open the data directory and serve on the socket. ``announce`` is True for the first process, which prints the
    banner.
    """

    announce: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the running calls and exit."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The application was imported; ``files`` are the modules of its folder that the import loaded."""

    files: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Serving:
    """The server process accepts requests."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The process cannot import or serve. ``by_application`` is True if a change of the application can fix it."""

    message: str
    exit_code: int
    by_application: bool = False


Message = Job | Serve | Stop | Imported | Serving | Failed

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in (Job, Serve, Stop, Imported, Serving, Failed)}


def encode(message: Message) -> bytes:
    """Encode a message as one line."""
    return orjson.dumps([type(message).__name__, asdict(message)]) + b"\n"


def decode(line: bytes) -> Message:
    """Decode the message of one line."""
    kind, members = orjson.loads(line)
    return _KINDS[kind](**members)
