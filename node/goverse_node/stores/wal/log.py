"""Reader for the log: the records of all segments in order. Torn writes are tolerated, damage raises ``DataDamaged``.

Positions are consecutive within a segment and across segments, so a missing record is always noticed. Only the last
segment may end in a torn write, and only after the acknowledged mark. Anything else that cannot be read is damage.

Recovery, the compactor and all administration commands use this reader. It never changes a file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from goverse.errors import DataDamaged
from goverse_node.stores.encoding import COMMIT, EFFECTS, PREFIX, SEQ_AT, U64, seq_of
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.refusals import damaged, newer
from goverse_node.stores.wal.scan import Scan
from goverse_node.stores.wal.segment import RECORDS_AT, Mark, check_header, read_mark

_log = logging.getLogger("goverse.store.wal")

Progress = Callable[[str, int, int], None]
"""Progress callback: the name of the file, the bytes that were read, its size in bytes."""

_KNOWN: Final = frozenset({COMMIT, EFFECTS})
_read_seq = U64.unpack_from


@dataclass(slots=True)
class Tail:
    """The end of the last segment.

    Attributes:
        first_seq: the first position of the segment, which names it.
        end: the offset at which its last whole record ends.
        size: the size of the file.
        torn: the reason why the bytes after ``end`` are not a record; empty if only zeros or nothing follows.
        last_seq: the last position in the log.
        acknowledged_seq: the last position that is known to be acknowledged.
    """

    first_seq: int
    end: int
    size: int
    torn: str
    last_seq: int
    acknowledged_seq: int


class Log:
    """The segments that a manifest names."""

    def __init__(
        self, directory: DataDirectory, manifest: Manifest, files: Files, progress: Progress | None = None
    ) -> None:
        """Create a reader. ``tail`` is set when the last segment has been read to its end."""
        self.tail: Tail | None = None
        self._last_seq = 0
        self._directory = directory
        self._manifest = manifest
        self._files = files
        self._progress = progress

    def records(self, after: int, upto: int | None = None) -> Iterator[bytes]:
        """Yield the bodies with ``after < seq <= upto``, in order.

        Raises:
            DataDamaged: acknowledged records are damaged or missing. The message names the file and the offset.
            DataNewer: a newer release wrote a segment.
        """
        return chain.from_iterable(self.blocks(after, upto))

    def blocks(self, after: int, upto: int | None = None) -> Iterator[list[bytes]]:
        """Yield the same bodies as :meth:`records`, in lists, which is faster."""
        segments = self._manifest.segments
        following = (*segments[1:], None)
        if not segments or segments[0] > after + 1:
            path = self._directory.segment(segments[0]) if segments else self._directory.segments
            raise damaged(path, 0, f"the log starts here, records after position {after} are missing")
        for first, end in zip(segments, following, strict=True):
            if end is not None and end <= after + 1:
                continue
            if upto is not None and after >= upto:
                return
            expected = first
            for block in self._segment(first, end):
                # Positions are consecutive, so the requested records are found by counting.
                begin = max(0, after + 1 - expected)
                yield block[begin : None if upto is None else upto + 1 - expected]
                expected += len(block)
                if upto is not None and expected > upto:
                    return  # do not read on: the rest was not requested and may be damaged

    def _segment(self, first: int, following: int | None) -> Iterator[list[bytes]]:
        path = self._directory.segment(first)
        try:
            handle = self._files.open(path)
        except OSError as error:
            raise self._damaged(first, 0, f"the file cannot be opened: {error}") from error
        try:
            size = handle.size()
            readable, trouble = check_header(handle.read_at(RECORDS_AT, 0), self._manifest.origin, first, path)
            if not readable:
                raise self._damaged(first, 0, trouble)
            if trouble:
                _log.warning("%s: %s; its records are verified one by one", path, trouble)
            # Read before the records: in the directory of a running store the mark advances while they are read.
            mark = read_mark(handle)
            scan = Scan(handle, offset=RECORDS_AT, size=size)
            yield from self._consecutive(scan, first, following, size)
            if following is None:
                self._judge_tail(mark, scan, first, size)
        except OSError as error:
            raise self._damaged(first, 0, f"the file cannot be read: {error}") from error
        finally:
            handle.close()

    def _consecutive(self, scan: Scan, first: int, following: int | None, size: int) -> Iterator[list[bytes]]:
        expected = first
        for block in scan.blocks():
            bodies = block if following is None else block[: following - expected]
            seqs = [_read_seq(body, SEQ_AT)[0] for body in bodies]
            if seqs != list(range(expected, expected + len(bodies))):
                raise self._out_of_order(first, block, expected, scan.end)
            if not (kinds := {body[0] for body in bodies}) <= _KNOWN:
                raise newer(self._directory.segment(first), max(kinds), EFFECTS, scan.end)
            if self._progress is not None:
                self._progress(self._directory.segment(first).name, scan.end, size)
            yield bodies
            expected += len(bodies)
            if expected == following:
                break
        if following is not None and expected != following:
            why = scan.stopped or "the segment is too short"
            why = f"{why}; records {expected} to {following - 1} cannot be read"
            raise self._damaged(first, scan.end, why, expected)
        self._last_seq = expected - 1

    def _out_of_order(self, first: int, bodies: list[bytes], expected: int, end: int) -> DataDamaged:
        offset = end - sum(PREFIX.size + len(body) for body in bodies)
        for body in bodies:
            if seq_of(body) != expected:
                why = f"expected position {expected}, found {seq_of(body)}"
                return self._damaged(first, offset, why, expected)
            offset += PREFIX.size + len(body)
            expected += 1
        return self._damaged(first, end, "positions are not consecutive", expected)

    def _judge_tail(self, mark: Mark | None, scan: Scan, first: int, size: int) -> None:
        last_seq = self._last_seq
        path = self._directory.segment(first)
        if mark is None:
            if scan.stopped:
                why = f"{scan.stopped}, and it is unknown what was acknowledged because both marks are damaged"
                raise self._damaged(first, scan.end, why, last_seq + 1)
            _log.warning("%s: the acknowledged mark is damaged; all records are whole", path)
        elif mark.offset > scan.end:
            why = scan.stopped or "acknowledged records are missing"
            raise self._damaged(first, scan.end, f"{why}; position {mark.seq} was acknowledged", last_seq + 1)
        acknowledged = mark.seq if mark is not None else last_seq
        self.tail = Tail(first, scan.end, size, scan.stopped, last_seq, acknowledged)

    def _damaged(self, first: int, offset: int, why: str, lost: int | None = None) -> DataDamaged:
        good = (lost if lost is not None else first) - 1
        way_out = f"goverse restore --data-dir {self._directory.root} --to-seq {good} --into NEW_DIRECTORY"
        return damaged(
            self._directory.segment(first),
            offset,
            f"{why}. To restore the records before it: {way_out}",
            last_good_seq=str(good),
        )
