"""A sorted set of object ids. The cost of a listing's page depends on its length, not on the number of objects.

The ids are stored in a list of short sorted lists. Two bisections find an id, and an insertion moves the entries of one
short list only. Python compares strings by code point, which is also the order of their UTF-8 bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

CHUNK = 512


class SortedIds:
    """A sorted set of strings."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Create the set from ``ids``, in any order and without duplicates."""
        ordered = sorted(ids)
        self._chunks = [ordered[at : at + CHUNK] for at in range(0, len(ordered), CHUNK)]
        self._last = [chunk[-1] for chunk in self._chunks]
        self._size = len(ordered)

    def __len__(self) -> int:
        """Return the number of ids."""
        return self._size

    def add(self, value: str) -> None:
        """Insert an id. It must not be in the set yet."""
        self._size += 1
        if not self._chunks:
            self._chunks.append([value])
            self._last.append(value)
            return
        at = min(bisect_left(self._last, value), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, value)
        if len(chunk) > 2 * CHUNK:
            # Ids are often added in ascending order. A nearly full left part then keeps the lists dense.
            cut = len(chunk) - CHUNK // 4 if chunk[-1] == value else CHUNK
            self._chunks.insert(at + 1, chunk[cut:])
            del chunk[cut:]
            self._last.insert(at, chunk[-1])
            at += 1
        self._last[at] = self._chunks[at][-1]

    def remove(self, value: str) -> None:
        """Remove an id. It must be in the set."""
        at = bisect_left(self._last, value)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, value)]
        self._size -= 1
        if chunk:
            self._last[at] = chunk[-1]
        else:
            del self._chunks[at], self._last[at]

    def page(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        """Return up to ``limit`` ids that start with ``prefix`` and are greater than ``after``, sorted."""
        found: list[str] = []
        for value in self._from(prefix, after):
            if len(found) >= limit or not value.startswith(prefix):
                break
            found.append(value)
        return found

    def last(self, *, before: str | None, limit: int) -> list[str]:
        """Return up to ``limit`` of the greatest ids, below ``before`` if it is given, in descending order."""
        found: list[str] = []
        first = len(self._chunks) - 1 if before is None else min(bisect_left(self._last, before), len(self._chunks) - 1)
        for at in range(first, -1, -1):
            chunk = self._chunks[at]
            end = len(chunk) if before is None else bisect_left(chunk, before)
            found += chunk[max(0, end - limit + len(found)) : end][::-1]
            if len(found) >= limit:
                break
        return found

    def _from(self, prefix: str, after: str | None) -> Iterator[str]:
        if after is None or after < prefix:
            bound, bisect = prefix, bisect_left
        else:
            bound, bisect = after, bisect_right
        first = bisect_left(self._last, bound)
        for at in range(first, len(self._chunks)):
            chunk = self._chunks[at]
            yield from chunk[bisect(chunk, bound) :] if at == first else chunk
