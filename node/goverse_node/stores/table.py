"""The in-memory table of objects and kept replies. MemoryStore and WalStore answer all reads from it.

A batch is first *staged*: it is checked and encoded, but not visible yet. Then it is either *applied*, which makes it
visible, or *discarded*. Records stay encoded and are decoded when they are read.

Expired replies and old tombstones are removed a few at a time with each batch, so the cost is spread over many calls.
When a tombstone is forgotten, its version raises the *floor* of its type. An unknown object of that type is treated as
deleted at the floor, so an object that is created again never gets a lower version than before. For example, if object
``c1`` was deleted at version 9 and its tombstone was forgotten, a new ``c1`` starts with version 10.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import Final
from zlib import crc32

from goverse.limits import TOMBSTONE_RETENTION_S
from goverse.model.call_retention import CallRetention
from goverse.model.effects import ANY_VERSION
from goverse.model.keys import ObjectKey
from goverse.model.records import ANCHOR_EVERY, CommitRecord, ObjectSummary, StoredObject, StoredReply
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores import encoding
from goverse_node.stores.encoding import (
    COMMIT,
    CORE_AT,
    DIGEST,
    FLOOR,
    FULL,
    OBJECT,
    PREFIX,
    REPLY,
    STATE_AT,
    U64,
    Standing,
    check_end,
    object_flags,
    object_head,
    standing_of,
)
from goverse_node.stores.kept import HEAVY_BYTES, REPLY_OVERHEAD_BYTES, KeptBounds, no_room
from goverse_node.stores.outbox_encoding import with_entries
from goverse_node.stores.outbox_table import OutboxTable, Refused
from goverse_node.stores.type_table import TypeTable, make_reply_key, split_reply_key

SWEEP_SPAN_MS: Final = 60_000
SWEEP_PER_RECORD: Final = 4
SWEEP_PER_REFUSAL: Final = 64

_Staged = tuple[TypeTable, str, str, bytes, int, int]
"""A staged record: its table, the object's id, the reply key (empty without a reply), the body, and the offsets in the
body where the object's slice (0 if the object is not written) and the reply's slice end."""

_pack_full = FULL.pack
_pack_prefix = PREFIX.pack
_pack_reply = REPLY.pack
_pack_u64 = U64.pack
_read_u64 = U64.unpack_from
_read_full = FULL.unpack_from
_read_times = Struct("<QQ").unpack_from


class Table:
    """Objects and replies by key.

    Attributes:
        kept_replies: the number of kept replies.
        kept_bytes: an estimate of the memory that they take.
        outbox: pending calls, receipts and finished calls.
    """

    def __init__(
        self,
        *,
        tombstone_retention_s: float = TOMBSTONE_RETENTION_S,
        bulk: bool = False,
        kept: KeptBounds | None = None,
        call_retention: CallRetention | None = None,
    ) -> None:
        """Create an empty table. With ``bulk``, ids are sorted once, by :meth:`settle` after recovery."""
        self.kept_replies = 0
        self.kept_bytes = 0
        self.outbox = OutboxTable(call_retention)
        self._kept_bounds = kept or KeptBounds()
        self._type_tables: dict[tuple[str, str], TypeTable] = {}
        self._ordered = not bulk
        self._staged: list[_Staged] = []
        self._replayed: dict[tuple[int, bytes], TypeTable] = {}
        self._due: dict[int, dict[TypeTable, list[str]]] = {}
        self._expired: deque[tuple[TypeTable, list[str]]] = deque()
        self._swept_ms = 0
        self._latest = (0, 0)
        self._tombstone_retention_ms = round(tombstone_retention_s * 1000)

    # --- reads ----------------------------------------------------------------------------------------------

    def load(self, key: ObjectKey) -> StoredObject | None:
        """Return the object or its tombstone.

        An unknown object is None, or a tombstone at the floor if tombstones of its type were forgotten.
        """
        type_table = self._type_tables.get((key.namespace, key.type))
        if type_table is None:
            return None
        blob = type_table.objects.get(key.id)
        if blob is not None:
            return encoding.decode_object(blob)
        return StoredObject(type_table.floor, None, 0, 0, 0) if type_table.floor else None

    def recall(self, key: ObjectKey, idempotency_key: str, now_ms: int) -> StoredReply | None:
        """Return the reply kept under the key, or None if there is none or it has expired.

        Raises:
            Overloaded: no reply is kept, and a limit on kept replies is reached.
        """
        type_table = self._type_tables.get((key.namespace, key.type))
        blob = type_table.replies.get(make_reply_key(idempotency_key, key.id)) if type_table is not None else None
        if blob is not None and _read_u64(blob)[0] > now_ms:
            return encoding.decode_reply(blob)
        if self.kept_bytes >= self._kept_bounds.bytes_max or (type_table is not None and type_table.heavy):
            self._make_room(key, type_table, now_ms)
        return None

    def _make_room(self, key: ObjectKey, type_table: TypeTable | None, now_ms: int) -> None:
        """Drop expired replies.

        Raises:
            Overloaded: a limit is still reached.
        """
        bounds = self._kept_bounds
        if self.kept_bytes >= bounds.bytes_max:
            self.sweep(now_ms, SWEEP_PER_REFUSAL)
            if self.kept_bytes >= bounds.bytes_max:
                raise no_room(self.kept_bytes, bounds.bytes_max, "node.kept_replies_bytes_max", "all objects")
        heavy = type_table.heavy.get(key.id, 0) if type_table is not None else 0
        if heavy >= bounds.object_bytes_max:
            self.sweep(now_ms, SWEEP_PER_REFUSAL)
            heavy = type_table.heavy.get(key.id, 0) if type_table is not None else 0
            if heavy >= bounds.object_bytes_max:
                raise no_room(heavy, bounds.object_bytes_max, "node.kept_replies_object_bytes_max", str(key))

    def page(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> list[ObjectSummary]:
        """Return up to ``limit`` living objects, sorted by id."""
        type_table = self._type_tables.get((namespace, type_name))
        if type_table is None:
            return []
        ids = type_table.ids.page(prefix=prefix, after=after, limit=limit)
        return [ObjectSummary(object_id, type_table.version_of(object_id)) for object_id in ids]

    def living(self) -> dict[tuple[str, str], int]:
        """Return the number of living objects of each (namespace, type)."""
        return {name: type_table.living for name, type_table in self._type_tables.items()}

    def type_tables(self) -> Sequence[TypeTable]:
        """Return the tables of all types. The caller must not change them."""
        return tuple(self._type_tables.values())

    # --- commits --------------------------------------------------------------------------------------------

    def stage(
        self, batch: Sequence[CommitRecord], first_seq: int, now_ms: int
    ) -> tuple[list[CommitOutcome], list[bytes]]:
        """Check a batch and encode the accepted records, with consecutive positions from ``first_seq`` on.

        Returns the outcome of each record and the pieces to write: prefix, body, prefix, body, and so on.
        """
        outcomes: list[CommitOutcome] = []
        pieces: list[bytes] = []
        seq = first_seq
        for record in batch:
            namespace, type_name, object_id = record.key
            type_table = self._type_tables.get((namespace, type_name)) or self._new_type_table(namespace, type_name)
            present = type_table.staged.get(object_id)
            if present is None:
                blob = type_table.objects.get(object_id)
                present = (type_table.floor, 0, 0, 0) if blob is None else standing_of(blob)
            version, after = present[0], record.version
            if (record.expected != version or not version <= after <= version + 1) and not _fits_any(record):
                outcomes.append(_stale(record, version))
                continue
            idempotency_key, reply_key = record.idempotency_key, ""
            if idempotency_key is not None and record.reply is not None:
                reply_key = f"{len(idempotency_key)}:{idempotency_key}{object_id}"  # make_reply_key inlined, for speed
                held = type_table.replies.get(reply_key)
                if reply_key in type_table.staged_replies or (held is not None and _read_u64(held)[0] > now_ms):
                    outcomes.append(Conflict(f"{record.key} already has a reply under this idempotency key"))
                    continue
            take = self._take if record.effects is None else self._take_with_effects
            try:
                pieces += take(record, type_table, present, seq, (reply_key, now_ms))
            except (struct.error, UnicodeEncodeError, Refused) as error:
                reason = str(error) if isinstance(error, Refused) else f"cannot be encoded: {error}"
                outcomes.append(Conflict(f"the record of {record.key} {reason}"))
                continue
            outcomes.append(seq)
            seq += 1
        return outcomes, pieces

    def _take(
        self, record: CommitRecord, type_table: TypeTable, present: Standing, seq: int, kept: tuple[str, int]
    ) -> tuple[bytes, bytes]:
        reply_key, now_ms = kept
        body, object_end, reply_end, standing = _encode(record, type_table.names, present, seq, now_ms)
        object_id = record.key[2]
        self._staged.append((type_table, object_id, reply_key, body, object_end, reply_end))
        if object_end:
            type_table.staged[object_id] = standing
        if reply_key:
            type_table.staged_replies.add(reply_key)
        size = len(body)
        return _pack_prefix(size, crc32(body, size)), body

    def _take_with_effects(
        self, record: CommitRecord, type_table: TypeTable, present: Standing, seq: int, kept: tuple[str, int]
    ) -> tuple[bytes, bytes]:
        if record.expected == ANY_VERSION:
            record = _at_version(record, present[0])
        outbox = self.outbox
        effects = outbox.encode(record, seq, kept[1])
        _, body = self._take(record, type_table, present, seq, kept)
        outbox.stage(effects)
        body = with_entries(body, effects.entries)
        return _pack_prefix(len(body), crc32(body, len(body))), body

    def apply_staged(self) -> None:
        """Make the staged batch visible."""
        if self.outbox.staged:
            self.outbox.apply_staged()
        for type_table, object_id, reply_key, body, object_end, reply_end in self._staged:
            if object_end:
                type_table.put(object_id, body[CORE_AT:object_end])
            if reply_key:
                self._keep(type_table, object_id, reply_key, body[object_end or STATE_AT : reply_end])
        self.discard_staged()

    def discard_staged(self) -> None:
        """Drop the staged batch, and the marks that it left in the tables."""
        for staged in self._staged:
            type_table = staged[0]
            type_table.staged.clear()
            type_table.staged_replies.clear()
        self._staged.clear()
        if self.outbox.staged:
            self.outbox.discard_staged()

    def _keep(self, type_table: TypeTable, object_id: str, reply_key: str, blob: bytes) -> None:
        replies, size = type_table.replies, len(blob)
        if reply_key in replies:
            self._drop(type_table, reply_key)  # an expired reply under the same key
        replies[reply_key] = blob
        self.kept_replies += 1
        self.kept_bytes += len(reply_key) + size + REPLY_OVERHEAD_BYTES
        if size >= HEAVY_BYTES:
            type_table.heavy[object_id] = type_table.heavy.get(object_id, 0) + size
        span = _read_u64(blob)[0] // SWEEP_SPAN_MS
        try:
            self._due[span][type_table].append(reply_key)
        except KeyError:
            self._due.setdefault(span, {})[type_table] = [reply_key]

    def _drop(self, type_table: TypeTable, reply_key: str) -> None:
        size = len(type_table.replies.pop(reply_key))
        self.kept_replies -= 1
        self.kept_bytes -= len(reply_key) + size + REPLY_OVERHEAD_BYTES
        if size >= HEAVY_BYTES:
            object_id = split_reply_key(reply_key)[1]
            left = type_table.heavy.pop(object_id) - size
            if left:
                type_table.heavy[object_id] = left

    def _new_type_table(self, namespace: str, type_name: str) -> TypeTable:
        type_table = self._type_tables[namespace, type_name] = TypeTable((namespace, type_name), ordered=self._ordered)
        return type_table

    # --- recovery -------------------------------------------------------------------------------------------

    @property
    def latest(self) -> tuple[int, int]:
        """The time of the latest recovered reply or finished call, in running time and by the wall clock.

        It is zeros if there is none.
        """
        return max(self._latest, self.outbox.latest)

    def replay(self, bodies: Sequence[bytes]) -> None:
        """Apply recovered records, in order.

        Raises:
            ValueError: a record is malformed.
        """
        for body in bodies:
            if body[0] > FLOOR:
                commit = self.outbox.replay(body)
                if commit is not None:
                    self.replay((commit,))
                continue
            what, namespace_len, type_len, id_len, key_len, state_len, kept_len, *core = _read_full(body)
            reply_at = STATE_AT + state_len
            names_at = reply_at + kept_len
            id_at = names_at + namespace_len + type_len
            key_at = id_at + id_len
            key_end = key_at + key_len
            if key_end != len(body):
                check_end(body, key_end)
            type_table = self._replayed.get((namespace_len, body[names_at:id_at]))
            if type_table is None:
                type_table = self._replayed_type_table(body, names_at, namespace_len, id_at)
            if what != COMMIT:
                type_table.floor = max(type_table.floor, core[0])
                continue
            object_id = body[id_at:key_at].decode()
            if core[4] & OBJECT:
                type_table.put(object_id, body[CORE_AT:reply_at])
            if kept_len:
                expires_ms, kept_ms = _read_times(body, reply_at)
                self._latest = max(self._latest, (kept_ms, core[2]))
                if expires_ms > self._latest[0]:
                    reply_key = make_reply_key(body[key_at:key_end].decode(), object_id)
                    self._keep(type_table, object_id, reply_key, body[reply_at:names_at])

    def _replayed_type_table(self, body: bytes, names_at: int, namespace_len: int, id_at: int) -> TypeTable:
        type_at = names_at + namespace_len
        name = (body[names_at:type_at].decode(), body[type_at:id_at].decode())
        type_table = self._type_tables.get(name) or self._new_type_table(*name)
        self._replayed[namespace_len, body[names_at:id_at]] = type_table
        return type_table

    def settle(self) -> None:
        """Sort the ids. To be called once, after the last :meth:`replay`."""
        self._ordered = True
        self._replayed.clear()
        for type_table in self._type_tables.values():
            _ = type_table.ids

    # --- cleaning up ----------------------------------------------------------------------------------------

    def sweep(self, now_ms: int, limit: int, *, wall_ms: int | None = None) -> None:
        """Drop up to ``limit`` expired replies and, once per ``SWEEP_SPAN_MS``, as many old tombstones of each type.

        The age of a tombstone is measured by the wall clock (``wall_ms``). A wrong clock can forget a tombstone too
        early, which is harmless: the floor keeps versions from going back.
        """
        if self.outbox.needs_sweeping:
            self.outbox.sweep(now_ms, limit)
        if self._expired:
            self._drop_expired(now_ms, limit)
        elif now_ms - self._swept_ms >= SWEEP_SPAN_MS or now_ms < self._swept_ms:
            self._swept_ms = now_ms
            for span in sorted(span for span in self._due if (span + 1) * SWEEP_SPAN_MS <= now_ms):
                self._expired.extend(self._due.pop(span).items())
            before_ms = (now_ms if wall_ms is None else wall_ms) - self._tombstone_retention_ms
            for type_table in self._type_tables.values():
                type_table.forget_tombstones(before_ms, limit)
            self._drop_expired(now_ms, limit)

    def _drop_expired(self, now_ms: int, limit: int) -> None:
        while limit > 0 and self._expired:
            type_table, reply_keys = self._expired[0]
            chunk = reply_keys[-limit:]
            for reply_key in chunk:
                if type_table.has_expired(reply_key, now_ms):
                    self._drop(type_table, reply_key)
            del reply_keys[-len(chunk) :]
            limit -= len(chunk)
            if not reply_keys:
                self._expired.popleft()


def _at_version(record: CommitRecord, version: int) -> CommitRecord:
    """Return a record that changes no object as one that expects ``version``; by hand, because ``replace`` is slow."""
    return CommitRecord(
        *(record.key, version, version, record.state, record.state_version, record.at_ms, record.idempotency_key),
        *(record.reply, record.shard, record.epoch, record.fresh_key, record.creation, record.cause, record.effects),
    )


def _fits_any(record: CommitRecord) -> bool:
    return record.effects is not None and record.expected == record.version == ANY_VERSION


def _stale(record: CommitRecord, version: int) -> Conflict:
    return Conflict(f"{record.key} is at version {version}; the record goes from {record.expected} to {record.version}")


def _encode(
    record: CommitRecord, names: tuple[bytes, int, int], present: Standing, seq: int, now_ms: int
) -> tuple[bytes, int, int, Standing]:
    """Return the body, the end of the object's slice, the end of the reply's, and the object's standing afterwards.

    The first end is 0 if the object is not written. ``present`` is its standing before.
    """
    both_names, namespace_len, type_len = names
    object_id = record.key[2].encode()
    version = record.version
    state = record.state
    front = trail = b""
    if version == record.expected:
        flags, state = 0, b""
    else:
        before, previous, anchor, life = present
        if not before % ANCHOR_EVERY:
            anchor = previous
        generation = life or version
        present = (version, seq, anchor, 0 if state is None else generation)
        flags = object_flags(state, record.creation)
        if anchor or generation != 1 or flags & DIGEST:
            flags, front = object_head(flags, anchor, generation, record.creation)
        if previous or record.cause is not None:
            trail = _pack_u64(previous) + (record.cause or b"")
        state = state or b""
    key = kept = b""
    if record.reply is not None and record.idempotency_key is not None:
        key = record.idempotency_key.encode()
        fingerprint, answer, expires_ms, _ = record.reply
        kept = _pack_reply(now_ms + expires_ms - record.at_ms, now_ms, seq, len(fingerprint)) + fingerprint + answer
    state_len = len(front) + len(state)
    head = _pack_full(
        COMMIT,
        namespace_len,
        type_len,
        len(object_id),
        len(key),
        state_len,
        len(kept),
        version,
        seq,
        record.at_ms,
        record.state_version,
        flags,
    )
    object_end = STATE_AT + state_len
    body = b"".join((head, front, state, kept, both_names, object_id, key, trail))
    return body, object_end if flags else 0, object_end + len(kept), present
