"""Object types that make a gate send every kind of response."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from goverse import BusinessError, Object, call


class InsufficientFunds(BusinessError):
    """The balance is lower than the amount."""

    status = 402
    code = "insufficient_funds"


class Secret(Exception):
    """An exception whose text must not be shown to clients."""


class Counter(Object, delete="anyone"):
    """A counter."""

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
        """Subtract the amount if the value is high enough."""
        if amount > self.value:
            raise InsufficientFunds(f"there are {self.value}", balance=self.value)
        self.value -= amount
        return self.value

    @call
    async def fail(self) -> None:
        """Raise an unexpected exception."""
        raise Secret("the password is swordfish")


class Kind(StrEnum):
    """The kind of a message."""

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
        """An item that differs from the item of ``Room``."""

        part: Part

    return Item


class Store(Object, delete="anyone"):
    """A store. Its ``Item`` differs from the one of ``Room``."""

    names: list[str] = []

    @call
    async def put(self, item: _other_item()) -> Part:  # type: ignore[valid-type]
        """Add an item."""
        part = Part.model_validate(item.model_dump()["part"])
        self.names.append(str(part.number))
        return part

    @call
    async def get(self) -> list[str]:
        """Return the names. The method is named like an operation of the gate."""
        return self.names
