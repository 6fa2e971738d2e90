"""Reading framed records one after the other, until the end or the first one that is not whole.

The scan does not judge: it says where it stopped and why; whether that is a torn tail or damage is for the
caller, who knows what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from zlib import crc32

from goverse_node.stores.encoding import PREFIX, STATE_AT
from goverse_node.stores.wal.files import Handle

BLOCK: Final = 1 << 20


class Scan:
    """The records of one file from ``offset`` on, no further than ``size``.

    Attributes:
        end: where the last whole record ended.
        stopped: after the iteration, why it stopped; empty where the file simply ended.
    """

    def __init__(self, handle: Handle, *, offset: int, size: int, block: int = BLOCK) -> None:
        """Prepare to read; nothing is read before the iteration."""
        self.end = offset
        self.stopped = ""
        self._handle = handle
        self._size = size
        self._block = block

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bodies whose checksums hold."""
        unpack = PREFIX.unpack_from
        prefix_size = PREFIX.size
        buffer, base, at = b"", self.end, 0
        while True:
            if len(buffer) - at < prefix_size:
                buffer, base, at = self._more(buffer, base, at, prefix_size)
                if len(buffer) < prefix_size:
                    self.stopped = "the file ends inside a record" if buffer.strip(b"\0") else ""
                    return
            length, checksum = unpack(buffer, at)
            start = at + prefix_size
            if length < STATE_AT or base + start + length > self._size:
                self.stopped = self._judge_length(length, checksum)
                return
            if len(buffer) - start < length:
                buffer, base, at = self._more(buffer, base, at, prefix_size + length)
                start = at + prefix_size
            body = buffer[start : start + length]
            if crc32(body, length) != checksum:
                self.stopped = "the checksum does not match"
                return
            at = start + length
            self.end = base + at
            yield body

    def _more(self, buffer: bytes, base: int, at: int, wanted: int) -> tuple[bytes, int, int]:
        rest = buffer[at:]
        read_at = base + len(buffer)
        size = min(max(wanted - len(rest), self._block), self._size - read_at)
        return rest + (self._handle.read_at(size, read_at) if size > 0 else b""), base + at, 0

    def _judge_length(self, length: int, checksum: int) -> str:
        if length == 0 and checksum == 0 and self._only_zeros(self.end):
            return ""
        return "the length of a record is wrong"

    def _only_zeros(self, offset: int) -> bool:
        while offset < self._size:
            block = self._handle.read_at(min(BLOCK, self._size - offset), offset)
            if not block:
                break
            if block.count(0) != len(block):
                return False
            offset += len(block)
        return True
