"""The records of a store: the commit record of a turn, and the values that a store returns.

A commit record holds everything that one turn makes durable: the new state (or the deletion of the object) and the
reply under the call's idempotency key. It is committed as a whole or not. Its position in the store is its
``commit_seq``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from goverse.model.cause import Cause
from goverse.model.effects import Effects
from goverse.model.keys import ObjectKey

ANCHOR_EVERY: Final = 64
"""Every change points to the latest change before it whose version is a multiple of this."""


class StoredReply(NamedTuple):
    """A reply that is stored under an idempotency key.

    Attributes:
        fingerprint: digest of the request's operation, method and body.
        reply: the encoded reply (see ``goverse.model.replies``).
        expires_ms: the time until which it must be kept, in milliseconds since the epoch.
        commit_seq: the commit that made it durable; 0 before that.
    """

    fingerprint: bytes
    reply: bytes
    expires_ms: int
    commit_seq: int = 0


@dataclass(slots=True, frozen=True)
class StoredObject:
    """The newest durable state of an object.

    Attributes:
        version: grows by one with each commit that changes or deletes the object.
        state: the state as a JSON object in UTF-8, or None for a tombstone (the object was deleted).
        state_version: the ``state_version`` of the class that wrote the state.
        commit_seq: the commit that wrote the state.
        modified_ms: time of that commit, in milliseconds since the epoch.
        creation: digest of the creation arguments, empty for a creation without arguments, None if it is unknown.
    """

    version: int
    state: bytes | None
    state_version: int
    commit_seq: int
    modified_ms: int
    creation: bytes | None = None


@dataclass(slots=True)
class CommitRecord:
    """The durable effects of one turn; the store commits all of them or none.

    Attributes:
        key: the object.
        expected: the version that the object must have in the store; 0 if it must never have existed; ``ANY_VERSION``
            (``goverse.model.effects``) for a record with nothing but effects that do not depend on the state.
        version: the version after the commit: ``expected + 1`` if the turn changed the object, else ``expected``.
        state: the new state as JSON in UTF-8; None deletes the object. Ignored if ``version == expected``.
        state_version: the class's ``state_version``.
        at_ms: wall-clock time of the turn, in milliseconds since the epoch.
        idempotency_key: the call's key, or None.
        reply: the reply to store under that key; None without a key.
        shard: the object's shard. The calls that the record sends, marks or removes are in the outbox of this shard,
            also if ``epoch`` is 0. Otherwise it is used with an epoch only.
        epoch: the epoch of the claim under which the turn ran, or 0 if no other process can write to the store. A
            record that neither changes the object nor stores a reply nor has effects only checks this epoch.
        fresh_key: a router made the key for this attempt, so a reply can exist under it only if the call was sent
            again in the meantime.
        creation: digest of the creation arguments (16 bytes), empty for a creation without arguments, None if it is
            unknown or the object is deleted.
        cause: the call that ran the turn, in its stored form (``goverse.model.cause``), or None. It is kept with the
            change, so a record that does not change the object needs none.
        effects: the effects on reliable calls, or None.
    """

    key: ObjectKey
    expected: int
    version: int
    state: bytes | None
    state_version: int
    at_ms: int
    idempotency_key: str | None = None
    reply: StoredReply | None = None
    shard: int = 0
    epoch: int = 0
    fresh_key: bool = False
    creation: bytes | None = None
    cause: bytes | None = None
    effects: Effects | None = None

    @property
    def changes_object(self) -> bool:
        """True if the record writes the object, not only a reply."""
        return self.version != self.expected


class ObjectSummary(NamedTuple):
    """One entry of a listing: the id and the version of an object."""

    id: str
    version: int


class Change(NamedTuple):
    """One entry of the change feed: an object was written, or deleted if ``state`` is None.

    The changes of one object form a chain. ``previous_seq`` leads to the change before, and ``anchor_seq`` up to 64
    versions back, so a version far back is found in few steps (``goverse.ports.history``).

    Attributes:
        commit_seq: the position of the change.
        key: the object.
        version: the version that the change made.
        state: the state as a JSON object in UTF-8, or None if the object was deleted.
        at_ms: time of the change, in milliseconds since the epoch.
        state_version: the ``state_version`` of the class that wrote the state.
        generation: the version with which this life of the object began. It rises when an object is created again
            after it was deleted. A deletion has the generation of the life that it ends.
        previous_seq: position of the previous change of this object; 0 if there was none, or if it is unknown.
        anchor_seq: position of the latest change of this object with a lower version that is a multiple of
            ``ANCHOR_EVERY``; 0 if there was none, or if it is unknown.
        cause: the call that made the change; None if it is unknown.
    """

    commit_seq: int
    key: ObjectKey
    version: int
    state: bytes | None
    at_ms: int
    state_version: int
    generation: int
    previous_seq: int = 0
    anchor_seq: int = 0
    cause: Cause | None = None


class ChangeFilter(NamedTuple):
    """A selection of changes. A member that is None selects everything.

    Attributes:
        namespace: the namespace of the objects.
        types: their types.
        ids: their ids.
    """

    namespace: str | None = None
    types: frozenset[str] | None = None
    ids: frozenset[str] | None = None

    def selects(self, key: ObjectKey) -> bool:
        """True if changes of ``key`` are selected."""
        namespace, type_name, object_id = key
        return (
            (self.namespace is None or namespace == self.namespace)
            and (self.types is None or type_name in self.types)
            and (self.ids is None or object_id in self.ids)
        )


class ObjectPlace(NamedTuple):
    """An object and its 64-bit hash."""

    hash: int
    key: ObjectKey


class StoreHealth(NamedTuple):
    """The health of a store: ``ready`` while it accepts commits, otherwise ``reason`` is a sentence for people."""

    ready: bool
    reason: str
    commit_seq: int
