"""Cluster membership: the value that a node or gate registers, and a node's load figures.

Both are JSON. Unknown fields are ignored, so that releases can be mixed. A missing required field or a field of the
wrong type raises ``DataDamaged``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, cast

from goverse.errors import DataDamaged


class MemberState(Enum):
    """A member's state, as other processes should treat it."""

    SERVING = "serving"
    DRAINING = "draining"  # its shards move away and it gets no new ones
    RESTARTING = "restarting"  # it will return soon; its shards are kept for it for a while


@dataclass(frozen=True, slots=True)
class Member:
    """A registered node or gate.

    Attributes:
        id: its name, used by one live process at a time.
        address: ``host:port`` of its link server.
        incarnation: identifies this process; another process of the same id has another incarnation.
        release: the GoVerse release that it runs.
        wire: the oldest and the newest wire version that it speaks.
        weight: its share of the shards relative to other nodes; greater than 0.
        state: how others should treat it.
        admin: base URL of its metrics and health endpoints, ``http://host:port``; empty if unknown.
        tls: True if its streams are encrypted; None if unknown.
    """

    id: str
    address: str
    incarnation: str
    release: str = ""
    wire: tuple[int, int] = (1, 1)
    weight: float = 1.0
    state: MemberState = MemberState.SERVING
    admin: str = ""
    tls: bool | None = None

    def encode(self) -> bytes:
        """Return the etcd value."""
        return _json({**asdict(self), "state": self.state.value})

    @classmethod
    def decode(cls, value: bytes) -> Member:
        """Parse an etcd value.

        Raises:
            DataDamaged: the value does not describe a member.
        """
        fields = _Fields(value, "a member")
        oldest, newest = fields.wire()
        try:
            state = MemberState(fields.text("state"))
        except ValueError:
            state = MemberState.SERVING  # a state from a newer release: treat the member as serving
        weight = fields.number("weight")
        if not weight > 0:
            raise fields.damaged("weight")
        return cls(
            fields.text("id"),
            fields.text("address"),
            fields.text("incarnation"),
            fields.text("release"),
            (oldest, newest),
            weight,
            state,
            fields.text("admin", missing=""),
            fields.truth("tls"),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """A node's load figures.

    Attributes:
        activations: objects in memory.
        calls_per_s: turns per second.
        processor: used share of the processors that it may use, 0 to 1.
        memory: used share of the memory that it may use, 0 to 1.
        busiest: calls per second of its busiest shards.
    """

    activations: int = 0
    calls_per_s: float = 0.0
    processor: float = 0.0
    memory: float = 0.0
    busiest: Mapping[int, float] = field(default_factory=dict[int, float])

    def encode(self) -> bytes:
        """Return the etcd value."""
        return _json({**asdict(self), "busiest": {str(shard): calls for shard, calls in self.busiest.items()}})

    @classmethod
    def decode(cls, value: bytes) -> Load:
        """Parse an etcd value.

        Raises:
            DataDamaged: the value does not describe a load.
        """
        fields = _Fields(value, "a load")
        return cls(
            int(fields.number("activations")),
            fields.number("calls_per_s"),
            fields.number("processor"),
            fields.number("memory"),
            fields.busiest(),
        )


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":"), sort_keys=True).encode()


class _Fields:
    """The fields of a JSON object, checked when they are read."""

    def __init__(self, value: bytes, what: str) -> None:
        self._what = what
        try:
            fields = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataDamaged(f"{what} is not JSON") from error
        if not isinstance(fields, dict):
            raise DataDamaged(f"{what} is not a JSON object")
        self._fields = cast("dict[str, Any]", fields)

    def damaged(self, name: str) -> DataDamaged:
        return DataDamaged(f"{self._what} has a missing or invalid {name!r}")

    def text(self, name: str, *, missing: str | None = None) -> str:
        value = self._fields.get(name, missing)
        if not isinstance(value, str):
            raise self.damaged(name)
        return value

    def truth(self, name: str) -> bool | None:
        value = self._fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.damaged(name)
        return value

    def number(self, name: str) -> float:
        return self._checked(self._fields.get(name), name)

    def wire(self) -> tuple[int, int]:
        match self._fields.get("wire"):
            case [int(oldest), int(newest)] if 0 < oldest <= newest:
                return oldest, newest
            case _:
                raise self.damaged("wire")

    def busiest(self) -> dict[int, float]:
        value = self._fields.get("busiest")
        if not isinstance(value, dict):
            raise self.damaged("busiest")
        found: dict[int, float] = {}
        for shard, calls in cast("dict[str, Any]", value).items():
            if not (shard.isascii() and shard.isdecimal() and len(shard) <= 9):
                raise self.damaged("busiest")
            found[int(shard)] = self._checked(calls, "busiest")
        return found

    def _checked(self, value: object, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.damaged(name)
        try:
            number = float(value)
        except OverflowError as error:
            raise self.damaged(name) from error
        if not math.isfinite(number) or number < 0:
            raise self.damaged(name)
        return number
