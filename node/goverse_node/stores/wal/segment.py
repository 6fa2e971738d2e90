"""Format of a segment, one file of the log: a header page, records with consecutive positions, optional zeros.

    0     magic, format, header size, store id, generation, first position, time of creation, checksum
    512   mark, slot 0: counter, offset, position, checksum
    1024  mark, slot 1
    4096  records

The *acknowledged mark* is the offset up to which records were acknowledged. It is written after a batch is durable and
before the batch is acknowledged, into its two slots in turn. Damage before the mark is damage to acknowledged data.
Damage after it is treated as a torn write, which was never acknowledged. For example, if the mark is at offset 9000 and
a checksum fails at 8500, the segment is refused; if it fails at 9200, the segment is cut off there.

The zeros at the end are space that is claimed ahead, so that a sync does not have to write a new file size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from goverse_node.stores.wal.files import Handle
from goverse_node.stores.wal.refusals import newer

FORMAT: Final = 2
"""Format 2 added anchors, generations and trails to records. Files of format 1 are read as well."""

MAGIC: Final = b"GOVERSEW"
RECORDS_AT: Final = 4096
SLOTS: Final = (512, 1024)

_HEADER: Final = Struct("<8sHH16s8sQQ")
_CRC: Final = Struct("<I")
_MARK: Final = Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class Origin:
    """Identity of the store that a file belongs to: the store's id and the generation of its feed, in hexadecimal."""

    store_id: str
    generation: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The acknowledged mark: records before ``offset``, up to position ``seq``, are acknowledged."""

    counter: int
    offset: int
    seq: int


def encode_mark(counter: int, offset: int, seq: int) -> bytes:
    """Encode a mark. It belongs into the slot ``SLOTS[counter % 2]``."""
    data = _MARK.pack(counter, offset, seq)
    return data + _CRC.pack(crc32(data))


def encode_header(origin: Origin, first_seq: int, created_ms: int) -> bytes:
    """Encode a header page with an initial mark: no record of this segment is acknowledged."""
    size = _HEADER.size + _CRC.size
    data = _HEADER.pack(
        MAGIC,
        FORMAT,
        size,
        bytes.fromhex(origin.store_id),
        bytes.fromhex(origin.generation),
        first_seq,
        created_ms,
    )
    page = bytearray(RECORDS_AT)
    page[:size] = data + _CRC.pack(crc32(data))
    mark = encode_mark(0, RECORDS_AT, first_seq - 1)
    page[SLOTS[0] : SLOTS[0] + len(mark)] = mark
    return bytes(page)


def check_header(page: bytes, origin: Origin, first_seq: int, path: Path) -> tuple[bool, str]:
    """Check a segment's header page.

    Returns True if the records can be read, and a description of the problem or an empty text. A damaged header alone
    does not make a segment unreadable, because the manifest names the segment and each record is verified.

    Raises:
        DataNewer: this release does not know the file's format.
    """
    if len(page) < RECORDS_AT:
        return False, "the file is shorter than its header"
    magic, version, size, store_id, generation, first, _ = _HEADER.unpack_from(page)
    checked = size - _CRC.size
    if magic != MAGIC or not 12 <= checked <= SLOTS[0] - _CRC.size:
        return True, "the file does not start with a segment header"
    if _CRC.unpack_from(page, checked)[0] != crc32(page[:checked]):
        return True, "the checksum of the header does not match"
    if version > FORMAT:
        raise newer(path, version, FORMAT)
    if (store_id.hex(), generation.hex()) != (origin.store_id, origin.generation):
        return False, f"the file belongs to another store ({store_id.hex()}, generation {generation.hex()})"
    return first == first_seq, "" if first == first_seq else f"the file starts at position {first}, not {first_seq}"


def read_mark(handle: Handle) -> Mark | None:
    """Return the newest undamaged mark, or None if both slots are damaged."""
    newest: Mark | None = None
    for at in SLOTS:
        data = handle.read_at(_MARK.size + _CRC.size, at)
        if len(data) < _MARK.size + _CRC.size or _CRC.unpack_from(data, _MARK.size)[0] != crc32(data[: _MARK.size]):
            continue
        mark = Mark(*_MARK.unpack_from(data))
        if SLOTS[mark.counter % 2] == at and (newest is None or mark.counter > newest.counter):
            newest = mark
    return newest


def read_origin(page: bytes) -> Origin | None:
    """Return the identity in a segment's header, or None if the header is damaged or of another format."""
    size = _HEADER.size + _CRC.size
    if len(page) < RECORDS_AT or _CRC.unpack_from(page, _HEADER.size)[0] != crc32(page[: _HEADER.size]):
        return None
    _, _, header_size, store_id, generation, _, _ = _HEADER.unpack_from(page)
    return Origin(store_id.hex(), generation.hex()) if header_size == size else None
