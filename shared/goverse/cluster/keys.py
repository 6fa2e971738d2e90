"""The etcd key layout. Every key of a cluster is built and parsed here.

An id is always the last part of a key and is percent-encoded, so no id can form another key.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from goverse.errors import ConfigError

_CLUSTER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHARD: Final = re.compile(r"0|[1-9][0-9]{0,8}")


class KeyKind(Enum):
    """The type of a key; the value is its path segment."""

    SHARDS = "shards"
    NODE = "nodes"
    GATE = "gates"
    CLAIMS = "claims"
    LEADER = "leader"
    TARGETS = "targets"
    PIN = "pins"
    DRAIN = "drains"
    LOAD = "loads"
    CATALOG = "catalogs"


_SINGLE: Final = frozenset((KeyKind.SHARDS, KeyKind.LEADER, KeyKind.TARGETS))


class ParsedKey(NamedTuple):
    """A parsed key: its kind, and the node, gate or shard that it belongs to (empty for keys that exist once)."""

    kind: KeyKind
    name: str = ""


class KeyLayout:
    """The keys of one cluster.

    Attributes:
        prefix: the common prefix. One watch on it sees all changes of the cluster in revision order.
        shards: the key of the shard count.
        leader: the key whose creator is the leader.
        targets: the key of the shard targets.
    """

    def __init__(self, cluster: str) -> None:
        """Build the keys of ``cluster``.

        Raises:
            ConfigError: the name is invalid.
        """
        if _CLUSTER.fullmatch(cluster) is None:
            raise ConfigError(
                f"invalid cluster name {cluster!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a "
                "letter or digit"
            )
        self.prefix = f"/goverse/{cluster}/"
        self.shards = self.key(KeyKind.SHARDS)
        self.leader = self.key(KeyKind.LEADER)
        self.targets = self.key(KeyKind.TARGETS)

    def key(self, kind: KeyKind, name: str = "") -> str:
        """Return the key of ``kind``; ``name`` is the node, gate or shard for kinds that exist once for each."""
        return f"{self.prefix}{kind.value}" if kind in _SINGLE else f"{self.prefix}{kind.value}/{quote(name, safe='')}"

    def node(self, node: str) -> str:
        """Return the registration key of ``node``."""
        return self.key(KeyKind.NODE, node)

    def gate(self, gate: str) -> str:
        """Return the registration key of ``gate``."""
        return self.key(KeyKind.GATE, gate)

    def claims(self, node: str) -> str:
        """Return the key of the claims of ``node``."""
        return self.key(KeyKind.CLAIMS, node)

    def pin(self, shard: int) -> str:
        """Return the key that pins ``shard``."""
        return self.key(KeyKind.PIN, str(shard))

    def drain(self, node: str) -> str:
        """Return the key that drains ``node``."""
        return self.key(KeyKind.DRAIN, node)

    def load(self, node: str) -> str:
        """Return the key of the load figures of ``node``."""
        return self.key(KeyKind.LOAD, node)

    def catalog(self, node: str) -> str:
        """Return the key of the object types that ``node`` serves."""
        return self.key(KeyKind.CATALOG, node)

    def parse(self, key: str) -> ParsedKey | None:
        """Parse ``key``; returns None for a key that this release does not know."""
        if not key.startswith(self.prefix):
            return None
        word, slash, name = key[len(self.prefix) :].partition("/")
        try:
            kind = KeyKind(word)
        except ValueError:
            return None
        if (kind in _SINGLE) is bool(slash):
            return None
        parsed = ParsedKey(kind, unquote(name))
        if self.key(*parsed) != key or (kind is KeyKind.PIN and _SHARD.fullmatch(parsed.name) is None):
            return None
        return parsed if kind in _SINGLE or parsed.name else None
