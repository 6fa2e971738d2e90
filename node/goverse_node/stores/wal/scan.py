"""Reader for the framed records of one file, up to the end or to the first record that is not whole.

The scan reports where it stopped and why. It cannot distinguish a torn write from damage: that depends on what was
acknowledged, which the caller knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from zlib import crc32

from goverse_node.stores.encoding import PREFIX, STATE_AT
from goverse_node.stores.wal.files import Handle

BLOCK: Final = 1 << 20


class Scan:
    """The records of one file between ``offset`` and ``size``.

    Attributes:
        end: the offset at which the last record that was yielded ends.
        stopped: after the iteration, the reason why it stopped; empty if only zeros or nothing follows ``end``.
    """

    def __init__(self, handle: Handle, *, offset: int, size: int, block: int = BLOCK) -> None:
        """Create a scan. The file is read during the iteration, ``block`` bytes at a time."""
        self.end = offset
        self.stopped = ""
        self._handle = handle
        self._size = size
        self._block = block

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bodies, each with a valid checksum."""
        for bodies in self.blocks():
            end = self.end - sum(PREFIX.size + len(body) for body in bodies)
            for body in bodies:
                end += PREFIX.size + len(body)
                self.end = end
                yield body

    def blocks(self) -> Iterator[list[bytes]]:
        """Yield the same bodies in lists, one for each block that was read, which is faster."""
        unpack, prefix_size = PREFIX.unpack_from, PREFIX.size
        buffer, wanted = b"", prefix_size
        base = self.end
        while True:
            buffer += self._read(base + len(buffer), wanted - len(buffer))
            if len(buffer) < wanted:
                self.stopped = "the file ends inside a record" if buffer.strip(b"\0") else ""
                return
            bodies: list[bytes] = []
            at, length, checksum, size = 0, 0, 0, len(buffer)
            while at + prefix_size <= size:
                length, checksum = unpack(buffer, at)
                start = at + prefix_size
                end = start + length
                if length < STATE_AT or end > size:
                    break
                body = buffer[start:end]
                if crc32(body, length) != checksum:
                    break
                bodies.append(body)
                at = end
            self.end = base = base + at
            if bodies:
                yield bodies
            rest = len(buffer) - at
            if rest >= prefix_size:
                wanted = prefix_size + length
                if rest >= wanted or base + wanted > self._size or length < STATE_AT:
                    self.stopped = self._judge(length, checksum)
                    return
            else:
                wanted = prefix_size
            buffer = buffer[at:]

    def _read(self, offset: int, missing: int) -> bytes:
        size = min(max(missing, self._block), self._size - offset)
        return self._handle.read_at(size, offset) if size > 0 else b""

    def _judge(self, length: int, checksum: int) -> str:
        if length == 0 and checksum == 0 and self._only_zeros(self.end):
            return ""
        if length < STATE_AT or self.end + PREFIX.size + length > self._size:
            return "the length of a record is wrong"
        return "the checksum does not match"

    def _only_zeros(self, offset: int) -> bool:
        while offset < self._size:
            block = self._handle.read_at(min(BLOCK, self._size - offset), offset)
            if not block:
                break
            if block.count(0) != len(block):
                return False
            offset += len(block)
        return True
