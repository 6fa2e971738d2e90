"""Keys and prefixes as etcd takes them: bytes, below the namespace of this client."""

from __future__ import annotations

from typing import NamedTuple

from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import KeyEntry


class Range(NamedTuple):
    """All keys from ``first`` to before ``end``."""

    first: bytes
    end: bytes


class Names:
    """The keys of one client: what it calls them, and what they are called in etcd."""

    def __init__(self, namespace: str) -> None:
        """Put every key below ``namespace``."""
        self._namespace = namespace.encode()

    def inside(self, key: str) -> bytes:
        """Return the name of ``key`` in etcd."""
        return self._namespace + key.encode()

    def outside(self, name: bytes) -> str:
        """Return what this client calls a key of etcd; other programs' keys need not be text."""
        return name[len(self._namespace) :].decode("utf-8", "surrogateescape")

    def below(self, prefix: str) -> Range:
        """Return the range of all keys that begin with ``prefix``."""
        first = self.inside(prefix)
        stem = first.rstrip(b"\xff")
        # The end is the next name of that length; "\0" stands for "to the last key", and for the first one there is.
        end = stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"
        return Range(first or b"\0", end)

    def entry(self, kv: messages.KeyValue) -> KeyEntry:
        """Return a key as the port shows it."""
        return KeyEntry(self.outside(kv.key), kv.value, kv.create_revision, kv.mod_revision)
