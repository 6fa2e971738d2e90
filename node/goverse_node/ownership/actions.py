"""Actions that ``Ownership`` returns and the keeper carries out.

The result of an action is passed to the method of ``Ownership`` that its docstring names.

Writes to etcd are guarded by ``own_revision``, the revision of the node's own key that the write replaces (0: the key
must not exist). A write that was delayed on its way therefore cannot undo a later one.
"""

from __future__ import annotations

from dataclasses import dataclass

from goverse.cluster.claims import Claims
from goverse.cluster.member import Member


@dataclass(frozen=True, slots=True)
class Register:
    """Write the node's key under the lease. Result: ``registered``, with the lease if the key was written."""

    member: Member
    lease_id: int
    own_revision: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Raise the epochs of these shards in the store. Result: ``claimed`` with the epochs, or ``denied``."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the claims key under the lease if ``targets`` is still at ``targets_revision``. Result: ``published``."""

    claims: Claims
    lease_id: int
    targets_revision: int
    own_revision: int


@dataclass(frozen=True, slots=True)
class Check:
    """Read the newest claims from the store. Result: ``checked`` with the epochs of this node, or ``unchecked``."""


@dataclass(frozen=True, slots=True)
class Close:
    """Start no new turn of these shards and cancel turns that still run at ``cancel_at``. Result: ``emptied``, each."""

    shards: tuple[int, ...]
    cancel_at: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop these shards: remove their activations immediately and answer their calls with ``moving``. No result."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """Deliver the reliable calls whose senders are in these shards, which serve calls now. No result."""

    shards: tuple[int, ...]


Action = Register | Claim | Publish | Check | Close | Drop | Open
