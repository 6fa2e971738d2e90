"""Ids that the gate makes: for requests, and for objects whose creator named none."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

from goverse.model.object_ids import derived_id, time_ordered_id
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
        return time_ordered_id(self._clock.wall_ms(), self._entropy(10))

    def of_request(self, namespace: str, type_name: str, idempotency_key: str) -> str:
        """Return the id of the object that a create with this key makes, the same at every repetition."""
        return derived_id(namespace, type_name, idempotency_key)
