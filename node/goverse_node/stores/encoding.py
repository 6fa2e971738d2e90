"""Encoding of a stored record. The log, the snapshots and the table in memory use the same bytes, called the *body*.

    head    record type, lengths of the names, of the state and of the kept reply
    core    version, position, time, state_version, flags
    state   anchor (8 bytes, only with the flag ANCHORED), generation (8 bytes, only with the flag REBORN), digest of
            the creation arguments (16 bytes, only with the flag DIGEST), then JSON; no JSON for a tombstone
    reply   expiry time, time of keeping, position, fingerprint, encoded reply; absent without an idempotency key
    names   namespace, type, id, idempotency key (UTF-8)
    trail   position of the previous change (8 bytes) and the cause, if either is known; fills the rest of the body

``core + state`` is one slice of the body, and the reply is another. The table keeps these two slices, so reading a log
back copies bytes and decodes no JSON. The trail is only in the log: the table and the snapshots do without it. All
integers are little endian.

An object that never had 64 versions and was never deleted has neither anchor nor generation: they are 0 and 1. Format
1 had no anchor, generation and trail, so its records read in the same way.

In a file, each body follows a PREFIX with its length and its checksum. The CRC-32 is seeded with the length, so it
covers the length as well. The body itself contains no checksum.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from goverse.model.cause import decode_cause
from goverse.model.keys import ObjectKey
from goverse.model.records import Change, StoredObject, StoredReply

COMMIT: Final = 1
"""Record type: the commit of a turn. In a snapshot: the part of it that is still needed."""
FLOOR: Final = 2
"""Record type, in snapshots only: the highest version of the forgotten tombstones of a type."""
EFFECTS: Final = 3
"""Record type, in the log only: a COMMIT record with effects (``goverse_node.stores.outbox_encoding``)."""
PENDING: Final = 4
MARK: Final = 5
RECEIPT: Final = 6
OUTCOME: Final = 7
FINISHED: Final = 8
"""Record types, in snapshots and inside of EFFECTS records: see ``goverse_node.stores.outbox_encoding``."""

OBJECT: Final = 1
"""Flag: the record writes the object. Without it, the record only keeps a reply."""
ALIVE: Final = 2
"""Flag: the object has a state. Without it, the record is a tombstone."""
PLAIN: Final = 4
"""Flag: the object was created without arguments."""
DIGEST: Final = 8
"""Flag: the digest of the arguments that the object was created with precedes the JSON of its state."""
DIGEST_SIZE: Final = 16
ANCHORED: Final = 16
"""Flag: the position of the object's anchor (``Change.anchor_seq``) is in front of its state."""
REBORN: Final = 32
"""Flag: the generation of the object is in front of its state. Without it, the generation is 1."""

FULL: Final = Struct("<BBBHBIIQQQIB")
HEAD: Final = Struct("<BBBHBII")
CORE: Final = Struct("<QQQIB")
REPLY: Final = Struct("<QQQB")
"""Both times are in running time (``RunningTime``)."""
U64: Final = Struct("<Q")
SECTION: Final = Struct("<I")
"""The length of the section of effects, in front of it."""
PREFIX: Final = Struct("<II")
"""The length and the checksum of a body, in front of it in a file."""
CORE_AT: Final = HEAD.size
STATE_AT: Final = FULL.size
SEQ_AT: Final = HEAD.size + U64.size
TIME_AT: Final = SEQ_AT + U64.size
FLAGS_IN_BLOB: Final = CORE.size - 1
_JSON_AT: Final = tuple(
    CORE.size + U64.size * bool(flags & ANCHORED) + U64.size * bool(flags & REBORN) + DIGEST_SIZE * bool(flags & DIGEST)
    for flags in range(256)
)
"""The offset of the JSON in ``core + state``, by flags."""

assert FULL.size == HEAD.size + CORE.size


class Body(NamedTuple):
    """A decoded record body.

    Attributes:
        what: the record type.
        namespace, type, id: the object's key.
        idempotency_key: None if no reply is kept.
        object: ``core + state``, as the table keeps it.
        reply: the reply, as the table keeps it; empty if there is none.
        trail: the trail, empty if there is none.
        version, seq, at_ms, state_version, flags: the fields of the core.
    """

    what: int
    namespace: str
    type: str
    id: str
    idempotency_key: str | None
    object: bytes
    reply: bytes
    trail: bytes
    version: int
    seq: int
    at_ms: int
    state_version: int
    flags: int

    @property
    def key(self) -> ObjectKey:
        """The object's key."""
        return ObjectKey(self.namespace, self.type, self.id)

    @property
    def state(self) -> bytes | None:
        """The state, or None for a tombstone."""
        return self.object[_JSON_AT[self.flags] :] if self.flags & ALIVE else None

    @property
    def creation(self) -> bytes | None:
        """The digest of the creation arguments: empty if there were none, None if it is unknown."""
        return _creation(self.object, self.flags)

    @property
    def generation(self) -> int:
        """The generation of the object."""
        return _links(self.object, self.flags)[1]


def decode(body: bytes) -> Body:
    """Decode a body. The caller has verified its checksum.

    Raises:
        ValueError: the lengths are inconsistent, or a name is not UTF-8.
    """
    if len(body) < STATE_AT:
        raise ValueError(f"the record has {len(body)} bytes, fewer than its fixed part of {STATE_AT}")
    what, namespace_len, type_len, id_len, idem_len, state_len, reply_len, *core = FULL.unpack_from(body)
    reply_at = STATE_AT + state_len
    names_at = reply_at + reply_len
    type_at = names_at + namespace_len
    id_at = type_at + type_len
    idem_at = id_at + id_len
    trail_at = names_at_end = idem_at + idem_len
    if what == EFFECTS:
        trail_at = section_end(body, trail_at)
    check_end(body, trail_at)
    if state_len < _JSON_AT[core[4]] - CORE.size:
        raise ValueError("the state in the record is shorter than its flags say")
    return Body(
        what,
        body[names_at:type_at].decode(),
        body[type_at:id_at].decode(),
        body[id_at:idem_at].decode(),
        body[idem_at:names_at_end].decode() if reply_len else None,
        body[CORE_AT:reply_at],
        body[reply_at:names_at],
        body[trail_at:],
        *core,
    )


def section_end(body: bytes, at: int) -> int:
    """Return the offset behind the section of effects that begins at ``at``.

    Raises:
        ValueError: the section is longer than the record.
    """
    begin = at + SECTION.size
    if begin > len(body):
        raise ValueError("the record ends before its effects")
    size: int = SECTION.unpack_from(body, at)[0]
    if begin + size > len(body):
        raise ValueError("the effects in the record are longer than the record")
    return begin + size


def check_end(body: bytes, end: int) -> None:
    """Check that the rest of a body, after the names that end at ``end``, is empty or a trail.

    Raises:
        ValueError: it is not.
    """
    rest = len(body) - end
    if rest < 0 or 0 < rest < U64.size:
        raise ValueError("the lengths in the record do not match its size")


def change_of(body: bytes) -> Change | None:
    """Return the change that a record of the log makes, or None if it only keeps a reply."""
    if not body[FULL.size - 1] & OBJECT:
        return None
    entry = decode(body)
    anchor_seq, generation = _links(entry.object, entry.flags)
    trail = entry.trail
    return Change(
        entry.seq,
        entry.key,
        entry.version,
        entry.state,
        entry.at_ms,
        entry.state_version,
        generation,
        U64.unpack_from(trail)[0] if trail else 0,
        anchor_seq,
        decode_cause(trail[U64.size :]) if len(trail) > U64.size else None,
    )


def encode_floor(namespace: str, type_name: str, version: int) -> bytes:
    """Encode a FLOOR record: versions of this type stay above ``version``."""
    first, second = namespace.encode(), type_name.encode()
    return FULL.pack(FLOOR, len(first), len(second), 0, 0, 0, 0, version, 0, 0, 0, 0) + first + second


def decode_reply(blob: bytes) -> StoredReply:
    """Decode a reply as the table keeps it."""
    expires_ms, _, seq, fingerprint_len = REPLY.unpack_from(blob)
    at = REPLY.size + fingerprint_len
    return StoredReply(blob[REPLY.size : at], blob[at:], expires_ms, seq)


def decode_object(blob: bytes) -> StoredObject:
    """Decode an object (``core + state``) as the table keeps it."""
    version, seq, at_ms, state_version, flags = CORE.unpack_from(blob)
    state = blob[_JSON_AT[flags] :] if flags & ALIVE else None
    return StoredObject(version, state, state_version, seq, at_ms, _creation(blob, flags))


Standing = tuple[int, int, int, int]
"""The properties of an object that its next change depends on: its version, the position of its newest change (0 if it
has none), the anchor of that change, and its generation, or 0 if it does not exist or is deleted."""


def standing_of(blob: bytes) -> Standing:
    """Return the standing of an object as the table keeps it."""
    version, seq, _, _, flags = _read_core(blob)
    anchor, generation = _links(blob, flags) if flags & _LINKED else _NO_LINKS
    return version, seq, anchor, generation if flags & ALIVE else 0


def object_head(flags: int, anchor: int, generation: int, creation: bytes | None) -> tuple[int, bytes]:
    """Return the flags of an object's record, and what is in front of its JSON. ``flags`` are of ``object_flags``."""
    head = b""
    if anchor:
        flags |= ANCHORED
        head = U64.pack(anchor)
    if generation != 1:
        flags |= REBORN
        head += U64.pack(generation)
    if flags & DIGEST:
        head += creation or b""
    return flags, head


def object_flags(state: bytes | None, creation: bytes | None) -> int:
    """Return the flags of a record that writes an object, or a tombstone if ``state`` is None."""
    if state is None:
        return OBJECT
    if creation is None:
        return OBJECT | ALIVE
    return OBJECT | ALIVE | (DIGEST if creation else PLAIN)


def names_end(body: bytes) -> int:
    """Return the offset at which the names of a record end."""
    end: int = STATE_AT + sum(FULL.unpack_from(body)[1:7])
    return end


def without_trail(body: bytes) -> bytes:
    """Return a COMMIT record without its trail."""
    return body[: names_end(body)]


def _links(blob: bytes, flags: int) -> tuple[int, int]:
    """Return the anchor and the generation in ``core + state``."""
    at, anchor = CORE.size, 0
    if flags & ANCHORED:
        anchor = U64.unpack_from(blob, at)[0]
        at += U64.size
    return anchor, U64.unpack_from(blob, at)[0] if flags & REBORN else 1


def _creation(blob: bytes, flags: int) -> bytes | None:
    if flags & DIGEST:
        at = _JSON_AT[flags]
        return blob[at - DIGEST_SIZE : at]
    return b"" if flags & PLAIN else None


_LINKED: Final = ANCHORED | REBORN
_NO_LINKS: Final = (0, 1)
_read_core: Final = CORE.unpack_from


def seq_of(body: bytes) -> int:
    """Return the position of a record, without decoding the rest."""
    seq: int = U64.unpack_from(body, SEQ_AT)[0]
    return seq


def at_ms_of(body: bytes) -> int:
    """Return the time of a record, without decoding the rest."""
    at_ms: int = U64.unpack_from(body, TIME_AT)[0]
    return at_ms


def framed(body: bytes) -> bytes:
    """Return the body with its PREFIX, as it is written to a file."""
    return PREFIX.pack(len(body), crc32(body, len(body))) + body
