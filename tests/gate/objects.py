"""Object types that show a gate every kind of answer."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from goverse import BusinessError, Object, call


class InsufficientFunds(BusinessError):
    """The account holds less than the amount."""

    status = 402
    code = "insufficient_funds"


class Secret(Exception):
    """Something that nobody outside may see."""


class Counter(Object, delete="anyone"):
    """Counts."""

    value: int = 0

    @call
    async def increment(self, by: Annotated[int, Field(ge=-(2**53), le=2**53)] = 1) -> int:
        """Add to the counter.

        Returns the new value.
        """
        self.value += by
        return self.value

    @call(readonly=True)
    async def read(self) -> int:
        """Return the value."""
        return self.value

    @call(raises=(InsufficientFunds,))
    async def withdraw(self, amount: Annotated[int, Field(ge=1, le=1000)]) -> int:
        """Take away, if there is enough."""
        if amount > self.value:
            raise InsufficientFunds(f"there are {self.value}", balance=self.value)
        self.value -= amount
        return self.value

    @call
    async def fail(self) -> None:
        """Raise something unforeseen."""
        raise Secret("the password is swordfish")


class Kind(StrEnum):
    """What kind of message it is."""

    TEXT = "text"
    NOTICE = "notice"


class Item(BaseModel):
    """A message."""

    author: Annotated[str, Field(min_length=1, max_length=40)]
    text: Annotated[str, Field(max_length=500)]
    kind: Kind = Kind.TEXT
    day: date | None = None


class Room(Object, delete="anyone"):
    """A chat room."""

    topic: str
    messages: list[Item] = []

    async def on_create(self, topic: Annotated[str, Field(min_length=1, max_length=80)]) -> None:
        """Open the room."""
        self.topic = topic

    @call
    async def say(self, item: Item) -> int:
        """Add a message."""
        self.messages.append(item)
        return len(self.messages)

    @call(readonly=True)
    async def last(self, count: Annotated[int, Field(ge=1, le=50)] = 10) -> list[Item]:
        """Return the newest messages."""
        return self.messages[-count:]


class Part(BaseModel):
    """A part."""

    number: int


def _other_item() -> type[BaseModel]:
    class Item(BaseModel):
        """Not the item of a room."""

        part: Part

    return Item


class Store(Object, delete="anyone"):
    """Its Item is another one than Room's."""

    names: list[str] = []

    @call
    async def put(self, item: _other_item()) -> Part:  # type: ignore[valid-type]
        """Put an item in."""
        part = Part.model_validate(item.model_dump()["part"])
        self.names.append(str(part.number))
        return part

    @call
    async def get(self) -> list[str]:
        """Is named like one of the gate's own operations."""
        return self.names
