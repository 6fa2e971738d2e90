"""Parser for the one object that Helm sends in Kubernetes' protobuf format: the Secret that stores a release."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

_MAGIC = b"k8s\0"
_RAW = 2
_METADATA, _DATA, _TYPE = 1, 2, 3
_NAME, _NAMESPACE, _LABELS = 1, 3, 11
_VARINT, _BYTES = 0, 2


def is_protobuf(content: bytes) -> bool:
    """Return True if a body is in this format."""
    return content.startswith(_MAGIC)


def secret(content: bytes) -> dict[str, Any]:
    """Return a Secret in its JSON form."""
    fields = _fields(_first(content.removeprefix(_MAGIC), _RAW))
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "data": {}}
    for number, value in fields:
        if number == _METADATA:
            found["metadata"] = {
                "name": _first(value, _NAME).decode(),
                "namespace": _first(value, _NAMESPACE).decode(),
                "labels": {key.decode(): label.decode() for key, label in _entries(value, _LABELS)},
            }
        elif number == _DATA:
            key, data = _entry(value)
            found["data"][key.decode()] = base64.b64encode(data).decode()
        elif number == _TYPE:
            found["type"] = value.decode()
    return found


def _entries(message: bytes, wanted: int) -> Iterator[tuple[bytes, bytes]]:
    for number, value in _fields(message):
        if number == wanted:
            yield _entry(value)


def _entry(message: bytes) -> tuple[bytes, bytes]:
    return _first(message, 1), _first(message, 2)


def _first(message: bytes, wanted: int) -> bytes:
    return next((value for number, value in _fields(message) if number == wanted), b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields of a message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == _VARINT:
            _, at = _varint(message, at)
            continue
        assert tag & 7 == _BYTES, "a Secret has no numbers of fixed width"
        size, at = _varint(message, at)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
