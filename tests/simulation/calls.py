"""What travels between a simulated gate and a simulated node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """How a send ended."""

    DONE = auto()
    MOVING = auto()
    UNSENT = auto()
    LOST = auto()


@dataclass(frozen=True)
class Answer:
    """What a node says; `entries` where it is DONE."""

    kind: Kind
    entries: tuple[int, ...] = ()


MOVING = Answer(Kind.MOVING)
Reply = Callable[[Answer], None]


@dataclass(frozen=True)
class Request:
    """One call to one object: with an `entry` it appends it, without it reads."""

    object: int
    shard: int
    entry: int | None
    key: str | None
    attempt: int
    reply: Reply
    recall: bool = False

    @property
    def looks_up(self) -> bool:
        """Whether its key may have been used before: keys that gates make are new on the first attempt."""
        return self.key is not None and (self.recall or self.attempt > 0 or not self.key.startswith("gv-"))
