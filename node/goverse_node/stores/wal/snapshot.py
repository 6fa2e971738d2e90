"""Format of a snapshot: the newest record of each object, the kept replies, the floors and the outboxes, sorted.

    header   magic, format, header size, store id, generation, position, newest record's time, checksum
    records  framed as in the log, sorted by (namespace, type, id, idempotency key or sub-name)
    footer   magic, counts, checksum over all record bodies, own checksum

Outboxes, receipts and finished calls are records of types of their own (``goverse_node.stores.outbox_encoding``). A
release that does not know a type refuses the snapshot as newer, so a store without reliable calls stays readable by
releases from before them.

Because the records are sorted, a new snapshot is made by merging the old one with the log in one pass and in little
memory. The file is written under another name, synced and renamed. After that, the manifest names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from goverse.errors import DataDamaged
from goverse_node.stores.encoding import COMMIT, FINISHED, FULL, OBJECT, framed
from goverse_node.stores.wal.files import Files, Handle
from goverse_node.stores.wal.manifest import SnapshotEntry
from goverse_node.stores.wal.refusals import damaged, newer
from goverse_node.stores.wal.scan import BLOCK, Scan
from goverse_node.stores.wal.segment import Origin

FORMAT: Final = 2
"""Format 2 added anchors and generations to records. Files of format 1 are read as well."""

MAGIC: Final = b"GOVERSES"
END_MAGIC: Final = b"GOVERSEE"

_HEADER: Final = Struct("<8sHH16s8sQQ")
_FOOTER: Final = Struct("<8sQQQI")
_CRC: Final = Struct("<I")
HEADER_SIZE: Final = _HEADER.size + _CRC.size
HEADER_SIZE_MAX: Final = 512
FOOTER_SIZE: Final = _FOOTER.size + _CRC.size


def write_snapshot(
    path: Path, bodies: Iterable[bytes], *, origin: Origin, seq: int, last_ms: int, files: Files
) -> SnapshotEntry:
    """Write ``bodies``, which must be sorted, as a snapshot to ``path``, durably."""
    aside = path.with_suffix(".tmp")
    header = _HEADER.pack(
        MAGIC,
        FORMAT,
        HEADER_SIZE,
        bytes.fromhex(origin.store_id),
        bytes.fromhex(origin.generation),
        seq,
        last_ms,
    )
    header += _CRC.pack(crc32(header))
    handle = files.open(aside, create=True)
    try:
        handle.write_at(header, 0)
        output = _Output(handle)
        for body in bodies:
            output.add(body)
        size, checksum = output.finish()
        handle.sync()
    finally:
        handle.close()
    files.replace(aside, path)
    files.sync_directory(path.parent)
    return SnapshotEntry(seq, size, checksum, output.objects, output.replies, last_ms)


class _Output:
    """Writes records in blocks and counts them."""

    def __init__(self, handle: Handle) -> None:
        self.objects = self.replies = self.others = 0
        self._handle = handle
        self._checksum = 0
        self._offset = HEADER_SIZE
        self._pending: list[bytes] = []
        self._pending_size = 0

    def add(self, body: bytes) -> None:
        frame = framed(body)
        self._pending.append(frame)
        self._pending_size += len(frame)
        self._checksum = crc32(body, self._checksum)
        if body[0] != COMMIT:
            self.others += 1
        elif body[FULL.size - 1] & OBJECT:
            self.objects += 1
        else:
            self.replies += 1
        if self._pending_size >= BLOCK:
            self._flush()

    def finish(self) -> tuple[int, int]:
        self._flush()
        footer = _FOOTER.pack(END_MAGIC, self.objects, self.replies, self.others, self._checksum)
        checksum = crc32(footer)
        self._handle.write_at(footer + _CRC.pack(checksum), self._offset)
        return self._offset + FOOTER_SIZE, checksum

    def _flush(self) -> None:
        block = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        self._handle.write_at(block, self._offset)
        self._offset += len(block)


@dataclass(slots=True)
class SnapshotReader:
    """Reader for one snapshot. It verifies all checksums and counts.

    ``bodies`` must be read to its end. A missing record is only noticed there, where the counts are compared.
    """

    path: Path
    origin: Origin
    entry: SnapshotEntry

    def bodies(self, files: Files) -> Iterator[bytes]:
        """Yield the records.

        Raises:
            DataDamaged: a checksum, a count or the file's size is wrong. The message names the offset.
            DataNewer: a newer release wrote it.
        """
        return chain.from_iterable(self.blocks(files))

    def blocks(self, files: Files) -> Iterator[list[bytes]]:
        """Yield the same bodies as :meth:`bodies`, in lists, which is faster."""
        try:
            handle = files.open(self.path)
        except OSError as error:
            raise self._damaged(0, f"the file cannot be opened: {error}") from error
        try:
            size = handle.size()
            if size != self.entry.size:
                raise self._damaged(min(size, self.entry.size), f"the file has {size} bytes, not {self.entry.size}")
            self._check_header(handle.read_at(HEADER_SIZE_MAX, 0))
            footer = self._check_footer(handle.read_at(FOOTER_SIZE, size - FOOTER_SIZE), size - FOOTER_SIZE)
            yield from self._records(handle, size - FOOTER_SIZE, footer)
        except OSError as error:
            raise self._damaged(0, f"the file cannot be read: {error}") from error
        finally:
            handle.close()

    def _records(self, handle: Handle, end: int, footer: tuple[int, int]) -> Iterator[list[bytes]]:
        count = checksum = 0
        scan = Scan(handle, offset=HEADER_SIZE, size=end)
        for bodies in scan.blocks():
            count += len(bodies)
            for body in bodies:
                checksum = crc32(body, checksum)
            what = max(body[0] for body in bodies)
            if what > FINISHED:
                raise newer(self.path, what, FINISHED, scan.end)
            yield bodies
        if scan.stopped or scan.end != end:
            raise self._damaged(scan.end, scan.stopped or "a record is incomplete")
        if (count, checksum) != footer:
            raise self._damaged(end, f"the {count} records do not match the footer")

    def _check_header(self, header: bytes) -> None:
        size = _HEADER.unpack_from(header)[2] if len(header) >= HEADER_SIZE else 0
        checked = size - _CRC.size
        if header[:8] != MAGIC or not 12 <= checked <= len(header) - _CRC.size:
            raise self._damaged(0, "the file does not start with a snapshot header")
        if _CRC.unpack_from(header, checked)[0] != crc32(header[:checked]):
            raise self._damaged(0, "the checksum of the header does not match")
        _, version, _, store_id, generation, seq, _ = _HEADER.unpack_from(header)
        if version > FORMAT:
            raise newer(self.path, version, FORMAT)
        if (store_id.hex(), generation.hex(), seq) != (
            self.origin.store_id,
            self.origin.generation,
            self.entry.seq,
        ):
            raise self._damaged(0, "the file belongs to another store or another position")

    def _check_footer(self, footer: bytes, at: int) -> tuple[int, int]:
        own: int = _CRC.unpack_from(footer, _FOOTER.size)[0]
        if own != crc32(footer[: _FOOTER.size]) or footer[:8] != END_MAGIC or own != self.entry.checksum:
            raise self._damaged(at, "the checksum of the footer does not match")
        _, objects, replies, others, checksum = _FOOTER.unpack_from(footer)
        return objects + replies + others, checksum

    def _damaged(self, offset: int, why: str) -> DataDamaged:
        return damaged(self.path, offset, why)


def read_entry(path: Path, files: Files) -> tuple[Origin, SnapshotEntry] | None:
    """Return a snapshot's identity and its manifest entry, or None if its header or footer is damaged."""
    handle = files.open(path)
    try:
        size = handle.size()
        header = handle.read_at(HEADER_SIZE, 0)
        footer = handle.read_at(FOOTER_SIZE, max(0, size - FOOTER_SIZE))
    finally:
        handle.close()
    if len(header) < HEADER_SIZE or _CRC.unpack_from(header, _HEADER.size)[0] != crc32(header[: _HEADER.size]):
        return None
    if len(footer) < FOOTER_SIZE or _CRC.unpack_from(footer, _FOOTER.size)[0] != crc32(footer[: _FOOTER.size]):
        return None
    _, _, _, store_id, generation, seq, last_ms = _HEADER.unpack_from(header)
    _, objects, replies, _, _ = _FOOTER.unpack_from(footer)
    checksum: int = _CRC.unpack_from(footer, _FOOTER.size)[0]
    return Origin(store_id.hex(), generation.hex()), SnapshotEntry(seq, size, checksum, objects, replies, last_ms)
