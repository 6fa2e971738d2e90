"""The census of a store: how many objects it has, and which ones have a hash in a range.

Rules that every implementation keeps (``goverse.testing.census_contract`` checks them on each):

1. ``living`` counts exactly the objects that exist durably. A deleted object does not count, one that is created again
   counts once.
2. Counting takes no time that grows with the number of objects.
3. ``within`` returns each existing object of a range once, in the order of the hashes. A page begins after the last
   object of the page before it, so objects may be created and deleted between two pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from goverse.model.records import ObjectPlace


class Census(Protocol):
    """Counts of objects, and access by hash. All methods are called on one event loop."""

    async def living(self) -> Mapping[tuple[str, str], int]:
        """Return the number of objects that exist, by namespace and type. Types without objects may be left out.

        Raises:
            Unavailable: the store is unavailable.
        """
        ...

    async def within(
        self, first: int, last: int, *, after: ObjectPlace | None = None, limit: int
    ) -> Sequence[ObjectPlace]:
        """Return up to ``limit`` objects whose 64-bit hash is from ``first`` to ``last``, after ``after``.

        They are sorted by hash, and by an order of the store among equal hashes. The hash is an unsigned number
        (``goverse.model.keys``).

        Raises:
            Unavailable: the store is unavailable.
        """
        ...
