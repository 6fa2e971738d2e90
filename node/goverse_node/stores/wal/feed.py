"""The change feed, read from the log after a cursor.

The log is read in a thread, in slices, so that a long read never blocks the event loop for long. The offsets at which
the last slices ended are cached. A reader that follows the log therefore continues without a search.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from goverse.errors import CursorExpired
from goverse.limits import KIB
from goverse.model.records import Change
from goverse_node.stores.encoding import FULL, OBJECT, decode, seq_of
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.refusals import damaged
from goverse_node.stores.wal.scan import Scan
from goverse_node.stores.wal.segment import RECORDS_AT

SLICE_RECORDS: Final = 1_000
SLICE_BLOCK: Final = 64 * KIB
OFFSETS_MAX: Final = 256


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

    async def read(self, after: int, limit: int, upto: int) -> Sequence[Change]:
        """Return up to ``limit`` changes with ``after < commit_seq <= upto``, in order.

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
                part = await asyncio.to_thread(self._slice, manifest, after, (limit - len(found), upto))
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

    def _slice(self, manifest: Manifest, after: int, bounds: tuple[int, int]) -> _Slice:
        first, offset = self._find(manifest, after)
        part = _Slice([], after, (first, offset))
        for segment in (one for one in manifest.segments if one >= first):
            self._read_segment(segment, offset if segment == first else RECORDS_AT, part, bounds)
            if part.reached >= bounds[1] or len(part.changes) >= bounds[0] or part.records >= SLICE_RECORDS:
                return part
        first, offset = part.offset
        raise damaged(self._directory.segment(first), offset, f"the log ends before position {bounds[1]}")

    def _find(self, manifest: Manifest, after: int) -> tuple[int, int]:
        first = max(one for one in manifest.segments if one <= after + 1)
        known = self._offsets.get(after)
        return known if known is not None and known[0] in manifest.segments else (first, RECORDS_AT)

    def _read_segment(self, first: int, offset: int, part: _Slice, bounds: tuple[int, int]) -> None:
        limit, upto = bounds
        handle = self._files.open(self._directory.segment(first))
        try:
            scan = Scan(handle, offset=offset, size=handle.size(), block=SLICE_BLOCK)
            for body in scan:
                seq = seq_of(body)
                if seq > upto:
                    return
                part.records += 1
                part.offset = (first, scan.end)
                if seq > part.reached:
                    part.reached = seq
                    if body[FULL.size - 1] & OBJECT:
                        entry = decode(body)
                        part.changes.append(Change(seq, entry.key, entry.version, entry.state, entry.at_ms))
                if len(part.changes) >= limit or part.records >= SLICE_RECORDS or seq == upto:
                    return
        finally:
            handle.close()
