"""Binary encoding for columns of small numbers, used by the codecs of targets and claims.

A column is one byte for the width of its numbers (1, 2, 4 or 8), followed by the numbers in that width, little-endian.
The standard library's ``array`` converts 65 536 of them without a Python loop. A value that was not written by
``ColumnWriter`` raises ``DataDamaged`` with the name of what was read. Malformed input never allocates more than its
own size.
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
    """Builds an encoded value."""

    def __init__(self, version: int) -> None:
        """Start with the format's version byte."""
        self._parts = bytearray((version,))

    def number(self, value: int) -> None:
        """Append a number below 2**63 as a varint: seven bits per byte."""
        while value > 0x7F:
            self._parts.append(value & 0x7F | 0x80)
            value >>= 7
        self._parts.append(value)

    def text(self, value: str) -> None:
        """Append a text, preceded by its length in bytes."""
        encoded = value.encode()
        self.number(len(encoded))
        self._parts += encoded

    def column(self, values: Iterable[int]) -> None:
        """Append a column in the smallest width that fits all numbers; the caller writes their count."""
        wide = array("Q", values)
        top = max(wide, default=0)
        width = next(width for width in _TYPECODES if top < 1 << (8 * width))
        column = array(_TYPECODES[width], wide)
        if sys.byteorder == "big":
            column.byteswap()
        self._parts.append(width)
        self._parts += column.tobytes()

    def value(self) -> bytes:
        """Return the encoded value."""
        return bytes(self._parts)


class ColumnReader:
    """Parses an encoded value. Every method raises ``DataDamaged`` if the bytes end early or are malformed."""

    def __init__(self, value: bytes, what: str) -> None:
        """Start at the beginning of ``value``; ``what`` names it in errors."""
        self._value = value
        self._what = what
        self._at = 0

    def damaged(self, why: str) -> DataDamaged:
        """Return the error for a malformed value."""
        return DataDamaged(f"{self._what}: {why}", offset=self._at)

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        """Read a varint."""
        value = 0
        for place in range(_VARINT_BYTES_MAX):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if byte == 0 and place:
                    raise self.damaged("a number is longer than necessary")
                return value
        raise self.damaged("a number has too many bytes")

    def text(self) -> str:
        """Read a text."""
        try:
            return self._take(self.number()).decode()
        except UnicodeDecodeError as error:
            raise self.damaged("a text is not UTF-8") from error

    def column(self, count: int) -> array[int]:
        """Read a column of ``count`` numbers."""
        width = self.byte()
        if width not in _TYPECODES:
            raise self.damaged(f"{width} is not a valid column width")
        column = array(_TYPECODES[width], self._take(count * width))
        if sys.byteorder == "big":
            column.byteswap()
        return column

    def end(self) -> None:
        """Check that the whole value was read."""
        if self._at != len(self._value):
            raise self.damaged(f"{len(self._value) - self._at} bytes are left over")

    def _take(self, count: int) -> bytes:
        taken = self._value[self._at : self._at + count]
        if len(taken) < count:
            raise self.damaged(f"it ends {count - len(taken)} bytes too early")
        self._at += count
        return taken
