"""What two peers tell each other first, and what they make of it.

Both sides use the highest version of the protocol that they share, and the features that they share. A newer release
that adds a feature does without it towards an older peer; a release that drops a version is refused by peers that know
only that one, with an error that names both.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from goverse.errors import PeerError
from goverse.limits import WIRE_INFLIGHT_MAX

VERSIONS: Final = (1,)

CANCEL: Final = "cancel"
"""The peer drops requests whose answer nobody waits for any more."""
LIST: Final = "list"
"""The peer lists objects."""
READINESS: Final = "readiness"
"""The peer says whether it would serve requests, at once and whenever that changes."""

FEATURES: Final = frozenset({CANCEL, LIST, READINESS})


def _release() -> str:
    try:
        return version("goverse")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a process is, and what it understands.

    Attributes:
        kind: ``gate`` or ``node``.
        id: its name in the cluster.
        incarnation: differs with each start of the same id.
        release: of the package.
        versions: of the protocol.
        features: beyond the version's minimum.
        inflight_max: how many requests it takes at one time on one stream.
    """

    kind: str
    id: str
    incarnation: str = ""
    release: str = _release()
    versions: tuple[int, ...] = VERSIONS
    features: frozenset[str] = FEATURES
    inflight_max: int = WIRE_INFLIGHT_MAX

    def __str__(self) -> str:
        """Show ``node n1 (0.1.0)``."""
        return f"{self.kind} {self.id} ({self.release})"


class Agreement(NamedTuple):
    """What both sides of one stream use."""

    version: int
    features: frozenset[str]


def agree(own: Hello, peer: Hello) -> Agreement:
    """Return what both sides understand.

    Raises:
        PeerError: there is no version that both know.
    """
    shared = set(own.versions) & set(peer.versions)
    if not shared:
        raise PeerError(
            f"{peer} speaks versions {_shown(peer.versions)} of the protocol, {own} speaks {_shown(own.versions)}",
            own=list(own.versions),
            peer=list(peer.versions),
        )
    return Agreement(max(shared), own.features & peer.features)


def _shown(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
