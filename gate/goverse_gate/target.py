"""Parsing of object API paths into types, ids and methods.

The raw path is parsed, not the decoded one, because an id may contain an encoded ``/`` and because ``.`` and ``..`` are
ordinary ids. Types and methods are looked up by their raw bytes. Only a segment that is not found is decoded and looked
up again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from goverse.errors import MalformedRequest, UnknownPath
from goverse.limits import CALL_ID_BYTES_MAX, ID_BYTES_MAX
from goverse.model.keys import RESERVED_IDS, check_id, reserved_id

T = TypeVar("T")

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SHOWN_MAX: Final = 64
_RESERVED_IDS: Final = frozenset(name.encode() for name in RESERVED_IDS)


class Names(Generic[T]):
    """A dictionary whose keys are names and whose lookups take the bytes of a path segment.

    Attributes:
        get: returns the value for a segment without percent-encoding, or None.
    """

    __slots__ = ("_by_segment", "_names", "get")

    def __init__(self, things: dict[str, T]) -> None:
        """Encode the names once."""
        self._by_segment = {name.encode("ascii"): thing for name, thing in things.items()}
        self._names = tuple(things)
        self.get = self._by_segment.get

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def find(self, segment: bytes) -> T | None:
        """Return the value for the name in ``segment``, or None.

        Raises:
            MalformedRequest: the percent-encoding is invalid.
        """
        found = self._by_segment.get(segment)
        if found is None and b"%" in segment:
            found = self._by_segment.get(decode(segment).encode())
        return found


def split(raw_path: bytes) -> list[bytes]:
    """Return the path segments after ``/objects``.

    Raises:
        UnknownPath: the path is not part of the object API.
    """
    segments = raw_path.split(b"/")
    if segments[1] == b"objects":
        return segments[2:]
    if segments[1] == b"v1" and len(segments) > 2 and segments[2] == b"objects":
        return segments[3:]
    raise UnknownPath(f"path not found: {shown(raw_path)}")


def object_id(segment: bytes) -> str:
    """Return the id in a path segment.

    Raises:
        MalformedRequest: the id is not 1 to 512 bytes of UTF-8, is reserved, or has an incomplete reserved form.
    """
    if b"%" in segment or not segment.isascii() or not 1 <= len(segment) <= ID_BYTES_MAX:
        return check_id(decode(segment))
    if segment in _RESERVED_IDS:
        raise reserved_id(segment.decode("ascii"))
    return segment.decode("ascii")  # a path cannot contain a bare '#', which every reserved form has


def call_id_of(segment: bytes) -> str:
    """Return the id of a call in a path segment.

    Raises:
        MalformedRequest: the id is not 1 to 1024 bytes of UTF-8.
    """
    call_id = decode(segment)
    if not 1 <= len(call_id.encode()) <= CALL_ID_BYTES_MAX:
        raise MalformedRequest(f"the id of a call has 1 to {CALL_ID_BYTES_MAX} bytes")
    return call_id


def decode(segment: bytes) -> str:
    """Decode the percent-encoding of one segment.

    Raises:
        MalformedRequest: an escape is incomplete, or the bytes are not UTF-8.
    """
    if _BAD_ESCAPE.search(segment):
        raise MalformedRequest(f"invalid percent-encoding in {shown(segment)}: expected two hexadecimal digits after %")
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"{shown(segment)} is not valid UTF-8 after percent-decoding") from error


def shown(raw: bytes) -> str:
    """Return bytes from a client, shortened and escaped, for an error text."""
    text = raw[:_SHOWN_MAX].decode("latin-1")
    return repr(text if len(raw) <= _SHOWN_MAX else text + "…")
