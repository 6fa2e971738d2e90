"""Search for objects by their hash, in a table in memory.

The table has no index by hash, because few operations need one. A search looks at every object, in slices, so that it
never blocks the event loop for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from heapq import nsmallest
from typing import Final

from goverse.model.keys import ObjectKey, placement_hash
from goverse.model.records import ObjectPlace
from goverse_node.stores.table import Table

SLICE_IDS: Final = 500


async def within(table: Table, bounds: tuple[int, int], *, after: ObjectPlace | None, limit: int) -> list[ObjectPlace]:
    """Return up to ``limit`` objects whose hash is in ``bounds``, both included, sorted, after ``after``."""
    first, last = bounds
    found: list[ObjectPlace] = []
    for keys in _slices(table):
        places = [ObjectPlace(hashed, key) for key in keys if first <= (hashed := placement_hash(key)) <= last]
        found = nsmallest(limit, [*found, *(place for place in places if after is None or place > after)])
        await asyncio.sleep(0)
    return found


def _slices(table: Table) -> Iterator[list[ObjectKey]]:
    for type_table in table.type_tables():
        after: str | None = None
        while ids := type_table.ids.page(prefix="", after=after, limit=SLICE_IDS):
            yield [ObjectKey(*type_table.name, object_id) for object_id in ids]
            after = ids[-1]
