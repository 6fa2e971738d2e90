"""Ids that the gate generates: for requests, and for objects that are created without an id."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

from goverse.model.object_ids import derived_id, time_ordered_id
from goverse.ports.clock import Clock, SystemClock


class RequestIds:
    """Request ids: a random prefix for the process, then a counter."""

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """Draw the prefix from ``entropy``."""
        self._prefix = entropy(6).hex()
        self._count = count(1)

    def __call__(self) -> str:
        """Return a new id."""
        return f"{self._prefix}-{next(self._count):x}"


class ObjectIds:
    """Ids for new objects: UUIDs of version 7, so that they sort by the time of creation."""

    def __init__(self, clock: Clock | None = None, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """Read time from ``clock`` and randomness from ``entropy``; tests pass their own."""
        self._clock = clock or SystemClock()
        self._entropy = entropy

    def new(self) -> str:
        """Return a unique id."""
        return time_ordered_id(self._clock.wall_ms(), self._entropy(10))

    def of_request(self, namespace: str, type_name: str, idempotency_key: str) -> str:
        """Return the id for a create with this idempotency key. Retries get the same id."""
        return derived_id(namespace, type_name, idempotency_key)
