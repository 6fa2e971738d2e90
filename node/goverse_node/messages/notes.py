"""The notes of a node in memory, for the shards that it serves; see ``goverse.model.notes``."""

from __future__ import annotations

from collections.abc import Sequence

from goverse.model.effects import PendingCall
from goverse.model.keys import ObjectKey


class Notes:
    """The notes of the objects in the shards that the node serves."""

    def __init__(self) -> None:
        self._by_shard: dict[int, dict[int, PendingCall]] = {}
        self._by_object: dict[ObjectKey, dict[str, PendingCall]] = {}

    def __len__(self) -> int:
        """Return the number of notes."""
        return sum(map(len, self._by_shard.values()))

    def add(self, note: PendingCall) -> None:
        """Add a durable note. A note that is known already is ignored."""
        self._by_shard.setdefault(note.shard, {})[note.number] = note
        self._by_object.setdefault(note.sender, {})[note.call.id] = note

    def remove(self, shard: int, number: int) -> None:
        """Remove a note, if there is one with this number."""
        note = self._by_shard.get(shard, {}).pop(number, None)
        if note is not None:
            self._forget(note)

    def find(self, key: ObjectKey, note_id: str) -> PendingCall | None:
        """Return the note of an object with this id, or None."""
        return self._by_object.get(key, {}).get(note_id)

    def of_object(self, key: ObjectKey) -> Sequence[PendingCall]:
        """Return the notes of an object."""
        return tuple(self._by_object.get(key, {}).values())

    def count(self, key: ObjectKey) -> int:
        """Return the number of notes of an object."""
        return len(self._by_object.get(key, ()))

    def close(self, shard: int) -> None:
        """Forget the notes of a shard."""
        for note in self._by_shard.pop(shard, {}).values():
            self._forget(note)

    def _forget(self, note: PendingCall) -> None:
        named = self._by_object.get(note.sender, {})
        if named.get(note.call.id) is note:
            del named[note.call.id]
            if not named:
                del self._by_object[note.sender]
