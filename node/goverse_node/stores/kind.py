"""All objects and kept replies of one type in one namespace, as bytes under string keys.

Python's cyclic garbage collector does not track such dictionaries, so a table of millions causes no pauses. A
reply stands under its *place*: the idempotency key with its length in front, then the object's id.
"""

from __future__ import annotations

from goverse_node.stores.encoding import ALIVE, CORE, FLAGS_IN_BLOB, REPLY, U64
from goverse_node.stores.sorted_ids import SortedIds


def place_of(idempotency_key: str, object_id: str) -> str:
    """Return the key under which a reply is kept."""
    return f"{len(idempotency_key)}:{idempotency_key}{object_id}"


def split_place(place: str) -> tuple[str, str]:
    """Return the idempotency key and the object's id of a place."""
    size, _, rest = place.partition(":")
    return rest[: int(size)], rest[int(size) :]


class Kind:
    """The objects of one (namespace, type).

    Attributes:
        names: both names as a record holds them, and the length of each.
        objects: ``core + state`` by id, tombstones included.
        replies: kept replies by place.
        heavy: bytes of the large ones among them, by the object's id (``goverse_node.stores.kept``).
        floor: the highest version of a forgotten tombstone; an unknown object stands at it.
        staged, staged_replies: versions and places that a batch under way will bring.
    """

    __slots__ = (
        "_graves",
        "_ids",
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
        """Begin empty; without ``ordered`` the ids are put in order when they are first needed."""
        self.name = name
        encoded = (name[0].encode(), name[1].encode())
        self.names = (encoded[0] + encoded[1], len(encoded[0]), len(encoded[1]))
        self.objects: dict[str, bytes] = {}
        self.replies: dict[str, bytes] = {}
        self.heavy: dict[str, int] = {}
        self.floor = 0
        self.staged: dict[str, int] = {}
        self.staged_replies: set[str] = set()
        self._ids: SortedIds | None = SortedIds() if ordered else None
        self._graves: dict[str, None] = {}

    @property
    def living(self) -> int:
        """How many objects are not deleted."""
        return len(self.objects) - len(self._graves)

    @property
    def ids(self) -> SortedIds:
        """The ids of the living objects, in order."""
        if self._ids is None:
            graves = self._graves
            self._ids = SortedIds(object_id for object_id in self.objects if object_id not in graves)
        return self._ids

    def put(self, object_id: str, blob: bytes) -> None:
        """Store an object or a tombstone."""
        objects = self.objects
        old = objects.get(object_id)
        objects[object_id] = blob
        if old is None or not old[FLAGS_IN_BLOB] & blob[FLAGS_IN_BLOB] & ALIVE:
            self._note(object_id, old, blob[FLAGS_IN_BLOB] & ALIVE)

    def _note(self, object_id: str, old: bytes | None, alive: int) -> None:
        """Keep order and graves right where an object begins or ends to live."""
        if alive:
            self._graves.pop(object_id, None)
            if self._ids is not None:
                self._ids.add(object_id)
        else:
            # Taken out first, so that the graves stand in the order of their deletion.
            was_grave = object_id in self._graves
            self._graves.pop(object_id, None)
            self._graves[object_id] = None
            if self._ids is not None and old is not None and not was_grave:
                self._ids.remove(object_id)

    def has_expired(self, place: str, now_ms: int) -> bool:
        """Tell whether a reply is kept at ``place`` that need not be kept any more."""
        blob = self.replies.get(place)
        return blob is not None and REPLY.unpack_from(blob)[0] <= now_ms

    def forget_tombstones(self, before_ms: int, limit: int) -> int:
        """Forget up to ``limit`` tombstones older than ``before_ms``, oldest first; return how many."""
        old: list[str] = []
        for object_id in self._graves:
            version, _, at_ms, _, _ = CORE.unpack_from(self.objects[object_id])
            if at_ms >= before_ms or len(old) >= limit:
                break
            self.floor = max(self.floor, version)
            old.append(object_id)
        for object_id in old:
            del self._graves[object_id], self.objects[object_id]
        return len(old)

    def version_of(self, object_id: str) -> int:
        """Return the durable version of an object; the floor where it is unknown."""
        blob = self.objects.get(object_id)
        version: int = U64.unpack_from(blob)[0] if blob is not None else self.floor
        return version
