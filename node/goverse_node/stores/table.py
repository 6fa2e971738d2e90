"""Objects and kept replies in memory: what both MemoryStore and WalStore answer from.

A batch is *staged* (checked and encoded, not visible), then either *applied* or *discarded*. Nothing is
decoded before somebody asks for it. Expired replies and old tombstones leave a few at a time, so no call ever
pays for all of them. A forgotten tombstone leaves a floor behind: an unknown object of its type stands at
that version, so versions never go back.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import Final
from zlib import crc32

from goverse.limits import TOMBSTONE_RETENTION_S
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, ObjectSummary, StoredObject, StoredReply
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores import encoding
from goverse_node.stores.encoding import (
    COMMIT,
    CORE_AT,
    DIGEST,
    FULL,
    OBJECT,
    PREFIX,
    REPLY,
    STATE_AT,
    U64,
    object_flags,
)
from goverse_node.stores.kept import HEAVY_BYTES, REPLY_OVERHEAD_BYTES, KeptBounds, no_room
from goverse_node.stores.kind import Kind, place_of, split_place

SWEEP_SPAN_MS: Final = 60_000
SWEEP_PER_RECORD: Final = 4
SWEEP_PER_REFUSAL: Final = 64

_Staged = tuple[Kind, str, str, bytes, int, int]
"""Kind, id, place of the reply or empty, body, end of the object's slice (0: not written), of the reply's."""

_pack_full = FULL.pack
_pack_prefix = PREFIX.pack
_pack_reply = REPLY.pack
_read_u64 = U64.unpack_from
_read_full = FULL.unpack_from
_read_times = Struct("<QQ").unpack_from
_REPLY_SIZE = REPLY.size


class Table:
    """Objects and replies by key.

    Attributes:
        kept_replies, kept_bytes: how many replies are kept, and the memory that they take, estimated.
    """

    def __init__(
        self,
        *,
        tombstone_retention_s: float = TOMBSTONE_RETENTION_S,
        bulk: bool = False,
        kept: KeptBounds | None = None,
    ) -> None:
        """Begin empty; with ``bulk``, ids are put in order by :meth:`settle` after recovery, all at once."""
        self.kept_replies = 0
        self.kept_bytes = 0
        self._kept_bounds = kept or KeptBounds()
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._ordered = not bulk
        self._staged: list[_Staged] = []
        self._replayed: dict[tuple[int, bytes], Kind] = {}
        self._due: dict[int, dict[Kind, list[str]]] = {}
        self._expired: deque[tuple[Kind, list[str]]] = deque()
        self._swept_ms = 0
        self._latest = (0, 0)
        self._tombstone_retention_ms = round(tombstone_retention_s * 1000)

    # --- answers --------------------------------------------------------------------------------------------

    def load(self, key: ObjectKey) -> StoredObject | None:
        """Return the object or a tombstone; an unknown object is None, or a tombstone at the floor."""
        kind = self._kinds.get((key.namespace, key.type))
        if kind is None:
            return None
        blob = kind.objects.get(key.id)
        if blob is not None:
            return encoding.decode_object(blob)
        return StoredObject(kind.floor, None, 0, 0, 0) if kind.floor else None

    def recall(self, key: ObjectKey, idempotency_key: str, now_ms: int) -> StoredReply | None:
        """Return the reply kept under the key, unless it expired.

        Raises:
            Overloaded: none is kept, and there is no room to keep one.
        """
        kind = self._kinds.get((key.namespace, key.type))
        blob = kind.replies.get(place_of(idempotency_key, key.id)) if kind is not None else None
        if blob is not None and _read_u64(blob)[0] > now_ms:
            return encoding.decode_reply(blob)
        if self.kept_bytes >= self._kept_bounds.bytes_max or (kind is not None and kind.heavy):
            self._make_room(key, kind, now_ms)
        return None

    def _make_room(self, key: ObjectKey, kind: Kind | None, now_ms: int) -> None:
        """Drop what expired; raise ``Overloaded`` where that is not enough for another reply."""
        bounds = self._kept_bounds
        if self.kept_bytes >= bounds.bytes_max:
            self.sweep(now_ms, SWEEP_PER_REFUSAL)
            if self.kept_bytes >= bounds.bytes_max:
                raise no_room(self.kept_bytes, bounds.bytes_max, "node.kept_replies_bytes_max", "all objects")
        heavy = kind.heavy.get(key.id, 0) if kind is not None else 0
        if heavy >= bounds.object_bytes_max:
            self.sweep(now_ms, SWEEP_PER_REFUSAL)
            heavy = kind.heavy.get(key.id, 0) if kind is not None else 0
            if heavy >= bounds.object_bytes_max:
                raise no_room(heavy, bounds.object_bytes_max, "node.kept_replies_object_bytes_max", str(key))

    def page(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> list[ObjectSummary]:
        """Return living objects in the order of their ids."""
        kind = self._kinds.get((namespace, type_name))
        if kind is None:
            return []
        ids = kind.ids.page(prefix=prefix, after=after, limit=limit)
        return [ObjectSummary(object_id, kind.version_of(object_id)) for object_id in ids]

    def living(self) -> dict[tuple[str, str], int]:
        """Return how many living objects each (namespace, type) has."""
        return {name: kind.living for name, kind in self._kinds.items()}

    def kinds(self) -> Sequence[Kind]:
        """Return the kinds, for reading."""
        return tuple(self._kinds.values())

    # --- commits --------------------------------------------------------------------------------------------

    def stage(
        self, batch: Sequence[CommitRecord], first_seq: int, now_ms: int
    ) -> tuple[list[CommitOutcome], list[bytes]]:
        """Check a batch and encode what passes, with positions from ``first_seq`` on.

        Returns the outcomes and the pieces to write: prefix, body, prefix, body, and so on.
        """
        outcomes: list[CommitOutcome] = []
        pieces: list[bytes] = []
        seq = first_seq
        for record in batch:
            namespace, type_name, object_id = record.key
            kind = self._kinds.get((namespace, type_name)) or self._new_kind(namespace, type_name)
            version = kind.staged.get(object_id)
            if version is None:
                blob = kind.objects.get(object_id)
                version = kind.floor if blob is None else _read_u64(blob)[0]
            after = record.version
            if record.expected != version or not version <= after <= version + 1:
                outcomes.append(_stale(record, version))
                continue
            idempotency_key, place = record.idempotency_key, ""
            if idempotency_key is not None and record.reply is not None:
                place = f"{len(idempotency_key)}:{idempotency_key}{object_id}"
                held = kind.replies.get(place)
                if place in kind.staged_replies or (held is not None and _read_u64(held)[0] > now_ms):
                    outcomes.append(Conflict(f"{record.key} keeps a reply under this key already"))
                    continue
            try:
                pieces += self._take(record, kind, seq, (place, now_ms))
            except (struct.error, UnicodeEncodeError) as error:
                outcomes.append(Conflict(f"the record of {record.key} cannot be encoded: {error}"))
                continue
            outcomes.append(seq)
            seq += 1
        return outcomes, pieces

    def _take(self, record: CommitRecord, kind: Kind, seq: int, kept: tuple[str, int]) -> tuple[bytes, bytes]:
        place, now_ms = kept
        body, object_end, reply_end = _encode(record, kind.names, seq, now_ms)
        object_id = record.key[2]
        self._staged.append((kind, object_id, place, body, object_end, reply_end))
        if object_end:
            kind.staged[object_id] = record.version
        if place:
            kind.staged_replies.add(place)
        size = len(body)
        return _pack_prefix(size, crc32(body, size)), body

    def apply_staged(self) -> None:
        """Make the staged batch visible."""
        for kind, object_id, place, body, object_end, reply_end in self._staged:
            if object_end:
                kind.put(object_id, body[CORE_AT:object_end])
            if place:
                self._keep(kind, object_id, place, body[object_end or STATE_AT : reply_end])
        self.discard_staged()

    def discard_staged(self) -> None:
        """Forget the staged batch."""
        for staged in self._staged:
            kind = staged[0]
            kind.staged.clear()
            kind.staged_replies.clear()
        self._staged.clear()

    def _keep(self, kind: Kind, object_id: str, place: str, blob: bytes) -> None:
        replies, size = kind.replies, len(blob)
        if place in replies:
            self._drop(kind, place)  # it expired
        replies[place] = blob
        self.kept_replies += 1
        self.kept_bytes += len(place) + size + REPLY_OVERHEAD_BYTES
        if size >= HEAVY_BYTES:
            kind.heavy[object_id] = kind.heavy.get(object_id, 0) + size
        span = _read_u64(blob)[0] // SWEEP_SPAN_MS
        try:
            self._due[span][kind].append(place)
        except KeyError:
            self._due.setdefault(span, {})[kind] = [place]

    def _drop(self, kind: Kind, place: str) -> None:
        size = len(kind.replies.pop(place))
        self.kept_replies -= 1
        self.kept_bytes -= len(place) + size + REPLY_OVERHEAD_BYTES
        if size >= HEAVY_BYTES:
            object_id = split_place(place)[1]
            left = kind.heavy.pop(object_id) - size
            if left:
                kind.heavy[object_id] = left

    def _new_kind(self, namespace: str, type_name: str) -> Kind:
        kind = self._kinds[namespace, type_name] = Kind((namespace, type_name), ordered=self._ordered)
        return kind

    # --- recovery -------------------------------------------------------------------------------------------

    @property
    def latest(self) -> tuple[int, int]:
        """When the latest reply was kept that was recovered: in running time, and by the wall clock; zeros if none."""
        return self._latest

    def replay(self, bodies: Sequence[bytes]) -> None:
        """Take over recovered records, in order.

        Raises:
            ValueError: one of them is not well formed.
        """
        for body in bodies:
            what, namespace_len, type_len, id_len, key_len, state_len, kept_len, *core = _read_full(body)
            reply_at = STATE_AT + state_len
            names_at = reply_at + kept_len
            id_at = names_at + namespace_len + type_len
            key_at = id_at + id_len
            if key_at + key_len != len(body):
                raise ValueError("the lengths in it do not add up")
            kind = self._replayed.get((namespace_len, body[names_at:id_at]))
            if kind is None:
                kind = self._replayed_kind(body, names_at, namespace_len, id_at)
            if what != COMMIT:
                kind.floor = max(kind.floor, core[0])
                continue
            object_id = body[id_at:key_at].decode()
            if core[4] & OBJECT:
                kind.put(object_id, body[CORE_AT:reply_at])
            if kept_len:
                expires_ms, kept_ms = _read_times(body, reply_at)
                self._latest = max(self._latest, (kept_ms, core[2]))
                if expires_ms > self._latest[0]:
                    self._keep(kind, object_id, place_of(body[key_at:].decode(), object_id), body[reply_at:names_at])

    def _replayed_kind(self, body: bytes, names_at: int, namespace_len: int, id_at: int) -> Kind:
        type_at = names_at + namespace_len
        name = (body[names_at:type_at].decode(), body[type_at:id_at].decode())
        kind = self._replayed[namespace_len, body[names_at:id_at]] = self._kinds.get(name) or self._new_kind(*name)
        return kind

    def settle(self) -> None:
        """Put the ids in order after a recovery."""
        self._ordered = True
        self._replayed.clear()
        for kind in self._kinds.values():
            _ = kind.ids

    # --- cleaning up ----------------------------------------------------------------------------------------

    def sweep(self, now_ms: int, limit: int, *, wall_ms: int | None = None) -> None:
        """Drop up to ``limit`` expired replies and, once per span, as many tombstones of each type.

        Tombstones are as old as ``wall_ms`` says; their floor makes it harmless where that is wrong.
        """
        if self._expired:
            self._drop_expired(now_ms, limit)
        elif now_ms - self._swept_ms >= SWEEP_SPAN_MS or now_ms < self._swept_ms:
            self._swept_ms = now_ms
            for span in sorted(span for span in self._due if (span + 1) * SWEEP_SPAN_MS <= now_ms):
                self._expired.extend(self._due.pop(span).items())
            before_ms = (now_ms if wall_ms is None else wall_ms) - self._tombstone_retention_ms
            for kind in self._kinds.values():
                kind.forget_tombstones(before_ms, limit)
            self._drop_expired(now_ms, limit)

    def _drop_expired(self, now_ms: int, limit: int) -> None:
        while limit > 0 and self._expired:
            kind, places = self._expired[0]
            chunk = places[-limit:]
            for place in chunk:
                if kind.has_expired(place, now_ms):
                    self._drop(kind, place)
            del places[-len(chunk) :]
            limit -= len(chunk)
            if not places:
                self._expired.popleft()


def _stale(record: CommitRecord, version: int) -> Conflict:
    return Conflict(f"{record.key} is at version {version}; the record goes from {record.expected} to {record.version}")


def _encode(record: CommitRecord, names: tuple[bytes, int, int], seq: int, now_ms: int) -> tuple[bytes, int, int]:
    """Return the body, the end of the object's slice (0: it is not written) and the end of the reply's."""
    both_names, namespace_len, type_len = names
    object_id = record.key[2].encode()
    version = record.version
    state = record.state
    digest = b""
    if version == record.expected:
        flags, state = 0, b""
    else:
        flags = object_flags(state, record.creation)
        if flags & DIGEST:
            digest = record.creation or b""
        state = state or b""
    idempotency_key = record.idempotency_key
    reply = record.reply
    if reply is None or idempotency_key is None:
        key = kept = fingerprint = answer = b""
        kept_len = 0
    else:
        key = idempotency_key.encode()
        fingerprint, answer, expires_ms, _ = reply
        kept = _pack_reply(now_ms + expires_ms - record.at_ms, now_ms, seq, len(fingerprint))
        kept_len = _REPLY_SIZE + len(fingerprint) + len(answer)
    state_len = len(digest) + len(state)
    lengths = (COMMIT, namespace_len, type_len, len(object_id), len(key), state_len, kept_len)
    head = _pack_full(*lengths, version, seq, record.at_ms, record.state_version, flags)
    body = b"".join((head, digest, state, kept, fingerprint, answer, both_names, object_id, key))
    object_end = STATE_AT + state_len
    return body, object_end if flags else 0, object_end + kept_len
