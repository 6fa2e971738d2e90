"""Ids that the gate makes: for requests, and for objects whose creator named none."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from hashlib import blake2b
from itertools import count

from goverse.model.keys import ObjectKey
from goverse.ports.clock import Clock, SystemClock


class RequestIds:
    """Request ids: a random part for the process, then a count."""

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """Draw the random part."""
        self._prefix = entropy(6).hex()
        self._count = count(1)

    def __call__(self) -> str:
        """Return a new id."""
        return f"{self._prefix}-{next(self._count):x}"


class ObjectIds:
    """Ids for new objects: UUIDs of version 7, so that they sort by the time of creation."""

    def __init__(self, clock: Clock | None = None, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """Take time and randomness from outside where a test needs it."""
        self._clock = clock or SystemClock()
        self._entropy = entropy

    def new(self) -> str:
        """Return an id that nobody has."""
        time = (self._clock.wall_ms() & 0xFFFF_FFFF_FFFF).to_bytes(6, "big")
        return _uuid(time + self._entropy(10), version=7)

    def of_request(self, namespace: str, type_name: str, idempotency_key: str) -> str:
        """Return the id of the object that a create with this key makes, the same at every repetition."""
        parts = b"\x00".join(part.encode() for part in ObjectKey(namespace, type_name, idempotency_key))
        return _uuid(blake2b(parts, digest_size=16, person=b"goverse.newid").digest(), version=8)


def _uuid(raw: bytes, *, version: int) -> str:
    value = bytearray(raw)
    value[6] = (value[6] & 0x0F) | (version << 4)
    value[8] = (value[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(value)))
