"""Conversion of keys and prefixes to etcd's byte strings, below the client's namespace."""

from __future__ import annotations

from typing import NamedTuple

from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import KeyEntry


class Range(NamedTuple):
    """All keys from ``first`` up to but not including ``end``."""

    first: bytes
    end: bytes


class Names:
    """Conversion between a client's key names and the names in etcd."""

    def __init__(self, namespace: str) -> None:
        """Put all keys below ``namespace``."""
        self._namespace = namespace.encode()

    def inside(self, key: str) -> bytes:
        """Return the etcd name of ``key``."""
        return self._namespace + key.encode()

    def outside(self, name: bytes) -> str:
        """Return the client's name of an etcd key. Keys of other programs may not be UTF-8."""
        return name[len(self._namespace) :].decode("utf-8", "surrogateescape")

    def below(self, prefix: str) -> Range:
        """Return the range of all keys that begin with ``prefix``."""
        first = self.inside(prefix)
        stem = first.rstrip(b"\xff")
        # The end is the next name of that length. For etcd, an end of "\0" means up to the last key.
        end = stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"
        return Range(first or b"\0", end)

    def entry(self, kv: messages.KeyValue) -> KeyEntry:
        """Return an etcd key as a ``KeyEntry``."""
        return KeyEntry(self.outside(kv.key), kv.value, kv.create_revision, kv.mod_revision)
