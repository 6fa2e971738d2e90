"""The change feed, read from the log after a cursor, and single changes, read at a position.

The log is read in a thread, in slices, so that a long read never blocks the event loop for long. The offsets at which
the last slices ended are cached. A reader that follows the log therefore continues without a search.

A position in the middle of a segment is found with *marks*: whatever reads a segment notes the offset of every 512th
record that it passes. The first read at a position scans the segment from its start, later ones at most 512 records.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from goverse.errors import CursorExpired
from goverse.limits import KIB
from goverse.model.records import Change, ChangeFilter
from goverse_node.stores.encoding import change_of, seq_of
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.refusals import damaged
from goverse_node.stores.wal.scan import Scan
from goverse_node.stores.wal.segment import RECORDS_AT

SLICE_RECORDS: Final = 1_000
SLICE_BLOCK: Final = 64 * KIB
OFFSETS_MAX: Final = 256
MARK_EVERY: Final = 512


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The changes to return: at most ``limit``, up to a position, of the objects that ``where`` selects."""

    limit: int
    upto: int
    where: ChangeFilter | None


@dataclass(slots=True)
class _Slice:
    """The result of one pass.

    Attributes:
        changes: the changes that were found.
        reached: the last position that was read.
        offset: the segment and the offset after that position.
        records: the number of records that were read.
    """

    changes: list[Change]
    reached: int
    offset: tuple[int, int]
    records: int = field(default=0)


class Feed:
    """Reads changes from the segments."""

    def __init__(self, directory: DataDirectory, files: Files, manifest: Callable[[], Manifest]) -> None:
        """Create a feed. ``manifest`` returns the current manifest; it is called for each slice."""
        self._directory = directory
        self._files = files
        self._manifest = manifest
        self._offsets: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._marks: dict[int, list[tuple[int, int]]] = {}

    async def at(self, seq: int) -> Change | None:
        """Return the change at a position; None if the record there makes none, or if the log does not have it.

        The caller makes sure that the position is not behind the end of the log.
        """
        try:
            found = await self.read(seq - 1, 1, seq)
        except CursorExpired:
            return None
        return found[0] if found else None

    async def read(self, after: int, limit: int, upto: int, where: ChangeFilter | None = None) -> Sequence[Change]:
        """Return up to ``limit`` changes with ``after < commit_seq <= upto`` that ``where`` selects, in order.

        Raises:
            CursorExpired: the log after ``after`` was trimmed; ``oldest`` is the oldest valid cursor.
        """
        found: list[Change] = []
        while after < upto and len(found) < limit:
            manifest = self._manifest()
            if manifest.segments[0] > after + 1:
                oldest = manifest.segments[0] - 1
                raise CursorExpired(f"changes after {after} are no longer kept", oldest=str(oldest))
            try:
                part = await asyncio.to_thread(self._slice, manifest, after, _Wanted(limit - len(found), upto, where))
            except FileNotFoundError:
                if self._manifest() is manifest:
                    raise
                continue  # the segment was trimmed after the manifest was read: try again with the new manifest
            found += part.changes
            after = part.reached
            self._offsets[after] = part.offset
            self._offsets.move_to_end(after)
            if len(self._offsets) > OFFSETS_MAX:
                self._offsets.popitem(last=False)
        return found

    def _slice(self, manifest: Manifest, after: int, wanted: _Wanted) -> _Slice:
        first, offset = self._find(manifest, after)
        part = _Slice([], after, (first, offset))
        for segment in (one for one in manifest.segments if one >= first):
            self._read_segment(segment, offset if segment == first else RECORDS_AT, part, wanted)
            if part.reached >= wanted.upto or len(part.changes) >= wanted.limit or part.records >= SLICE_RECORDS:
                return part
        first, offset = part.offset
        raise damaged(self._directory.segment(first), offset, f"the log ends before position {wanted.upto}")

    def _find(self, manifest: Manifest, after: int) -> tuple[int, int]:
        first = max(one for one in manifest.segments if one <= after + 1)
        known = self._offsets.get(after)
        if known is not None and known[0] in manifest.segments:
            return known
        for gone in self._marks.keys() - set(manifest.segments):
            self._marks.pop(gone, None)
        marks = self._marks.get(first, [])
        at = bisect_right(marks, (after, sys.maxsize))
        return (first, marks[at - 1][1]) if at else (first, RECORDS_AT)

    def _mark(self, segment: int, seq: int, offset: int) -> None:
        """Note that the record after position ``seq`` begins at ``offset``."""
        marks = self._marks.setdefault(segment, [])
        at = bisect_right(marks, (seq, sys.maxsize))
        if not at or seq - marks[at - 1][0] >= MARK_EVERY:
            insort(marks, (seq, offset))

    def _read_segment(self, first: int, offset: int, part: _Slice, wanted: _Wanted) -> None:
        handle = self._files.open(self._directory.segment(first))
        try:
            scan = Scan(handle, offset=offset, size=handle.size(), block=SLICE_BLOCK)
            for body in scan:
                seq = seq_of(body)
                if seq > wanted.upto:
                    return
                part.records += 1
                part.offset = (first, scan.end)
                if seq % MARK_EVERY == 0:
                    self._mark(first, seq, scan.end)
                if seq > part.reached:
                    part.reached = seq
                    change = change_of(body)
                    if change is not None and (wanted.where is None or wanted.where.selects(change.key)):
                        part.changes.append(change)
                if len(part.changes) >= wanted.limit or part.records >= SLICE_RECORDS or seq == wanted.upto:
                    return
        finally:
            handle.close()
