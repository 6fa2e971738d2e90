"""One file of the log: a header page, then records with consecutive positions, then perhaps zeros.

The header page says whose log this is and carries the *acknowledged mark*: up to which offset records were
durable when they were acknowledged. It has two slots, written in turn after each sync and before the
acknowledgement. Damage below the mark is damage to acknowledged data; above it, a write that nobody was told
about. The zeros are space claimed ahead, so that a sync has no file size to write.

    0     magic, format, header size, store id, generation, first position, time of creation, checksum
    512   mark, slot 0: counter, offset, position, checksum
    1024  mark, slot 1
    4096  records
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from goverse_node.stores.wal.files import Handle
from goverse_node.stores.wal.refusals import newer

FORMAT: Final = 1
MAGIC: Final = b"GOVERSEW"
RECORDS_AT: Final = 4096
SLOTS: Final = (512, 1024)

_HEADER: Final = Struct("<8sHH16s8sQQ")
_CRC: Final = Struct("<I")
_MARK: Final = Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose data a file holds: the store's id and the generation of its feed, as hexadecimal digits."""

    store_id: str
    generation: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What was acknowledged: everything below ``offset``, up to position ``seq``."""

    counter: int
    offset: int
    seq: int


def encode_mark(counter: int, offset: int, seq: int) -> bytes:
    """Return the bytes of the slot ``SLOTS[counter % 2]``."""
    data = _MARK.pack(counter, offset, seq)
    return data + _CRC.pack(crc32(data))


def encode_header(origin: Origin, first_seq: int, created_ms: int) -> bytes:
    """Return a header page with the first mark: nothing acknowledged here yet."""
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
    """Return whether the segment can be read, and what is wrong with its header, if anything.

    A header that is merely damaged does not matter: the manifest names the segment, and each record is
    verified.

    Raises:
        DataNewer: the file has a format that this release does not know.
    """
    if len(page) < RECORDS_AT:
        return False, "it is shorter than its header"
    magic, version, size, store_id, generation, first, _ = _HEADER.unpack_from(page)
    checked = size - _CRC.size
    if magic != MAGIC or not 12 <= checked <= SLOTS[0] - _CRC.size:
        return True, "it does not begin like a segment"
    if _CRC.unpack_from(page, checked)[0] != crc32(page[:checked]):
        return True, "the checksum of its header does not match"
    if version > FORMAT:
        raise newer(path, version, FORMAT)
    if (store_id.hex(), generation.hex()) != (origin.store_id, origin.generation):
        return False, f"it belongs to another store ({store_id.hex()}, generation {generation.hex()})"
    return first == first_seq, "" if first == first_seq else f"it begins at position {first}, not {first_seq}"


def read_mark(handle: Handle) -> Mark | None:
    """Return the newest mark that is whole, or None."""
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
    """Return whose segment this is, if its header is whole and of this format."""
    size = _HEADER.size + _CRC.size
    if len(page) < RECORDS_AT or _CRC.unpack_from(page, _HEADER.size)[0] != crc32(page[: _HEADER.size]):
        return None
    _, _, header_size, store_id, generation, _, _ = _HEADER.unpack_from(page)
    return Origin(store_id.hex(), generation.hex()) if header_size == size else None
