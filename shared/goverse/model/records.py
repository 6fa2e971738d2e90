"""What a store keeps: the commit record of a turn, and what can be read back.

A commit record is everything that one turn made durable, or nothing of it: the new state (or its absence), and the
reply under the call's idempotency key. Its position in the store is its ``commit_seq``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from goverse.model.keys import ObjectKey


class StoredReply(NamedTuple):
    """A reply that is kept under an idempotency key.

    Attributes:
        fingerprint: digest of operation, method and body of the request that it answers.
        reply: the encoded reply (see ``goverse.model.replies``).
        expires_ms: until when it must be kept, in milliseconds since the epoch.
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
        state_version: the class's ``state_version`` that wrote it.
        commit_seq: the commit that wrote it.
        modified_ms: when, in milliseconds since the epoch.
        creation: digest of the creation arguments, empty for a creation without arguments; None where it is unknown.
    """

    version: int
    state: bytes | None
    state_version: int
    commit_seq: int
    modified_ms: int
    creation: bytes | None = None


@dataclass(slots=True)
class CommitRecord:
    """What one turn asks the store to make durable, all or nothing.

    Attributes:
        key: the object.
        expected: the version that the object must have in the store; 0 when it must never have existed.
        version: the version after the commit: ``expected + 1`` where the turn changed the object, else ``expected``.
        state: the new state as JSON in UTF-8; None deletes. Not looked at where ``version == expected``.
        state_version: the class's ``state_version``.
        at_ms: wall-clock time of the turn, in milliseconds since the epoch.
        idempotency_key: the call's key, or None.
        reply: what to keep under that key; None where there is no key.
        shard: the object's shard; not looked at where ``epoch`` is 0.
        epoch: the claim under which the turn ran, or 0 where nobody else could write (one process, one store). A record
            that neither changes the object nor keeps a reply only checks that claim.
        fresh_key: a router made the key for this very attempt, so no reply can be kept under it unless the call was
            sent again meanwhile.
        creation: digest of the creation arguments (16 bytes), empty for a creation without arguments; None where it
            is unknown or the object is deleted.
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

    @property
    def changes_object(self) -> bool:
        """Whether the record writes the object, not only a reply."""
        return self.version != self.expected


class ObjectSummary(NamedTuple):
    """One line of a listing."""

    id: str
    version: int


class Change(NamedTuple):
    """One entry of the change feed: an object was written (``state`` set) or deleted (``state`` None)."""

    commit_seq: int
    key: ObjectKey
    version: int
    state: bytes | None
    at_ms: int


class StoreHealth(NamedTuple):
    """Whether a store takes commits, and if not, why (a sentence for people)."""

    ready: bool
    reason: str
    commit_seq: int
