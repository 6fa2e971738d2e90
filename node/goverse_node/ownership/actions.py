"""What a node's ownership asks its shell to do. Each answer goes back to the method of ``Ownership`` that is named
here.

Writes to etcd are guarded: ``own_revision`` is the revision of the node's own key that the write replaces (0: it must
not exist), so that a write which was delayed on the way cannot undo a later one.
"""

from __future__ import annotations

from dataclasses import dataclass

from goverse.cluster.claims import Claims
from goverse.cluster.member import Member


@dataclass(frozen=True, slots=True)
class Register:
    """Write the node's key under the lease; ``registered`` when that ended, with the lease if it was written."""

    member: Member
    lease_id: int
    own_revision: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Have the store raise the epochs of these shards; ``claimed`` with the epochs, or ``denied``."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the claims key under the lease, if ``targets`` is still at ``targets_revision``; ``published``."""

    claims: Claims
    lease_id: int
    targets_revision: int
    own_revision: int


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the store who claimed last; ``checked`` with the epochs that it names us for, or ``unchecked``."""


@dataclass(frozen=True, slots=True)
class Close:
    """Take no new turn of these shards, cancel at ``cancel_at`` what still runs; ``emptied`` for each that is done."""

    shards: tuple[int, ...]
    cancel_at: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget these shards at once: their activations go, their calls are answered ``moving``, nothing is awaited."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything is given away, or time is up: revoke the lease and end."""


Action = Register | Claim | Publish | Check | Close | Drop | Leave
