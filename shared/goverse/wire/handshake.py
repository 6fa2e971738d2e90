"""The handshake: the first message of each side, and the version and features that both agree on.

Both sides use the highest protocol version and all features that they share. A newer release does without a new feature
when it talks to an older peer. A release that no longer supports the peer's versions refuses it, with an error that
names the versions of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from goverse.errors import PeerError
from goverse.limits import WIRE_INFLIGHT_MAX

VERSIONS: Final = (1,)

CANCEL: Final = "cancel"
"""The peer drops requests whose caller gave up."""
LIST: Final = "list"
"""The peer can list objects."""
READINESS: Final = "readiness"
"""The peer reports its readiness, at the start and on every change."""
DELIVERIES: Final = "deliveries"
"""Requests may be deliveries of reliable calls, which the receiver runs once each, in order."""

FEATURES: Final = frozenset({CANCEL, DELIVERIES, LIST, READINESS})

IDENTITY: Final = "identity"
"""Requests carry the verified identity of the final caller: roles, namespace, token."""
FOLLOW: Final = "follow"
"""The peer streams the changes of its shards from a position on."""
INSPECT: Final = "inspect"
"""The peer shows its activations, turns and shards to an inspector."""
TOPICS: Final = "topics"
"""The peer carries messages of topics."""
QUERY: Final = "query"
"""The peer answers queries over the objects of a type."""
RESIZE: Final = "resize"
"""The peer serves shards of two counts at a time, while the number of shards changes."""

RESERVED: Final = frozenset({IDENTITY, FOLLOW, INSPECT, TOPICS, QUERY, RESIZE})
"""Names of features of later releases. This release announces none of them, and serves peers that do without them."""

assert not FEATURES & RESERVED


def _release() -> str:
    try:
        return version("goverse")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """One side of the handshake: the process's identity, and what it supports.

    Attributes:
        kind: ``gate`` or ``node``.
        id: its name in the cluster.
        incarnation: differs with each start of the same id.
        release: its GoVerse release.
        versions: protocol versions.
        features: features beyond the minimum of the version.
        inflight_max: requests that it accepts on one stream at a time.
    """

    kind: str
    id: str
    incarnation: str = ""
    release: str = _release()
    versions: tuple[int, ...] = VERSIONS
    features: frozenset[str] = FEATURES
    inflight_max: int = WIRE_INFLIGHT_MAX

    def __str__(self) -> str:
        """Return text such as ``node n1 (0.1.0)``."""
        return f"{self.kind} {self.id} ({self.release})"


class Agreement(NamedTuple):
    """The version and features of one stream."""

    version: int
    features: frozenset[str]


def agree(own: Hello, peer: Hello) -> Agreement:
    """Return the version and features that both sides support.

    Raises:
        PeerError: no version is shared.
    """
    shared = set(own.versions) & set(peer.versions)
    if not shared:
        raise PeerError(
            f"no shared protocol version: {peer} supports {_shown(peer.versions)}, {own} supports "
            f"{_shown(own.versions)}",
            own=list(own.versions),
            peer=list(peer.versions),
        )
    return Agreement(max(shared), own.features & peer.features)


def _shown(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
