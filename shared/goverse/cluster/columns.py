"""Bytes for rows of small numbers: the layer below the codecs of targets and claims.

A column is one byte for the width of its numbers (1, 2, 4 or 8), then the numbers in that width, little-endian: 65 536
of them are read and written by the standard library's arrays without a loop of ours. Whatever does not read back as it
was written is damage, told with the name of what was read; no input makes a reader allocate more than its own size.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from typing import Final

from goverse.errors import DataDamaged

_TYPECODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_VARINT_BYTES_MAX: Final = 9  # 63 bits

assert all(array(code).itemsize == width for width, code in _TYPECODES.items())


class ColumnWriter:
    """Puts a value together."""

    def __init__(self, version: int) -> None:
        """Begin with the version byte of the format."""
        self._parts = bytearray((version,))

    def number(self, value: int) -> None:
        """Add a number of any size below 2**63, seven bits a byte."""
        while value > 0x7F:
            self._parts.append(value & 0x7F | 0x80)
            value >>= 7
        self._parts.append(value)

    def text(self, value: str) -> None:
        """Add a text with its length in front."""
        encoded = value.encode()
        self.number(len(encoded))
        self._parts += encoded

    def column(self, values: Iterable[int]) -> None:
        """Add numbers, in the smallest width that holds all of them; their count is written elsewhere."""
        wide = array("Q", values)
        top = max(wide, default=0)
        width = next(width for width in _TYPECODES if top < 1 << (8 * width))
        column = array(_TYPECODES[width], wide)
        if sys.byteorder == "big":
            column.byteswap()
        self._parts.append(width)
        self._parts += column.tobytes()

    def value(self) -> bytes:
        """Return what was put together."""
        return bytes(self._parts)


class ColumnReader:
    """Takes a value apart; every method raises ``DataDamaged`` where the bytes end or make no sense."""

    def __init__(self, value: bytes, what: str) -> None:
        """Read ``value`` from its beginning; ``what`` names it in errors."""
        self._value = value
        self._what = what
        self._at = 0

    def damaged(self, why: str) -> DataDamaged:
        """Return the error for a value that cannot be what was written."""
        return DataDamaged(f"{self._what}: {why}", offset=self._at)

    def byte(self) -> int:
        """Take one byte."""
        return self._take(1)[0]

    def number(self) -> int:
        """Take a number."""
        value = 0
        for place in range(_VARINT_BYTES_MAX):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if byte == 0 and place:
                    raise self.damaged("a number is longer than it needs to be")
                return value
        raise self.damaged("a number does not end")

    def text(self) -> str:
        """Take a text."""
        try:
            return self._take(self.number()).decode()
        except UnicodeDecodeError as error:
            raise self.damaged("a text is not UTF-8") from error

    def column(self, count: int) -> array[int]:
        """Take ``count`` numbers."""
        width = self.byte()
        if width not in _TYPECODES:
            raise self.damaged(f"a column is {width} bytes wide")
        column = array(_TYPECODES[width], self._take(count * width))
        if sys.byteorder == "big":
            column.byteswap()
        return column

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._value):
            raise self.damaged(f"{len(self._value) - self._at} bytes are left over")

    def _take(self, count: int) -> bytes:
        taken = self._value[self._at : self._at + count]
        if len(taken) < count:
            raise self.damaged(f"it ends {count - len(taken)} bytes too early")
        self._at += count
        return taken
