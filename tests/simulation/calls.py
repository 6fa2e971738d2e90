"""The messages between a simulated gate and a simulated node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """The outcome of sending a request."""

    DONE = auto()
    MOVING = auto()
    UNSENT = auto()
    LOST = auto()


@dataclass(frozen=True)
class Answer:
    """The reply of a node; `entries` is set if the outcome is DONE."""

    kind: Kind
    entries: tuple[int, ...] = ()


MOVING = Answer(Kind.MOVING)
Reply = Callable[[Answer], None]


@dataclass(frozen=True)
class Request:
    """One call to one object: it appends `entry`, or reads if there is none."""

    object: int
    shard: int
    entry: int | None
    key: str | None
    attempt: int
    reply: Reply
    recall: bool = False

    @property
    def looks_up(self) -> bool:
        """True if the key may have been used before. A key that a gate made is new on the first attempt."""
        return self.key is not None and (self.recall or self.attempt > 0 or not self.key.startswith("gv-"))
