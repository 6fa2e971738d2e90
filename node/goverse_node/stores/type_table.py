"""All objects and kept replies of one type in one namespace, as bytes under string keys.

Python's cyclic garbage collector does not track dictionaries of strings and bytes, so a table with millions of entries
causes no collection pauses.

A reply is stored under its *reply key*: the length of the idempotency key, a colon, the idempotency key and the id of
the object. For example, the reply to key ``pay-1`` on object ``alice`` is stored under ``5:pay-1alice``. The length
makes the reply key unambiguous, whatever characters the two parts contain.
"""

from __future__ import annotations

from goverse_node.stores.encoding import ALIVE, CORE, FLAGS_IN_BLOB, REPLY, U64, Standing
from goverse_node.stores.sorted_ids import SortedIds


def make_reply_key(idempotency_key: str, object_id: str) -> str:
    """Return the reply key of an idempotency key and an object's id."""
    return f"{len(idempotency_key)}:{idempotency_key}{object_id}"


def split_reply_key(reply_key: str) -> tuple[str, str]:
    """Split a reply key into the idempotency key and the object's id."""
    size, _, rest = reply_key.partition(":")
    return rest[: int(size)], rest[int(size) :]


class TypeTable:
    """The objects and kept replies of one (namespace, type).

    Attributes:
        name: namespace and type.
        names: both names, concatenated and encoded as in a record, and the length of each.
        objects: ``core + state`` by id, tombstones included.
        replies: kept replies by reply key.
        heavy: total size in bytes of an object's large replies, by the object's id (``goverse_node.stores.kept``).
        floor: the highest version of a forgotten tombstone. An unknown object of this type has this version.
        staged: standings that the staged batch will give to objects, by id.
        staged_replies: reply keys that the staged batch will add.
    """

    __slots__ = (
        "_ids",
        "_tombstones",
        "floor",
        "heavy",
        "name",
        "names",
        "objects",
        "replies",
        "staged",
        "staged_replies",
    )

    def __init__(self, name: tuple[str, str], *, ordered: bool = True) -> None:
        """Create an empty table. With ``ordered=False`` the ids are sorted when they are first needed."""
        self.name = name
        encoded = (name[0].encode(), name[1].encode())
        self.names = (encoded[0] + encoded[1], len(encoded[0]), len(encoded[1]))
        self.objects: dict[str, bytes] = {}
        self.replies: dict[str, bytes] = {}
        self.heavy: dict[str, int] = {}
        self.floor = 0
        self.staged: dict[str, Standing] = {}
        self.staged_replies: set[str] = set()
        self._ids: SortedIds | None = SortedIds() if ordered else None
        self._tombstones: dict[str, None] = {}

    @property
    def living(self) -> int:
        """The number of objects that are not deleted."""
        return len(self.objects) - len(self._tombstones)

    @property
    def ids(self) -> SortedIds:
        """The ids of the living objects, sorted."""
        if self._ids is None:
            tombstones = self._tombstones
            self._ids = SortedIds(object_id for object_id in self.objects if object_id not in tombstones)
        return self._ids

    def put(self, object_id: str, blob: bytes) -> None:
        """Store an object or a tombstone."""
        objects = self.objects
        old = objects.get(object_id)
        objects[object_id] = blob
        if old is None or not old[FLAGS_IN_BLOB] & blob[FLAGS_IN_BLOB] & ALIVE:
            self._note(object_id, old, blob[FLAGS_IN_BLOB] & ALIVE)

    def _note(self, object_id: str, old: bytes | None, alive: int) -> None:
        """Update the sorted ids and the tombstones when an object is created or deleted."""
        if alive:
            self._tombstones.pop(object_id, None)
            if self._ids is not None:
                self._ids.add(object_id)
        else:
            # Removed and added again, so that the tombstones are in the order of their deletion.
            was_tombstone = object_id in self._tombstones
            self._tombstones.pop(object_id, None)
            self._tombstones[object_id] = None
            if self._ids is not None and old is not None and not was_tombstone:
                self._ids.remove(object_id)

    def has_expired(self, reply_key: str, now_ms: int) -> bool:
        """True if the reply under ``reply_key`` has expired; False if it has not, or if there is no such reply."""
        blob = self.replies.get(reply_key)
        return blob is not None and REPLY.unpack_from(blob)[0] <= now_ms

    def forget_tombstones(self, before_ms: int, limit: int) -> int:
        """Forget up to ``limit`` tombstones older than ``before_ms``, oldest first. Returns their number."""
        old: list[str] = []
        for object_id in self._tombstones:
            version, _, at_ms, _, _ = CORE.unpack_from(self.objects[object_id])
            if at_ms >= before_ms or len(old) >= limit:
                break
            self.floor = max(self.floor, version)
            old.append(object_id)
        for object_id in old:
            del self._tombstones[object_id], self.objects[object_id]
        return len(old)

    def version_of(self, object_id: str) -> int:
        """Return the durable version of an object, or the floor if the object is unknown."""
        blob = self.objects.get(object_id)
        version: int = U64.unpack_from(blob)[0] if blob is not None else self.floor
        return version
